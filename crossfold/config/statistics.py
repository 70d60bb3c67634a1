"""`statistics:` of config.yaml."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, NonNegativeInt, PositiveFloat, model_validator

from crossfold.config.base import Section
from crossfold.config.datasets import expand_variables
from crossfold.errors import CrossfoldError

MetricName = Literal["dice", "iou", "nsd", "hd_mm", "hd95_mm", "assd_mm"]


class ComparedRun(Section):
    """A run that a model is compared with.

    Exactly one of `model`, `metrics`, `revision` and `azureml` says where it is. A text stands for
    one of the first three: a model of config.yaml (`Prostate`, `Prostate@30`), the path of a table
    (`../old/metrics.csv`), or a revision (`v1.0:results/Prostate/metrics.csv`).
    """

    model: str = ""
    """Model of config.yaml, or <model>@<epoch>."""
    metrics: str = ""
    """Path of a metrics.csv, by Crossfold or InnerEye; environment variables are expanded."""
    revision: str = ""
    """<revision>:<path> of a metrics.csv in a DVC or git repository."""
    repository: str = "."
    """Folder or address of the repository of `revision`."""
    azureml: str = ""
    """<experiment>/<run> on Azure Machine Learning, of which only the metrics are downloaded."""
    dataset: str = ""
    """Path of the dataset.csv that names series and institutions of an InnerEye table."""
    splits: str = ""
    """Path of the splits.csv of the run, which says whom it was trained on; empty: the file
    beside `metrics`, where there is one."""
    split: Literal["val", "test"] = "test"
    """Which subjects an InnerEye table is about."""
    label: str = ""
    """Name in tables and figures; empty: the model, or the folder of the table."""

    @model_validator(mode="after")
    def _one_source(self) -> ComparedRun:
        sources = ("model", "metrics", "revision", "azureml")
        given = [name for name in sources if getattr(self, name)]
        if len(given) != 1:
            raise ValueError(
                "name exactly one of model, metrics, revision and azureml, not "
                + (" and ".join(given) or "none")
            )
        if self.revision and not all(self.revision.partition(":")):
            raise ValueError(
                "write `revision` as <revision>:<path>, such as v1.0:results/A/metrics.csv"
            )
        if self.azureml and not re.fullmatch(r"[^/\s]+/[^/\s]+", self.azureml):
            raise ValueError("write `azureml` as <experiment>/<run>, such as main/train-1")
        return self

    def path_of(self, kind: Literal["metrics", "splits", "dataset"]) -> Path | None:
        """Return the path of a table that lies outside of the results, if there is one.

        Raises
        ------
        CrossfoldError
            If a table that is named does not exist, or the path names an unknown variable.
        """
        written = getattr(self, kind)
        key = f"statistics.compare: {kind} of {self.name}"
        if not written:
            metrics = self.path_of("metrics") if kind == "splits" and self.metrics else None
            beside = metrics.with_name("splits.csv") if metrics else None
            return beside if beside and beside.is_file() else None
        path = expand_variables(written, key)
        if not path.is_file():
            raise CrossfoldError(
                f"config.yaml: {key} is `{written}`, and there is no such file",
                remedy=f"correct the path, which starts at {Path.cwd().name}/, or leave it out",
            )
        return path

    @property
    def base_model(self) -> str:
        """Return the model without its epoch."""
        return self.model.partition("@")[0]

    @property
    def name(self) -> str:
        """Return the label, or what stands for it."""
        if self.label or self.model:
            return self.label or self.model
        if self.azureml:
            return self.azureml.rpartition("/")[2]
        revision, _, path = self.revision.rpartition(":")
        folder = (path or self.metrics).replace("\\", "/").rpartition("/")[0].rpartition("/")[2]
        return f"{folder}@{revision}" if revision else folder or self.metrics


def _from_text(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    if value.endswith(".csv"):
        return {"revision" if ":" in value else "metrics": value}
    return {"model": value}


Compared = Annotated[
    ComparedRun, BeforeValidator(_from_text, json_schema_input_type=str | ComparedRun)
]
ALL_MODELS = "*"


def _for_all_models(value: Any) -> Any:
    return {ALL_MODELS: value} if isinstance(value, list) else value


ComparedByModel = Annotated[
    dict[str, list[Compared]],
    BeforeValidator(
        _for_all_models, json_schema_input_type=list[Compared] | dict[str, list[Compared]]
    ),
]


class StatisticsConfig(Section):
    """What is compared with what, and how sure we are of a number in a table."""

    confidence: Annotated[float, Field(gt=0.5, lt=1)] = 0.95
    """Coverage of the confidence intervals, as a fraction."""
    resamples: Annotated[int, Field(ge=999)] = 9999
    """Number of bootstrap resamples of the subjects."""
    seed: NonNegativeInt = 0
    """Seed of the bootstrap."""
    alpha: Annotated[float, Field(gt=0, lt=0.5)] = 0.05
    """Two-sided level of significance."""
    compare: ComparedByModel = {}
    """Runs that models are compared with: a list for each model, or one list for all models (which
    a mapping may hold as well, under `*`). No model is compared with itself, nor with another one
    of that list that has another dataset."""
    pairs: Literal["reference", "all"] = "reference"
    """reference: every run against the reference; all: all runs against all others."""
    reference: str = ""
    """Name of the run that the others are compared with; empty: the model itself."""
    primary_split: Literal["val", "test"] = "val"
    """Whom the planned comparisons and the figures are about: all subjects out of fold (val), or
    the test set as the ensemble predicts it (test)."""
    primary_metrics: Annotated[list[MetricName], Field(min_length=1)] = ["dice", "nsd"]
    """Metrics of the planned comparisons; all others are exploratory."""
    primary_structures: list[str] = []
    """Structures of the planned comparisons; empty: all."""
    margins: dict[MetricName, PositiveFloat] = {}
    """Non-inferiority margins, in the unit of the metric; without one, no such claim is made."""
    exclude_structures: list[str] = []
    """Structures to leave out of all comparisons."""
    ignore_subjects: list[str] = []
    """Subjects to leave out of all comparisons, by name."""
    repeated_scans: Literal["aggregate", "cluster"] = "aggregate"
    """Scans of one group: averaged to one value, or kept and bootstrapped as clusters."""
    structure_factors: bool = False
    """Divide z by 1.25 (2.0 for external and skin) in wilcoxon.txt, as InnerEye did."""

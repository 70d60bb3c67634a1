"""One fold of one trial: trained with what is proposed, and measured on its validation subjects."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd

from crossfold.config.functions import targets_in
from crossfold.config.labels import label_values
from crossfold.config.learning import PLACE
from crossfold.config.models import ModelConfig
from crossfold.config.search import PruneConfig
from crossfold.config.trials import drawn_model
from crossfold.data.dataset import Dataset
from crossfold.data.preprocessing import Plan
from crossfold.data.splits import Splits
from crossfold.errors import CrossfoldError
from crossfold.evaluation.measure import Measurement, measure_segmentations
from crossfold.evaluation.tables import write_metrics
from crossfold.images import atomic_directory
from crossfold.learning import STAGE_VERSION
from crossfold.learning.initial import InitialWeights
from crossfold.learning.optimisation import DivergedError
from crossfold.learning.training import train_fold
from crossfold.paths import checkpoint
from crossfold.prediction.conditions import is_out_of_memory
from crossfold.prediction.fold import predict_fold
from crossfold.prediction.member import PredictionSettings
from crossfold.prediction.sliding_window import UndefinedPosteriorError
from crossfold.search.feasible import network_problem
from crossfold.search.proposals import Proposal
from crossfold.search.rounds import METRICS, RESULT, TRAINING, finished
from crossfold.search.stopping import QuantileStopping
from crossfold.search.table import COMPLETE, FAILED, STOPPED, Outcome

VALIDATION = "val"


@dataclass(frozen=True)
class Material:
    """What all trials of a fold have in common.

    Parameters
    ----------
    model
        The model as it is.
    name, synthetic
        Its name, and whether its images are computed, for the table of metrics.
    fold
        Number of the fold.
    splits, dataset, preprocessed
        Who is trained and validated on, and their images.
    epochs
        Epochs of a trial; None: those of the model.
    prune, curves
        Which trials are stopped early, and the curves of earlier rounds; None: no trial is.
    initial
        Weights to start from instead of random ones.
    own_code
        Files of a site's own code by the import path that leads to them.
    software
        Packages, with their versions, that decide what weights a training gives.
    """

    model: ModelConfig
    name: str
    synthetic: bool
    fold: int
    splits: Splits
    dataset: Dataset
    preprocessed: Path
    epochs: int | None = None
    prune: PruneConfig | None = None
    curves: pd.DataFrame | None = None
    initial: InitialWeights | None = None
    own_code: Mapping[str, Sequence[str]] = field(default_factory=dict)
    software: Sequence[str] = ()


class _History:
    """The table of a running training, kept in case that it fails."""

    def __init__(self, stopping: QuantileStopping | None) -> None:
        self.stopping = stopping
        self.frame = pd.DataFrame({"epoch": [], "phase": [], "seconds": []})

    def __call__(self, history: pd.DataFrame) -> str | None:
        # With the digits of training.csv, from which the same has to be decided again.
        rounded = [float(f"{value:.6g}") for value in history["value"]]
        self.frame = history = history.assign(value=rounded)
        return self.stopping(history) if self.stopping and len(history) else None

    def read(self, path: Path) -> str | None:
        """Read training.csv of a training as far as its trial goes; say why it stops there."""
        history = pd.read_csv(path)
        stop = self.stopping.first(history) if self.stopping else None
        self.frame = history[history["epoch"] <= stop[0]] if stop else history
        return stop[1] if stop else None


def run_trial(
    material: Material,
    proposal: Proposal,
    target: Path,
    *,
    state_directory: Path,
    threads: int = 1,
    device: str = "auto",
) -> None:
    """Train a fold with what is proposed, and measure it on its validation subjects.

    A trial that was killed continues: in its training, or, where that has ended, with the
    prediction. Values that do not go together, a network that cannot be built, a loss that is no
    number and a GPU that is too small make a failed trial, not an error.

    Parameters
    ----------
    target
        Directory to write: `result.json`, `training.csv` and, of a trial that ended, `metrics.csv`.
    state_directory
        Where the state of a running trial and the weights of one that ended lie, in
        `<model>/search/trial_<n>/fold_<k>`.
    threads
        Threads of the processor to use.
    device
        As in `training`.

    Raises
    ------
    CrossfoldError
        If the fold has no validation subjects.
    """
    if not material.splits.subjects("val", material.fold):
        raise CrossfoldError(
            f"search.folds: fold {material.fold} has no validation subjects to measure a trial on",
            remedy="raise splits.folds, or name other folds",
        )
    with atomic_directory(target) as folder:
        if proposal.problem:
            Outcome(FAILED, proposal.problem).write(folder / RESULT)
            return
        drawn = drawn_model(material.model, proposal.parameters, epochs=material.epochs)
        drawn = drawn.model_copy(
            update={"training": drawn.training.model_copy(update={"device": device})}
        )
        if problem := network_problem(Plan.read(material.preprocessed), drawn):
            Outcome(FAILED, problem).write(folder / RESULT)
            return
        place = f"{material.name}/search/trial_{proposal.trial}/fold_{material.fold}"
        _train_and_measure(material, drawn, folder, state_directory / place, threads)


def _train_and_measure(
    material: Material, drawn: ModelConfig, folder: Path, state_directory: Path, threads: int
) -> None:
    seen = _History(_stopping(material, drawn.training.epochs))
    try:
        trained = _train(material, drawn, state_directory, seen, threads)
        if not (reason := seen.read(trained / TRAINING)):
            weights = checkpoint(trained / "checkpoints", drawn.training.epochs)
            write_metrics(folder / METRICS, _measure(material, drawn, weights, folder, threads))
    except (DivergedError, UndefinedPosteriorError, MemoryError, RuntimeError) as error:
        if not isinstance(error, CrossfoldError) and not is_out_of_memory(error):
            raise
        message = error.message if isinstance(error, CrossfoldError) else str(error)
        _outcome(FAILED, message.splitlines()[0], seen.frame).write(folder / RESULT)
        return
    _copy_history(trained / TRAINING, folder / TRAINING, int(seen.frame["epoch"].max()))
    _outcome(STOPPED if reason else COMPLETE, reason or "", seen.frame).write(folder / RESULT)


def _stopping(material: Material, epochs: int) -> QuantileStopping | None:
    """Return what stops a trial, where there is something to compare it with."""
    if not material.prune or material.curves is None:
        return None
    return QuantileStopping(material.prune, finished(material.curves, material.fold), epochs)


def _copy_history(source: Path, target: Path, last_epoch: int) -> None:
    """Copy training.csv up to an epoch, its numbers as they are written."""
    table = pd.read_csv(source, dtype=str, keep_default_na=False)
    kept = table[table["epoch"].astype(int) <= last_epoch]
    kept.to_csv(target, index=False, lineterminator="\n")


def _train(
    material: Material, drawn: ModelConfig, state_directory: Path, seen: _History, threads: int
) -> Path:
    """Return the folder of a training, which may have been given up; train where need be."""
    state_directory /= _identity(material, drawn)
    trained = state_directory / "trained"
    if (trained / "machine.json").is_file():
        if seen.read(trained / TRAINING) or seen.frame["epoch"].max() == drawn.training.epochs:
            return trained
        shutil.rmtree(trained)  # given up by a rule that is no more
    train_fold(
        material.preprocessed,
        subjects=material.splits.subjects("train", material.fold),
        validation_subjects=material.splits.subjects("val", material.fold),
        images=drawn.images,
        structures=drawn.structures,
        network=drawn.network,
        config=drawn.training,
        fold=material.fold,
        checkpoints=trained / "checkpoints",
        history=trained / TRAINING,
        machine=trained / "machine.json",
        state_directory=state_directory,
        threads=threads,
        initial=material.initial,
        give_up=seen,
    )
    # A trial is not extended; what is needed of it are its weights.
    shutil.rmtree(state_directory / "finished", ignore_errors=True)
    return trained


def _identity(material: Material, drawn: ModelConfig) -> str:
    """Name everything that the weights depend on."""
    digests = Plan.read(material.preprocessed).digests
    splits, fold = material.splits, material.fold
    everything = {
        "version": STAGE_VERSION,
        "images": drawn.images,
        "structures": drawn.structures,
        "network": drawn.network.model_dump(mode="json", by_alias=True),
        "training": drawn.training.model_dump(mode="json", exclude={*PLACE}),
        "subjects": {name: digests[name] for name in splits.subjects("train", fold)},
        "validation_subjects": {name: digests[name] for name in splits.subjects("val", fold)},
        "initial": material.initial.digests() if material.initial else None,
        "own_code": _own_code(material, drawn),
        "software": [*material.software],
    }
    return hashlib.sha256(json.dumps(everything, sort_keys=True).encode()).hexdigest()[:16]


def _own_code(material: Material, drawn: ModelConfig) -> dict[str, list[str]]:
    """Return digests of the site's own files that this trial uses, by import path.

    An edit of a network that only other trials use leaves the weights of this one as they are.
    """
    sections = drawn.model_dump(mode="json", by_alias=True, include={"network", "training"})
    return {
        target: [hashlib.sha256(Path(file).read_bytes()).hexdigest() for file in files]
        for target, files in material.own_code.items()
        if target in targets_in(sections, "")
    }


def _measure(
    material: Material, drawn: ModelConfig, weights: Path, folder: Path, threads: int
) -> pd.DataFrame:
    """Predict the validation subjects, and measure them as the pipeline does."""
    subjects = material.splits.subjects("val", material.fold)
    settings = PredictionSettings(
        drawn.inference,
        drawn.postprocessing.applied_to_folds,
        label_values(drawn.structures, drawn.derived_structures),
        drawn.training.mirror_pairs,
        drawn.training.precision,
        drawn.training.device,
    )
    measurement = Measurement(
        drawn.structures,
        label_values(drawn.structures, {}),
        drawn.metrics,
        {
            "model": material.name,
            "dataset": drawn.dataset,
            "synthetic": material.synthetic,
            "split": VALIDATION,
            "fold": str(material.fold),
            "seed": drawn.training.seed + material.fold,
        },
    )
    # Not in the state directory: what lies there may be sent over a network.
    with TemporaryDirectory(dir=folder) as scratch:
        segmentations = Path(scratch) / "segmentations"
        predict_fold(
            weights,
            preprocessed=material.preprocessed,
            dataset=material.dataset,
            subjects={VALIDATION: subjects},
            settings=settings,
            posteriors=Path(scratch) / "posteriors",
            segmentations=segmentations,
            threads=threads,
        )
        return measure_segmentations(
            material.dataset, segmentations / VALIDATION, subjects, measurement, workers=threads
        )


def _outcome(status: str, reason: str, history: pd.DataFrame) -> Outcome:
    """Return an outcome with what its training took."""
    seconds = history.groupby(["epoch", "phase"])["seconds"].max()
    epochs = history["epoch"].nunique()
    return Outcome(status, reason, epochs, round(float(seconds.sum()), 3))

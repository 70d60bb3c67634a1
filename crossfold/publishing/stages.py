"""The stage of dvc.yaml that stands for a published model, so that DVC can check it by itself.

Snakemake makes the files and decides what runs again. DVC knows of a model its data, the keys of
the configuration that it inherits, its outputs and its metrics: enough for `dvc status`,
`dvc metrics diff` and `dvc plots diff`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from dvc.utils.serialize import parse_yaml_for_update
from ruamel.yaml import YAML

from crossfold import paths
from crossfold.config.inheritance import lineage
from crossfold.config.models import ModelConfig
from crossfold.errors import CrossfoldError
from crossfold.images import atomic_path
from crossfold.publishing.contents import Contents
from crossfold.publishing.git import git, relative, tracked

PIPELINE = "dvc.yaml"
LOCK = "dvc.lock"

_PLOTTED = {"dice": "Dice", "nsd": "NSD", "hd95_mm": "HD95 in mm"}


def write_stage(
    name: str,
    model: ModelConfig,
    contents: Contents,
    *,
    configfiles: Sequence[Path],
    root: Path = Path(),
) -> None:
    """Write the stage of a model into dvc.yaml; what else is there stays as it is.

    Parameters
    ----------
    name, model
        The model and its configuration.
    contents
        Where its files go.
    configfiles
        The configuration, the strongest last; only files that git tracks here can be compared.
    root
        The checkout.
    """
    path = root / PIPELINE
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    pipeline = (parse_yaml_for_update(text, str(path)) if text.strip() else None) or {}
    stages = pipeline.setdefault("stages", {})
    stages[name] = _stage(name, model, contents, configfiles, root)
    plots = [plot for plot in pipeline.get("plots", []) if not _is_of(name, plot)]
    pipeline["plots"] = plots + [
        {
            f"{name}: {title}": {
                "template": "scatter",
                "x": "structure",
                "y": {paths.METRICS.format(run=name): column},
                "title": f"{title} of {name}, by structure and subject",
            }
        }
        for column, title in _PLOTTED.items()
    ]
    writer = YAML()
    writer.default_flow_style = False
    writer.width = 1000
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        writer.dump(pipeline, file)


def mend_lock(root: Path = Path()) -> None:
    """Bring back a dvc.lock that DVC was killed while writing.

    DVC writes it in place. Stages that were committed since the last git commit are committed to
    DVC again when their models are published again.
    """
    path = root / LOCK
    try:
        whole = isinstance(yaml.safe_load(path.read_text(encoding="utf-8")), dict)
    except FileNotFoundError:
        return
    except (yaml.YAMLError, UnicodeDecodeError):
        whole = False
    if whole:
        return
    if tracked(root, LOCK):
        with atomic_path(path) as temporary:
            temporary.write_text(git(root, "show", f"HEAD:./{LOCK}"), encoding="utf-8")
    else:
        path.unlink()


def _stage(
    name: str,
    model: ModelConfig,
    contents: Contents,
    configfiles: Sequence[Path],
    root: Path,
) -> dict[str, Any]:
    dataset = [paths.DATASET.format(dataset=model.dataset)] if "@" not in model.dataset else []
    stage: dict[str, Any] = {
        "cmd": f"snakemake --cores all {paths.REPORT.format(run=name)}",
        "desc": "Made by Snakemake, published by Crossfold; `dvc repro` is not needed.",
        "deps": [*dataset, *([contents.images] if contents.images else [])],
    }
    if params := _params(name, model.dataset, configfiles, root):
        stage["params"] = params
    # Snakemake, not DVC, decides what is deleted before a run.
    stage["outs"] = [{output: {"persist": True}} for output in contents.outputs]
    metrics = paths.METRICS_JSON.format(run=name)
    stage["metrics"] = [{metrics: {"cache": False, "persist": True}}]
    return {key: value for key, value in stage.items() if value}


def _params(
    name: str, dataset: str, configfiles: Sequence[Path], root: Path
) -> list[dict[str, list[str]]]:
    """Keys of every tracked configuration file that decide the model."""
    contents = {}
    for file in configfiles:
        content = yaml.safe_load((root / file).read_text(encoding="utf-8")) or {}
        contents[file] = content
    models: dict[str, Any] = {}
    for content in contents.values():
        for model, section in (content.get("models") or {}).items():
            models[model] = {**models.get(model, {}), **(section or {})}
    if name not in models:
        raise CrossfoldError(
            f"{', '.join(map(str, configfiles))}: there is no model `{name}`",
            remedy="name all files of its configuration with --configfile",
        )
    wanted: list[tuple[str, ...]] = [("models", ancestor) for ancestor in lineage(name, models)]
    wanted += [("datasets", dataset.partition("@")[0]), ("statistics",), ("figures",)]
    params = []
    for file, content in contents.items():
        path = relative(root.resolve(), (root / file).resolve())
        if path and tracked(root, path):
            keys = [".".join(key) for key in wanted if _has(content, key)]
            params += [{path: keys}] if keys else []
    return params


def _has(tree: Any, key: Sequence[str]) -> bool:
    for part in key:
        if not isinstance(tree, Mapping) or part not in tree:
            return False
        tree = tree[part]
    return tree is not None


def _is_of(name: str, plot: Any) -> bool:
    return isinstance(plot, Mapping) and any(str(key).startswith(f"{name}: ") for key in plot)

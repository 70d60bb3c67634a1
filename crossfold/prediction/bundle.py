"""The ensemble of a model as a MONAI bundle: what is in it, checked when it is read.

Layout and keys are described in docs/bundle.md.
"""

from __future__ import annotations

import hashlib
import json
import logging
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError

from crossfold import __version__
from crossfold.config.base import Section
from crossfold.config.prediction import Aggregation, InferenceConfig, PostprocessingConfig
from crossfold.config.preprocessing import PreprocessingConfig
from crossfold.data.ranges import TrainingRanges
from crossfold.errors import CrossfoldError

FORMAT = 1
HASHES = "hashes.json"
MODEL = "configs/model.json"
WEIGHTS = "models/fold_{fold}.safetensors"
REQUIREMENTS = "requirements.txt"
_NUMERICAL = ("numpy", "scipy", "torch")

logger = logging.getLogger("crossfold")

_AGAIN = "make the bundle again, or copy it again from where it is whole"


class Bundle(Section):
    """A model that is ready to predict, in a folder of its own."""

    path: Path = Field(exclude=True)
    """Folder of the bundle."""
    digest: str = Field(exclude=True)
    """SHA-256 over hashes.json, and so over all that is in the bundle."""
    format: int = FORMAT
    """Version of this list of keys."""
    crossfold_version: str
    """Version of Crossfold that wrote it."""
    name: str = Field(pattern=r"^[A-Za-z][A-Za-z0-9_-]*(@[0-9]+)?$")
    """The run: a model, or `<model>@<epoch>`."""
    description: str
    """One sentence."""
    dataset: str
    """Name of the dataset that it was trained on."""
    epoch: int
    """Of the checkpoints."""
    images: tuple[str, ...]
    """Channels, in the order in which the network sees them."""
    structures: tuple[str, ...]
    """Structures; the first has label 1."""
    derived_structures: dict[str, tuple[str, ...]]
    """Unions of structures."""
    spacing_mm: tuple[float | None, float | None, float | None]
    """Voxel size of the training grid; null: that of each image."""
    preprocessing: PreprocessingConfig
    """Grid and intensities, as configured."""
    inference: InferenceConfig
    """Sliding window."""
    precision: str
    """As `training.precision`."""
    mirror_pairs: tuple[tuple[str, str], ...]
    """Structures that change names in a mirror."""
    aggregation: Aggregation
    """How the members become one."""
    postprocessing: PostprocessingConfig
    """The steps that were adopted."""
    folds: tuple[int, ...]
    """Members."""
    ranges: TrainingRanges
    """What the training images were like."""
    n_subjects: dict[str, int]
    """How many were trained on in all folds, and how many tested."""
    network: dict[str, Any]
    """As configured; the checkpoints have it with what was decided from the data."""
    training: dict[str, Any]
    """As configured: for readers."""
    metrics: list[dict[str, Any]]
    """The summary of Dice, NSD and HD95, out of fold and on the test set: for readers."""

    @classmethod
    def read(cls, path: Path | str) -> Bundle:
        """Read a bundle and check every file of it.

        Raises
        ------
        CrossfoldError
            If a file is missing, altered or unreadable, or of a newer format.
        """
        path = Path(path)
        hashes = _read_json(path, HASHES)
        _check_format(path, hashes)
        _check_files(path, hashes)
        try:
            bundle = cls(path=path, digest=sha256(path / HASHES), **_read_json(path, MODEL))
        except (ValidationError, TypeError) as error:
            raise CrossfoldError(
                f"{path / MODEL}: not readable with Crossfold {__version__} ({_reason(error)})",
                remedy="use the version of Crossfold that wrote it, or the code in the bundle",
            ) from error
        for fold in bundle.folds:
            _require_hash(path, hashes, WEIGHTS.format(fold=fold))
        if bundle.crossfold_version != __version__:
            logger.warning(
                "%s: written by Crossfold %s, read by %s",
                path,
                bundle.crossfold_version,
                __version__,
            )
        if others := [other for other in bundle.other_versions() if other.startswith(_NUMERICAL)]:
            logger.warning("%s: single voxels may differ with %s", path, ", ".join(others))
        return bundle

    def other_versions(self) -> list[str]:
        """Return the packages that are not installed in the version of its requirements.txt."""
        others = []
        for line in (self.path / REQUIREMENTS).read_text(encoding="utf-8").split():
            name, _, wanted = line.partition("==")
            try:
                installed = version(name).partition("+")[0]
            except PackageNotFoundError:
                installed = "none"
            if installed != wanted:
                others.append(f"{name} {installed}, not {wanted}")
        return others

    def weights(self, fold: int) -> Path:
        """Return the checkpoint of a member."""
        return self.path / WEIGHTS.format(fold=fold)


def _reason(error: ValidationError | TypeError) -> str:
    """Return what is wrong, without the values around it."""
    if not isinstance(error, ValidationError):
        return str(error)
    found = [
        (".".join(map(str, problem["loc"])), problem["msg"])
        for problem in error.errors(include_url=False, include_input=False)
    ]
    return "; ".join(f"{place}: {message}" if place else message for place, message in found)


def _check_format(path: Path, hashes: dict[str, Any]) -> None:
    found = hashes.get("format")
    if isinstance(found, int) and found > FORMAT:
        raise CrossfoldError(
            f"{path}: a bundle of format {found}; this version of Crossfold ({__version__}) knows "
            f"{FORMAT}",
            remedy="update Crossfold, or run the bundle with the code in it",
        )
    if found != FORMAT or not isinstance(hashes.get("files"), dict):
        raise CrossfoldError(f"{path / HASHES}: not that of a bundle", remedy=_AGAIN)


def _check_files(path: Path, hashes: dict[str, Any]) -> None:
    for name, expected in hashes["files"].items():
        if Path(name).is_absolute() or ".." in Path(name).parts:
            raise CrossfoldError(f"{path / HASHES}: `{name}` lies outside of it", remedy=_AGAIN)
        try:
            found = sha256(path / name)
        except OSError as error:
            reason = "is missing" if isinstance(error, FileNotFoundError) else error.strerror
            raise CrossfoldError(f"{path / name}: {reason}", remedy=_AGAIN) from error
        if found != expected:
            raise CrossfoldError(
                f"{path / name}: altered since the bundle was written", remedy=_AGAIN
            )
    for name in (MODEL, REQUIREMENTS):
        _require_hash(path, hashes, name)


def _require_hash(path: Path, hashes: dict[str, Any], name: str) -> None:
    if name not in hashes["files"]:
        raise CrossfoldError(f"{path / HASHES}: does not list {name}", remedy=_AGAIN)


def _read_json(path: Path, name: str) -> dict[str, Any]:
    try:
        content = json.loads((path / name).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CrossfoldError(
            f"{path / name}: not readable ({error}), so {path} is no bundle of Crossfold",
            remedy="name the folder that holds it, such as results/Prostate/model",
        ) from error
    if not isinstance(content, dict):
        raise CrossfoldError(f"{path / name}: holds no object", remedy=_AGAIN)
    return content


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

"""Prediction of images: checked first, subject by subject, each with a folder of its own.

<output>/<subject>/segmentation.nii.gz, posteriors.nii.gz, uncertainty.nii.gz, disagreement.nii.gz,
overlay.png, volumes.csv, prediction.json; of a DICOM series segmentation.dcm and structures.dcm as
well. A folder appears whole, when its subject is done.
"""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd
from tqdm import tqdm

from crossfold import __version__
from crossfold.config.labels import label_values
from crossfold.data import dicom
from crossfold.errors import CrossfoldError
from crossfold.images import (
    Image,
    atomic_directory,
    read_header,
    read_image,
    write_image,
    write_posterior,
)
from crossfold.paths import subject_file
from crossfold.prediction.bundle import Bundle
from crossfold.prediction.checks import Finding, Grid, check_grids, check_voxels, refuse
from crossfold.prediction.inputs import Subject
from crossfold.prediction.memory import FULL, DiskFullError, machine_gb, peak_memory_gb
from crossfold.prediction.records import (
    ABOUT,
    CSV,
    PREDICTED,
    REFUSED,
    SKIPPED,
    SUMMARY_COLUMNS,
    VOLUMES,
    is_whole,
    seal,
    volumes_of,
    write_tables,
)
from crossfold.prediction.subject import EnsemblePredictor, SubjectPrediction, members_of

# Voxels above which the memory of the machine is looked at, even if nobody limits it.
_LARGE = 2**28


@dataclass(frozen=True, kw_only=True)
class Options:
    """How images are predicted.

    Parameters
    ----------
    folds, device, memory_gb, threads
        As for `EnsemblePredictor`.
    posteriors
        Whether to write them: they are the largest files.
    accepted
        Names of checks whose errors are accepted.
    """

    folds: Sequence[int] | None = None
    device: str = "auto"
    memory_gb: float | None = None
    threads: int | None = None
    posteriors: bool = True
    accepted: Collection[str] = ()


@dataclass(frozen=True)
class _Channels:
    """The images of a subject, with the series where they are DICOM."""

    images: dict[str, Image]
    series: Any

    @property
    def grids(self) -> dict[str, Grid]:
        return {name: Grid.of(image) for name, image in self.images.items()}


class Prediction:
    """A bundle at work on one subject after the other.

    Parameters
    ----------
    bundle
        The model.
    output
        Folder to write.
    options
        How.
    reference
        What the model was asked for by, such as `Prostate`.
    registered
        Name and version of the model, where it came from a registry.
    draw
        Writes the picture: called with its path, `image`, `segmentation` and `structures`.
    """

    def __init__(
        self,
        bundle: Bundle,
        output: Path,
        *,
        options: Options,
        reference: str = "",
        registered: Mapping[str, Any] | None = None,
        draw: Callable[..., None] | None = None,
    ) -> None:
        self._bundle, self._output, self._options = bundle, output, options
        self._model = {"model": reference or str(bundle.path), "registered": registered}
        self._draw = draw
        self._bar: tqdm | None = None
        self.folds = members_of(bundle, options.folds)

    def run(self, subjects: Sequence[Subject]) -> pd.DataFrame:
        """Predict subjects; one that is refused does not keep the others waiting.

        Returns
        -------
        pandas.DataFrame
            Columns subject, state (`predicted`, `there already`, `refused`), seconds, reason and
            remedy; kept as predictions.csv. The volumes of all are in volumes.csv beside it.

        Raises
        ------
        CrossfoldError
            If two subjects have one name, or the disk is full.
        """
        require_different(subjects)
        rows = []
        with tqdm(
            total=len(subjects) * len(self.folds), desc="predict", unit="member", disable=None
        ) as self._bar:
            for place, subject in enumerate(subjects, start=1):
                started = time.perf_counter()
                reason = remedy = ""
                try:
                    state = self._subject(subject)
                except DiskFullError:
                    raise
                except CrossfoldError as error:
                    state, reason, remedy = REFUSED, error.message, error.remedy
                seconds = round(time.perf_counter() - started, 2)
                rows.append((subject.name, state, seconds, reason, remedy))
                self._bar.n = place * len(self.folds)
                self._bar.refresh()
        summary = pd.DataFrame(rows, columns=SUMMARY_COLUMNS)
        write_tables(summary, self._output)
        return summary

    def begin(self, subject: Subject) -> list[Finding] | None:
        """Check all that needs neither voxels nor a network.

        Returns
        -------
        list of Finding or None
            What is odd about its headers (of a DICOM series, nothing yet); None: it is there.

        Raises
        ------
        CrossfoldError
            If it is refused.
        """
        if subject.problem is not None:
            raise subject.problem
        folder = subject_file(self._output, subject.name, suffix="")
        _check_target(folder)
        if folder.exists() and is_whole(folder, self._asked(subject)):
            return None
        return [] if subject.is_series else self._check(_grids(subject))

    @cached_property
    def _predictor(self) -> EnsemblePredictor:
        """The networks, when the first subject needs them."""
        self._output.mkdir(parents=True, exist_ok=True)
        return EnsemblePredictor(
            self._bundle,
            folds=self.folds,
            device=self._options.device,
            memory_gb=self._options.memory_gb,
            scratch=self._output,
            threads=self._options.threads,
            progress=self._advance,
        )

    def _advance(self, _done: int, _all: int) -> None:
        if self._bar is not None:
            self._bar.update()

    def _subject(self, subject: Subject) -> str:
        findings, read = self.begin(subject), None
        if findings is None:
            return SKIPPED
        if not subject.is_series:
            self._check_memory(_grids(subject))
        started = time.perf_counter()
        try:
            read = _read(subject)
            if read.series is not None:
                findings = self._check(read.grids)
                self._check_memory(read.grids)
            images = {name: read.images[name] for name in self._bundle.images}
            findings += check_voxels(images, self._bundle)
            refuse(findings, self._options.accepted)
            seconds = {"read": time.perf_counter() - started}
            mask = read.images.get(self._bundle.preprocessing.mask or "")
            predictor = self._predictor
            started = time.perf_counter()
            predicted = predictor.predict(images, mask)
            seconds["predict"] = time.perf_counter() - started
            told = {"findings": [asdict(finding) for finding in findings]}
            about = self._model | self._asked(subject) | told
            self._write(subject.name, predicted, read, about, seconds)
        except MemoryError as error:
            raise CrossfoldError(
                "the memory of this machine does not suffice",
                remedy="allow less, so that posteriors are kept in a file: --memory 4",
            ) from error
        except OSError as error:
            raise self._explained(error, read) from error
        return PREDICTED

    def _check(self, grids: dict[str, Grid]) -> list[Finding]:
        findings = check_grids(grids, self._bundle)
        refuse(findings, self._options.accepted)
        return findings

    def _check_memory(self, grids: dict[str, Grid]) -> None:
        grid = grids[self._bundle.images[0]]
        memory_gb = self._options.memory_gb
        if memory_gb is not None or math.prod(grid.shape) > _LARGE:
            need = self._predictor.need(grid.ras_shape, grid.ras_spacing_mm)
            if not need.fits_whole(memory_gb or machine_gb()) and memory_gb is None:
                raise CrossfoldError(
                    f"takes {need.whole_gb:.1f} GB, more than this machine has",
                    remedy=f"allow less: --memory {math.ceil(10 * need.least_gb) / 10:g} or more",
                )

    def _asked(self, subject: Subject) -> dict[str, Any]:
        """Return what a prediction follows from, as it is kept beside it."""
        return {
            "bundle": {
                "name": self._bundle.name,
                "digest": self._bundle.digest,
                "epoch": self._bundle.epoch,
            },
            "folds": self.folds,
            "images": {name: source.digest() for name, source in subject.channels.items()},
            "posteriors": self._options.posteriors,
        }

    def _write(
        self,
        subject: str,
        predicted: SubjectPrediction,
        read: _Channels,
        about: dict[str, Any],
        seconds: dict[str, float],
    ) -> None:
        started = time.perf_counter()
        structures = self._bundle.structures
        with atomic_directory(subject_file(self._output, subject, suffix="")) as target:
            write_image(target / "segmentation.nii.gz", predicted.segmentation, predicted.like)
            maps = {"uncertainty": predicted.uncertainty, "disagreement": predicted.disagreement}
            if self._options.posteriors:
                maps["posteriors"] = predicted.posterior
            for name, array in maps.items():
                write_posterior(target / f"{name}.nii.gz", array, predicted.like)
            volumes = volumes_of(predicted, subject)
            volumes.to_csv(target / VOLUMES, **CSV)
            if self._draw is not None:
                self._draw(
                    target / "overlay.png",
                    image=predicted.like,
                    segmentation=predicted.segmentation,
                    structures=structures,
                )
            if read.series is not None:
                self._write_dicom(target, predicted, read.series)
            seconds["write"] = time.perf_counter() - started
            about |= {
                "crossfold_version": __version__,
                "device": str(self._options.device),
                "memory_gb": self._options.memory_gb,
                "seconds": {name: round(value, 2) for name, value in seconds.items()},
                "peak_memory_gb": round(peak_memory_gb(), 2),
            }
            seal(target, about)

    def _write_dicom(self, target: Path, predicted: SubjectPrediction, series: Any) -> None:
        labels = label_values(self._bundle.structures, self._bundle.derived_structures)
        author = dicom.Author(self._bundle.name[:64], __version__, self._bundle.digest)
        if predicted.segmentation.any():  # neither has a way to say that there is nothing
            for write, name in (
                (dicom.write_segmentation, "segmentation.dcm"),
                (dicom.write_structure_set, "structures.dcm"),
            ):
                write(series, predicted.segmentation, labels, target / name, author=author)

    def _explained(self, error: OSError, read: _Channels | None) -> Exception:
        """Return what to raise for an error of the file system."""
        if error.errno not in FULL:
            return error
        voxels = max((image.array.size for image in read.images.values()), default=0) if read else 0
        maps = 3 + len(self._bundle.structures) * self._options.posteriors
        needed_mb = voxels * maps / 1e6
        free_mb = shutil.disk_usage(self._output).free / 1e6
        return DiskFullError(
            f"{self._output}: no room to write to ({free_mb:.0f} MB are free; a subject of this "
            f"size takes at most {needed_mb:.0f} MB)",
            remedy="make room and give the same command again: what is whole is kept",
        )


def require_different(subjects: Sequence[Subject]) -> None:
    """Refuse two subjects of one name.

    Raises
    ------
    CrossfoldError
        If there are any.
    """
    names = [subject.name for subject in subjects]
    double = sorted({name for name in names if names.count(name) > 1})
    if double:
        raise CrossfoldError(
            f"two subjects are called {double[0]}", remedy="rename one of their files"
        )


def _grids(subject: Subject) -> dict[str, Grid]:
    return {
        name: Grid.of(read_header(source.path), volume=source.volume)
        for name, source in subject.channels.items()
    }


def _read(subject: Subject) -> _Channels:
    """Read the channels of a subject; a DICOM series gives the grid of what is written."""
    images, series = {}, None
    for channel, source in subject.channels.items():
        if source.is_series:
            found = dicom.read_series(source.path)
            images[channel], series = found.image, series or found
        else:
            images[channel] = read_image(source.path, source.volume)
    return _Channels(images, series)


def _check_target(folder: Path) -> None:
    """Refuse to replace what is no prediction."""
    if folder.exists() and not (folder / ABOUT).is_file():
        raise CrossfoldError(
            f"{folder}: is there already, and is no prediction",
            remedy="name another folder with --output",
        )

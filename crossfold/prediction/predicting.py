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

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from tqdm import tqdm

from crossfold import __version__
from crossfold.config.labels import label_values
from crossfold.data import dicom
from crossfold.errors import CrossfoldError
from crossfold.images import atomic_directory, write_image, write_posterior
from crossfold.paths import subject_file
from crossfold.prediction.bundle import Bundle
from crossfold.prediction.checks import Finding, Grid, check_grids, check_voxels, refuse
from crossfold.prediction.conditions import alone_in, is_out_of_memory, require_device
from crossfold.prediction.inputs import Subject
from crossfold.prediction.memory import FULL, DiskFullError, machine_gb, peak_memory_gb
from crossfold.prediction.reading import Channels, grids_of, read_channels, read_mask
from crossfold.prediction.records import (
    ABOUT,
    CSV,
    PREDICTED,
    REFUSED,
    SKIPPED,
    SUMMARY,
    SUMMARY_COLUMNS,
    VOLUMES,
    is_of_another_image,
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


class UnusableError(CrossfoldError):
    """The model, the device or the output does not work: for no subject."""


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
            If two subjects have one name, the disk is full, or model, device or output do not work.
        """
        require_different(subjects)
        self._device = require_device(self._options.device)
        rows, steps = [], len(subjects) * len(self.folds)
        with (
            alone_in(self._output),
            tqdm(total=steps, desc="predict", unit="member", disable=None) as self._bar,
        ):
            for place, subject in enumerate(subjects, start=1):
                started = time.perf_counter()
                reason = remedy = ""
                try:
                    state = self._subject(subject)
                except (DiskFullError, UnusableError):
                    raise
                except CrossfoldError as error:
                    state, reason, remedy = REFUSED, error.message, error.remedy
                    if (subject_file(self._output, subject.name, suffix="") / ABOUT).is_file():
                        reason += "; what is there is of an earlier run, and not in volumes.csv"
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
        asked = self._asked(subject)
        if folder.exists() and is_whole(folder, asked):
            return None
        if is_of_another_image(folder, asked["images"], subject.sources):
            raise CrossfoldError(
                f"{folder}: is the prediction of another image of that name",
                remedy="name another folder with --output, or delete this one",
            )
        return [] if subject.is_series else self.check(grids_of(subject))

    def check(self, grids: dict[str, Grid]) -> list[Finding]:
        """Return what is odd about grids.

        Raises
        ------
        CrossfoldError
            If they are refused.
        """
        findings = check_grids(grids, self._bundle)
        refuse(findings, self._options.accepted)
        return findings

    @cached_property
    def _predictor(self) -> EnsemblePredictor:
        """The networks, when the first subject needs them."""
        try:
            return EnsemblePredictor(
                self._bundle,
                folds=self.folds,
                device=self._options.device,
                memory_gb=self._options.memory_gb,
                scratch=self._output,
                threads=self._options.threads,
                progress=self._advance,
            )
        except CrossfoldError as error:
            raise UnusableError(
                error.message, remedy="make the bundle again: snakemake results/<Model>/model"
            ) from error

    def _advance(self, _done: int, _all: int) -> None:
        if self._bar is not None:
            self._bar.update()

    def _subject(self, subject: Subject) -> str:
        read = None
        try:
            findings = self.begin(subject)
            if findings is None:
                return SKIPPED
            if not subject.is_series:
                self._check_memory(grids_of(subject))
            started = time.perf_counter()
            read = read_channels(subject, self._bundle.images[0])
            if read.series is not None:
                findings = self.check(read.grids)
                self._check_memory(read.grids)
            images = {name: read.images[name] for name in self._bundle.images}
            findings += check_voxels(images, self._bundle)
            refuse(findings, self._options.accepted)
            seconds = {"read": time.perf_counter() - started}
            mask = read_mask(read, subject, self._bundle.preprocessing.mask)
            predictor = self._predictor
            started = time.perf_counter()
            predicted = predictor.predict(images, mask)
            seconds["predict"] = time.perf_counter() - started
            told = {
                "sources": subject.sources,
                "findings": [asdict(finding) for finding in findings],
            }
            about = self._model | self._asked(subject) | told
            self._write(subject.name, predicted, read, about, seconds)
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            raise CrossfoldError(
                f"the memory of this machine does not suffice (--device {self._device})",
                remedy="allow less, so that posteriors are kept in a file: --memory 4; or cut the "
                "image",
            ) from error
        except OSError as error:
            raise self._explained(error, read) from error
        return PREDICTED

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
        read: Channels,
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
                write_dicom(target, predicted.segmentation, read.series, self._bundle)
            seconds["write"] = time.perf_counter() - started
            about |= {
                "crossfold_version": __version__,
                "device": str(self._device),
                "memory_gb": self._options.memory_gb,
                "seconds": {name: round(value, 2) for name, value in seconds.items()},
                "peak_memory_gb": round(peak_memory_gb(), 2),
            }
            seal(target, about)

    def _explained(self, error: OSError, read: Channels | None) -> Exception:
        """Return what to raise for an error of the file system."""
        if error.errno not in FULL:
            place = error.filename or self._output
            return CrossfoldError(
                f"{place}: {error.strerror or error}",
                remedy="look at its permissions, and its disk",
            )
        voxels = max((image.array.size for image in read.images.values()), default=0) if read else 0
        maps = 3 + len(self._bundle.structures) * self._options.posteriors
        needed_mb = voxels * maps / 1e6
        free_mb = shutil.disk_usage(self._output).free / 1e6
        return DiskFullError(
            f"{self._output}: no room to write to ({free_mb:.0f} MB are free; a subject of this "
            f"size takes at most {needed_mb:.0f} MB)",
            remedy="make room and give the same command again: what is whole is kept",
        )


def write_dicom(folder: Path, segmentation: NDArray[np.uint8], series: Any, bundle: Bundle) -> None:
    """Write segmentation.dcm and structures.dcm, unless there is nothing in the segmentation.

    Parameters
    ----------
    folder
        Where to.
    segmentation
        (x, y, z) on the grid of the series.
    series
        What was segmented.
    bundle
        The model that did it.

    Raises
    ------
    CrossfoldError
        As `crossfold.data.dicom.write_segmentation`.
    """
    labels = label_values(bundle.structures, bundle.derived_structures)
    author = dicom.Author(bundle.name[:64], __version__, bundle.digest)
    if segmentation.any():  # neither has a way to say that there is nothing
        for write, name in (
            (dicom.write_segmentation, "segmentation.dcm"),
            (dicom.write_structure_set, "structures.dcm"),
        ):
            write(series, segmentation, labels, folder / name, author=author)


def require_different(subjects: Sequence[Subject]) -> None:
    """Refuse two subjects of one name.

    Raises
    ------
    CrossfoldError
        If there are any.
    """
    named: dict[str, Subject] = {}
    for subject in subjects:
        other = named.setdefault(subject.name, subject)
        if other is not subject:
            files = [str(of.path) for one in (other, subject) for of in one.channels.values()]
            raise CrossfoldError(
                f"two subjects are called {subject.name} ({', '.join(files)})",
                remedy="rename one of their files",
            )


def _check_target(folder: Path) -> None:
    """Refuse to replace what is no prediction."""
    if folder.name in (SUMMARY, VOLUMES):
        raise CrossfoldError(
            f"a subject cannot be called {folder.name}: that is one of the tables",
            remedy="rename it",
        )
    if folder.exists() and not (folder / ABOUT).is_file():
        raise CrossfoldError(
            f"{folder}: is there already, and is no prediction",
            remedy="name another folder with --output",
        )

"""Images on their way to a cluster and back: what is sent, and what comes back of it.

Snakemake moves files of the folder that it runs in, and only those. What is to be predicted is
therefore written down in <output>/.sent/, with copies of what lies outside; the job writes its
predictions beside it, and they take their places when the job is done.

DICOM stays here: of a series, voxels and grid are sent as NIfTI, and its DICOM-SEG and RT-STRUCT
are written here. Jobs know subjects by number, as their names may be those of patients.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from crossfold.errors import CrossfoldError
from crossfold.images import Image, read_image, read_labels, write_image
from crossfold.paths import subject_file
from crossfold.prediction.bundle import Bundle
from crossfold.prediction.checks import Grid
from crossfold.prediction.conditions import alone_in
from crossfold.prediction.inputs import Source, Subject, suffix_of
from crossfold.prediction.predicting import (
    Options,
    Prediction,
    UnusableError,
    require_different,
    write_dicom,
)
from crossfold.prediction.reading import read_channels
from crossfold.prediction.records import (
    ABOUT,
    CSV,
    REFUSED,
    SKIPPED,
    SUMMARY,
    SUMMARY_COLUMNS,
    VOLUMES,
    read_volumes,
    seal,
    write_tables,
)

SENT = ".sent"
REQUEST, PREDICTED = "request.json", "predicted"


@dataclass(frozen=True, kw_only=True)
class Request:
    """What a job is to predict.

    Parameters
    ----------
    bundle
        Folder of the model.
    subjects
        Images, none of them DICOM.
    options
        As for `Prediction`, and so the last two.
    """

    bundle: Path
    subjects: Sequence[Subject]
    options: Options
    reference: str
    registered: Mapping[str, Any] | None = None

    @classmethod
    def read(cls, path: Path) -> Request:
        """Read what `write` wrote."""
        kept = json.loads(path.read_text(encoding="utf-8"))
        subjects = [
            Subject(name, {key: Source(Path(file), *more) for key, (file, *more) in of.items()})
            for name, of in kept.pop("subjects").items()
        ]
        bundle, options = Path(kept.pop("bundle")), Options(**kept.pop("options"))
        return cls(bundle=bundle, subjects=subjects, options=options, **kept)

    def write(self, path: Path) -> None:
        """Write it as JSON; the same request gives the same bytes."""
        subjects = {
            subject.name: {
                name: (str(of.path), of.volume, of.label) for name, of in subject.channels.items()
            }
            for subject in self.subjects
        }
        kept = {
            "bundle": str(self.bundle),
            "subjects": subjects,
            "options": asdict(self.options),
            "reference": self.reference,
            "registered": self.registered,
        }
        path.write_text(json.dumps(kept, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")

    def prediction(
        self, bundle: Bundle, output: Path, *, draw: Callable[..., None] | None = None
    ) -> Prediction:
        """Return what answers it; parameters as for `Prediction`."""
        return Prediction(
            bundle,
            output,
            options=self.options,
            reference=self.reference,
            registered=self.registered,
            draw=draw,
        )

    @property
    def files(self) -> list[str]:
        """The images."""
        channels = [source for subject in self.subjects for source in subject.channels.values()]
        return list(dict.fromkeys(str(source.path) for source in channels))


def predict_there(
    request: Request,
    output: Path,
    *,
    submit: Callable[[Path], None],
    draw: Callable[..., None],
) -> pd.DataFrame:
    """Predict on a cluster what is not there yet; headers are checked here, voxels in the job.

    Parameters
    ----------
    request
        What is wanted.
    output
        Where to, in the folder where Snakemake runs: this one.
    submit
        Runs the job, and returns when it is done; called with the folder that holds what is sent.
    draw
        As for `Prediction`.

    Returns
    -------
    pandas.DataFrame
        As `Prediction.run`.

    Raises
    ------
    CrossfoldError
        If two subjects have one name, the output lies elsewhere, or there is no room for copies.
    """
    require_different(request.subjects)
    bundle = Bundle.read(request.bundle)
    prediction = request.prediction(bundle, output)
    rows = []
    _home_of(output)
    with alone_in(output):
        parcel = Parcel(output)
        for subject in request.subjects:
            try:
                if prediction.begin(subject) is None:
                    rows.append((subject.name, SKIPPED, 0.0, "", ""))
                else:
                    parcel.add(subject, check=prediction.check)
            except UnusableError:
                raise
            except CrossfoldError as error:
                rows.append((subject.name, REFUSED, 0.0, error.message, error.remedy))
        summary = pd.DataFrame(rows, columns=SUMMARY_COLUMNS)
        if len(parcel):
            submit(parcel.close(request))
            received = parcel.unpack(bundle, draw=draw)
            summary = pd.concat([summary, received]) if rows else received
    order = {subject.name: place for place, subject in enumerate(request.subjects)}
    summary = summary.sort_values("subject", key=lambda names: names.map(order), ignore_index=True)
    write_tables(summary, output)
    return summary


def _home_of(output: Path) -> Path:
    """Return this folder, in which an output has to lie."""
    home = Path.cwd().resolve()
    if not output.resolve().is_relative_to(home):
        raise CrossfoldError(
            f"--output {output}: lies outside of this folder, where jobs cannot write",
            remedy="name a folder in this one, and move it afterwards",
        )
    return home


class Parcel:
    """What is sent to a job that sees nothing but this folder, and what comes back.

    Parameters
    ----------
    output
        Where predictions are wanted, in this folder.

    Raises
    ------
    CrossfoldError
        If the output lies elsewhere.
    """

    def __init__(self, output: Path) -> None:
        self._home = _home_of(output)
        self._output, self._folder = output, output.resolve() / SENT
        self._items: list[_Item] = []
        shutil.rmtree(self._folder, ignore_errors=True)

    def __len__(self) -> int:
        """Return the number of subjects in it."""
        return len(self._items)

    def add(self, subject: Subject, *, check: Callable[[dict[str, Grid]], object]) -> None:
        """Put a subject in.

        Parameters
        ----------
        subject
            Files of it that lie outside of the folder, or are links that lead out, are copied;
            series are written as NIfTI.
        check
            Raises where the grids of a series are refused.

        Raises
        ------
        CrossfoldError
            If a series cannot be read or is refused, or there is no room for copies.
        """
        digests = _digests_of_series(subject)
        images: Mapping[str, Image] = {}
        if digests:
            read = read_channels(subject, next(iter(subject.channels)))
            check(read.grids)
            images = read.images
        number, channels = f"{len(self):04}", {}
        for name, source in subject.channels.items():
            suffix = ".nii.gz" if name in digests else suffix_of(source.path)
            copied = self._folder / "images" / f"{number}_{name}{suffix}"
            with self._room():
                if name in digests:
                    write_image(copied, images[name].array, images[name])
                    channels[name] = Source(copied.relative_to(self._home))
                else:
                    channels[name] = Source(
                        self._inside(source.path, copied), source.volume, source.label
                    )
        self._items.append(_Item(subject, Subject(number, channels), digests))

    def close(self, request: Request) -> Path:
        """Put the model in, and write down what is asked for.

        Returns
        -------
        pathlib.Path
            The folder that holds what is sent, as seen from this one.

        Raises
        ------
        CrossfoldError
            If there is no room.
        """
        with self._room():
            bundle = self._inside(request.bundle, self._folder / "model")
            subjects = [item.sent for item in self._items]
            replace(request, bundle=bundle, subjects=subjects).write(self._folder / REQUEST)
        return self._folder.relative_to(self._home)

    def unpack(self, bundle: Bundle, *, draw: Callable[..., None]) -> pd.DataFrame:
        """Put into place what a job has predicted, each subject at once, and remove what was sent.

        Parameters
        ----------
        bundle
            The model.
        draw
            As for `Prediction`.

        Returns
        -------
        pandas.DataFrame
            What became of the subjects, as `Prediction.run`.
        """
        predicted = self._folder / PREDICTED
        table = pd.read_csv(predicted / SUMMARY, dtype={"subject": str}, keep_default_na=False)
        table["subject"] = [item.subject.name for item in self._items]
        for row, item in enumerate(self._items):
            made = subject_file(predicted, item.sent.name, suffix="")
            if not made.is_dir():
                continue  # refused
            try:
                item.finish(made, bundle, draw)
            except CrossfoldError as error:
                told = [REFUSED, error.message, error.remedy]
                table.loc[row, ["state", "reason", "remedy"]] = told
            else:
                target = subject_file(self._output, item.subject.name, suffix="")
                shutil.rmtree(target, ignore_errors=True)
                os.replace(made, target)
        shutil.rmtree(self._folder)
        return table

    def _inside(self, path: Path, copied: Path) -> Path:
        """Return a path as seen from the folder; that of a copy where it leads out of it."""
        real = path.resolve()
        # What a link leads to may be called after its content, and its kind no longer be seen.
        if not real.is_relative_to(self._home) or real.suffixes[-2:] != path.suffixes[-2:]:
            copied.parent.mkdir(parents=True, exist_ok=True)
            if path.is_dir():
                shutil.copytree(path, copied, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copyfile(path, copied)
            real = copied
        return real.relative_to(self._home)

    @contextlib.contextmanager
    def _room(self) -> Iterator[None]:
        """Say what keeps copies from being written; nothing of them stays."""
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            yield
        except OSError as error:
            shutil.rmtree(self._folder, ignore_errors=True)
            raise UnusableError(
                f"{self._folder}: cannot be written ({error.strerror or error})",
                remedy="make room: what lies outside of this folder is copied there to be sent, "
                "and DICOM as NIfTI",
            ) from error


@dataclass(frozen=True)
class _Item:
    """A subject, as it is here and as a job knows it, with the digests of its series."""

    subject: Subject
    sent: Subject
    digests: Mapping[str, str]

    def finish(self, made: Path, bundle: Bundle, draw: Callable[..., None]) -> None:
        """Add to the folder of a subject what jobs cannot make: name, picture and DICOM."""
        segmentation = read_labels(made / "segmentation.nii.gz").array.astype("uint8")
        about = json.loads((made / ABOUT).read_text(encoding="utf-8"))
        about["sources"] = self.subject.sources
        if self.digests:
            series = read_channels(self.subject, bundle.images[0]).series
            if _digests_of_series(self.subject) != self.digests:
                raise CrossfoldError(
                    f"{self.subject.name}: its series has changed since it was sent",
                    remedy="give the same command again",
                )
            if series is not None:
                write_dicom(made, segmentation, series, bundle)
            about["images"] |= self.digests
        source = self.sent.channels[bundle.images[0]]
        draw(
            made / "overlay.png",
            image=read_image(source.path, source.volume),
            segmentation=segmentation,
            structures=bundle.structures,
        )
        volumes = read_volumes(made / VOLUMES).assign(subject=self.subject.name)
        volumes.to_csv(made / VOLUMES, **CSV)
        seal(made, about)


def _digests_of_series(subject: Subject) -> dict[str, str]:
    return {name: of.digest() for name, of in subject.channels.items() if of.is_series}


def predict_sent(request: Request, folder: Path) -> pd.DataFrame:
    """Predict what was sent, in a job.

    Parameters
    ----------
    request
        What to predict.
    folder
        Where to, as `Prediction`; there are no pictures, as jobs have no matplotlib.
    """
    return request.prediction(Bundle.read(request.bundle), folder).run(request.subjects)

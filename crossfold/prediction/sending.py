"""Images on their way to a cluster and back: what is sent, and what comes back of it.

Snakemake moves files of the folder that it runs in, and only those. What is to be predicted is
therefore written down in <output>/.sent/, with copies of what lies outside; the job writes its
predictions beside it, and they take their places when the job is done.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from crossfold.errors import CrossfoldError
from crossfold.images import read_image, read_labels
from crossfold.paths import subject_file
from crossfold.prediction.bundle import Bundle
from crossfold.prediction.inputs import Source, Subject
from crossfold.prediction.predicting import Options, Prediction, require_different
from crossfold.prediction.records import (
    ABOUT,
    REFUSED,
    SKIPPED,
    SUMMARY,
    SUMMARY_COLUMNS,
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
            Subject(name, {key: Source(Path(file), volume) for key, (file, volume) in of.items()})
            for name, of in kept.pop("subjects").items()
        ]
        bundle, options = Path(kept.pop("bundle")), Options(**kept.pop("options"))
        return cls(bundle=bundle, subjects=subjects, options=options, **kept)

    def write(self, path: Path) -> None:
        """Write it as JSON; the same request gives the same bytes."""
        subjects = {
            subject.name: {name: (str(of.path), of.volume) for name, of in subject.channels.items()}
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
        Where to.
    submit
        Runs the job, and returns when it is done; called with what `send` returns.
    draw
        As for `Prediction`.

    Returns
    -------
    pandas.DataFrame
        As `Prediction.run`.

    Raises
    ------
    CrossfoldError
        As `send`; or if two subjects have one name.
    """
    require_different(request.subjects)
    prediction = request.prediction(Bundle.read(request.bundle), output)
    rows, wanted = [], []
    for subject in request.subjects:
        try:
            findings = prediction.begin(subject)
            if findings is not None and subject.is_series:
                raise CrossfoldError(
                    f"{subject.name} is DICOM, which jobs on a cluster do not read",
                    remedy="predict it here, without --azureml, or convert it to NIfTI",
                )
        except CrossfoldError as error:
            rows.append((subject.name, REFUSED, 0.0, error.message, error.remedy))
        else:
            if findings is None:
                rows.append((subject.name, SKIPPED, 0.0, "", ""))
            else:
                wanted.append(subject)
    summary = pd.DataFrame(rows, columns=SUMMARY_COLUMNS)
    if wanted:
        sent = send(replace(request, subjects=wanted), output)
        submit(sent)
        received = receive(sent, output, draw=draw)
        summary = pd.concat([summary, received]) if rows else received
    order = {subject.name: place for place, subject in enumerate(request.subjects)}
    summary = summary.sort_values("subject", key=lambda names: names.map(order), ignore_index=True)
    write_tables(summary, output)
    return summary


def send(request: Request, output: Path, root: Path = Path()) -> Path:
    """Prepare a request for a job that sees nothing but a folder.

    Parameters
    ----------
    request
        Files of it that lie outside of that folder, or are links that lead out, are copied.
    output
        Where predictions are wanted, in that folder.
    root
        The folder: where Snakemake runs.

    Returns
    -------
    pathlib.Path
        The folder that holds what is sent, relative to `root`.

    Raises
    ------
    CrossfoldError
        If the output lies elsewhere, or there is no room for copies.
    """
    home = root.resolve()
    if not output.resolve().is_relative_to(home):
        raise CrossfoldError(
            f"--output {output}: lies outside of this folder, where jobs cannot write",
            remedy="name a folder in this one, and move it afterwards",
        )
    sent = output.resolve() / SENT
    shutil.rmtree(sent, ignore_errors=True)
    try:
        (sent / "images").mkdir(parents=True)
        bundle = _inside(request.bundle, sent / "model", home)
        subjects = []
        for place, subject in enumerate(request.subjects):
            channels = {}
            for name, source in subject.channels.items():
                copied = sent / "images" / f"{place:04}_{name}{''.join(source.path.suffixes[-2:])}"
                channels[name] = Source(_inside(source.path, copied, home), source.volume)
            subjects.append(Subject(subject.name, channels))
        replace(request, bundle=bundle, subjects=subjects).write(sent / REQUEST)
    except OSError as error:
        shutil.rmtree(sent, ignore_errors=True)
        raise CrossfoldError(
            f"{sent}: cannot be written ({error.strerror or error})",
            remedy="make room: what lies outside of this folder is copied there to be sent",
        ) from error
    return sent.relative_to(home)


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


def receive(sent: Path, output: Path, *, draw: Callable[..., None]) -> pd.DataFrame:
    """Put into place what a job has predicted, each subject at once, and remove what was sent.

    Parameters
    ----------
    sent
        What `send` returned.
    output
        As there.
    draw
        As for `Prediction`.

    Returns
    -------
    pandas.DataFrame
        What became of the subjects, as `Prediction.run`.
    """
    predicted = sent / PREDICTED
    request = Request.read(sent / REQUEST)
    structures = Bundle.read(request.bundle).structures
    for subject in request.subjects:
        made = subject_file(predicted, subject.name, suffix="")
        if not made.is_dir():
            continue  # refused
        source = next(iter(subject.channels.values()))
        draw(
            made / "overlay.png",
            image=read_image(source.path, source.volume),
            segmentation=read_labels(made / "segmentation.nii.gz").array.astype("uint8"),
            structures=structures,
        )
        seal(made, json.loads((made / ABOUT).read_text(encoding="utf-8")))
        target = subject_file(output, subject.name, suffix="")
        shutil.rmtree(target, ignore_errors=True)
        os.replace(made, target)
    table = pd.read_csv(predicted / SUMMARY, dtype={"subject": str}, keep_default_na=False)
    shutil.rmtree(sent)
    return table


def _inside(path: Path, copied: Path, home: Path) -> Path:
    """Return a path relative to a folder; of a copy where it leads out of it."""
    real = path.resolve()
    # What a link leads to may be called after its content, and its kind no longer be seen.
    if not real.is_relative_to(home) or real.suffixes[-2:] != path.suffixes[-2:]:
        if path.is_dir():
            shutil.copytree(path, copied, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copyfile(path, copied)
        real = copied
    return real.relative_to(home)

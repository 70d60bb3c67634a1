"""Which images are to be predicted: what `--image` names, as subjects with their channels."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

from crossfold import paths
from crossfold.config.base import nearest
from crossfold.data.dataset import read_table, rows_of
from crossfold.data.dicom import is_dicom
from crossfold.errors import CrossfoldError

NIFTI = (".nii.gz", ".nii")


@dataclass(frozen=True)
class Source:
    """Where one channel is.

    Parameters
    ----------
    path
        NIfTI file, or folder of a DICOM series.
    volume
        Index in a 4-D file; None: the file is 3-D.
    label
        Of a mask: its values in a map of labels, as in dataset.csv; empty: every one but 0.
    """

    path: Path
    volume: int | None = None
    label: str = ""

    @property
    def is_series(self) -> bool:
        """Whether it is DICOM."""
        return self.path.is_dir() or is_dicom(self.path)

    @property
    def files(self) -> list[Path]:
        """The file, or all files of the folder at any depth."""
        paths = sorted(self.path.rglob("*")) if self.path.is_dir() else [self.path]
        return [path for path in paths if not path.is_dir()]

    def digest(self) -> str:
        """Return the SHA-256 of the file, or of all files of the folder."""
        digest = hashlib.sha256(f"{self.volume}{self.label}".encode())
        for file in filter(Path.is_file, self.files):
            with file.open("rb") as content:
                digest.update(hashlib.file_digest(content, "sha256").digest())
        return digest.hexdigest()


@dataclass(frozen=True)
class Subject:
    """What is to be predicted.

    Parameters
    ----------
    name
        Of the subject: its folder in the output.
    channels
        By name, with that of the mask where a model has one.
    problem
        Why it cannot be read; None where nothing speaks against it yet.
    """

    name: str
    channels: Mapping[str, Source] = field(default_factory=dict)
    problem: CrossfoldError | None = None

    @property
    def sources(self) -> dict[str, str]:
        """Absolute path of each channel."""
        return {name: str(source.path.resolve()) for name, source in self.channels.items()}

    @property
    def is_series(self) -> bool:
        """Whether a channel of it is DICOM."""
        return any(source.is_series for source in self.channels.values())


def find_subjects(
    images: Sequence[str], channels: Sequence[str], *, mask: str | None, within: Path | None = None
) -> list[Subject]:
    """Return the subjects that are named on a command line.

    Parameters
    ----------
    images
        One path: an image, a DICOM series, a folder of images, a dataset.csv or the name of a
        dataset; or the channels of one subject, as paths in the order of `channels` or as
        `name=path`.
    channels
        What the model reads.
    mask
        Channel of the mask, for a model that has one. It is given as `name=path`, too.
    within
        No file outside of this folder is read; None: for a dataset that of its dataset.csv, and
        else any.

    Raises
    ------
    CrossfoldError
        If nothing is there, or channels do not fit the model.
    """
    if within is not None and not within.is_dir():
        raise CrossfoldError(f"--within {within}: no such folder", remedy="correct the path")
    known = [*channels, *([mask] if mask else [])]
    try:
        named = [_split(text, known) for text in images]
        if len(named) == 1 and not named[0][0]:
            return _of_path(named[0][1], channels, mask, within)
        return [_checked(_of_channels(named, channels, mask), within)]
    except PermissionError as error:
        raise CrossfoldError(
            f"{error.filename}: {error.strerror}", remedy="look at its permissions"
        ) from error


def _of_path(
    path: Path, channels: Sequence[str], mask: str | None, within: Path | None
) -> list[Subject]:
    table = _dataset(path)
    if table is not None:
        # What was imported by its name may be links to where the images came from.
        trusted = within is None and not path.exists()
        return _of_dataset(table, [*channels, *([mask] if mask else [])], within, trusted)
    if path.is_dir():
        images, is_series = _images_in(path), is_dicom(path)
        if images and is_series:
            raise CrossfoldError(
                f"{path}: holds a DICOM series, and NIfTI as well ({images[0].name})",
                remedy=f"name what is meant, such as --image {images[0]}, or keep them apart",
            )
        if not is_series:
            return [_checked(one, within) for one in _of_folder(path, channels, mask)]
    return [_checked(_of_channels([("", path)], channels, mask), within)]


def _split(text: str, known: Sequence[str]) -> tuple[str, Path]:
    """Return channel and path of `name=path`; no channel where there is a file of that name."""
    name, equals, rest = text.partition("=")
    if not text or (equals and not rest):
        raise CrossfoldError(f"--image {text or '(empty)'}: names no file", remedy="give its path")
    if equals and (name in known or not Path(text).exists()):
        return name, Path(rest)
    return "", Path(text)


def _of_channels(
    named: Sequence[tuple[str, Path]], channels: Sequence[str], mask: str | None
) -> Subject:
    known = [*channels, *([mask] if mask else [])]
    unnamed = [path for name, path in named if not name]
    given = {name: path for name, path in named if name}
    for name in given:
        if name not in known:
            raise CrossfoldError(
                f"--image {name}=…: the model has no channel `{name}`",
                remedy=nearest(name, known),
            )
    places = [channel for channel in known if channel not in given]
    wanted = [channel for channel in places if channel != mask]
    if not len(wanted) <= len(unnamed) <= len(places) or len(named) != len(given) + len(unnamed):
        raise CrossfoldError(
            f"{len(named)} images, but the model reads {len(known)}: {', '.join(known)}",
            remedy=f"give {' '.join(f'--image {channel}=FILE' for channel in known)}",
        )
    given |= dict(zip(places, unnamed, strict=False))
    for channel, path in given.items():
        if not path.exists():
            raise CrossfoldError(f"{path}: no such file ({channel})", remedy="correct the path")
        if not path.is_dir() and not is_dicom(path) and not _is_nifti(path):
            raise CrossfoldError(
                f"{path}: neither NIfTI ({', '.join(NIFTI)}) nor DICOM ({channel})",
                remedy="convert it to .nii.gz",
            )
    return Subject(_stem(given[channels[0]]), {name: Source(path) for name, path in given.items()})


def _of_folder(folder: Path, channels: Sequence[str], mask: str | None) -> Iterator[Subject]:
    """Yield the images of a folder; with several channels, `<subject>_<channel>.nii.gz`.

    A channel is its name, or its number in four digits, as nnU-Net counts.
    """
    files = _images_in(folder)
    known = [*channels, *([mask] if mask else [])]
    if not files:
        raise CrossfoldError(
            f"{folder}: no NIfTI image, no DICOM series and no dataset.csv in it",
            remedy="name a folder that holds one of these",
        )
    if len(known) == 1:
        yield from (Subject(_stem(file), {known[0]: Source(file)}) for file in files)
        return
    # By name, or by number as in imagesTs of nnU-Net.
    endings = {f"_{name}": name for name in known}
    endings |= {f"_{place:04d}": name for place, name in enumerate(known)}
    longest_first = sorted(endings, key=len, reverse=True)  # p1_ce_t1 is of ce_t1, not of t1
    by_subject: dict[str, dict[str, Source]] = {}
    doubled: dict[str, CrossfoldError] = {}
    for file in files:
        stem = _stem(file)
        ending = next((ending for ending in longest_first if stem.endswith(ending)), None)
        if ending is not None:
            subject, channel = stem.removesuffix(ending), endings[ending]
            other = by_subject.setdefault(subject, {}).setdefault(channel, Source(file))
            if other.path != file:
                doubled[subject] = CrossfoldError(
                    f"{folder}: {other.path.name} and {file.name} are both {channel} of {subject}",
                    remedy="keep one of them",
                )
    if not by_subject:
        raise CrossfoldError(
            f"{folder}: no file is called <subject>_{channels[0]}.nii.gz, such as {files[0].name}",
            remedy=f"name the files by subject and channel ({', '.join(known)}), or write a "
            "dataset.csv",
        )
    for subject, sources in by_subject.items():
        missing = [channel for channel in known if channel not in sources]
        problem = CrossfoldError(
            f"{folder}: {subject} has no {', '.join(missing)}",
            remedy=f"add {subject}_{missing[0]}.nii.gz",
        ) if missing else None  # fmt: skip
        yield Subject(subject, sources, doubled.get(subject, problem))


def _images_in(folder: Path) -> list[Path]:
    # macOS leaves a hidden `._<name>` beside every file.
    return sorted(f for f in folder.iterdir() if _is_nifti(f) and not f.name.startswith("."))


def _dataset(path: Path) -> Path | None:
    """Return the dataset.csv that is meant, if any."""
    candidates = [path] if path.suffix == ".csv" else [path / "dataset.csv"]
    if not path.exists() and path.name == str(path):
        candidates.append(Path(paths.DATASET.format(dataset=path)))
    return next((candidate for candidate in candidates if candidate.is_file()), None)


def _of_dataset(
    table: Path, channels: Sequence[str], within: Path | None, trusted: bool
) -> list[Subject]:
    rows: dict[str, dict[str, list[dict[str, str]]]] = {}
    for row in rows_of(read_table(table)):
        rows.setdefault(row["subject"], {}).setdefault(row["channel"], []).append(row)
    if not rows:
        raise CrossfoldError(f"{table}: has no rows", remedy="add a row for each image")
    subjects = []
    for name, by_channel in rows.items():
        found = {channel: by_channel.get(channel, []) for channel in channels}
        wrong = [f"{len(of)} rows for {channel}" for channel, of in found.items() if len(of) != 1]
        if wrong:
            problem = CrossfoldError(
                f"{table}: {name} has {' and '.join(wrong)} (there is {', '.join(by_channel)})",
                remedy="keep one row for each channel of the model",
            )
            subjects.append(Subject(name, {}, problem))
            continue
        sources = {
            channel: Source(
                table.parent / of[0]["filePath"],
                int(of[0]["volume"]) if of[0]["volume"] else None,
                of[0]["label"],
            )
            for channel, of in found.items()
        }
        subject = Subject(name, sources)
        subjects.append(subject if trusted else _checked(subject, within or table.parent))
    return subjects


def _checked(subject: Subject, within: Path | None) -> Subject:
    """Refuse a subject with a file outside of a folder; links count as what they lead to."""
    if within is None or subject.problem:
        return subject
    allowed = within.resolve()
    for path in chain.from_iterable(source.files for source in subject.channels.values()):
        if not path.resolve().is_relative_to(allowed):
            problem = CrossfoldError(
                f"{path}: lies outside of {within}, where images are to be read from",
                remedy="move it there, or allow a folder that holds both: --within FOLDER",
            )
            return Subject(subject.name, {}, problem)
    return subject


def _is_nifti(path: Path) -> bool:
    return path.name.lower().endswith(NIFTI)


def suffix_of(path: Path) -> str:
    """Return `.nii.gz` or `.nii` as a file has it; empty for anything else."""
    for suffix in NIFTI:
        if path.name.lower().endswith(suffix):
            return path.name[-len(suffix) :]
    return ""


def _stem(path: Path) -> str:
    suffix = suffix_of(path)
    return path.name.removesuffix(suffix) if suffix else path.resolve().name

"""Datasets of DICOM series with RT-STRUCT or DICOM-SEG contours.

Nothing of a header gets into the dataset but the geometry: no name, date, place or identifier,
except PatientID where the configuration asks for it.
"""

from __future__ import annotations

import hmac
import logging
import os
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from functools import partial
from hashlib import sha256
from pathlib import Path

import numpy as np
import pandas as pd

from crossfold.config.datasets import DicomDataset, check_variables
from crossfold.data.dataset import Row, write_table
from crossfold.data.dicom.contours import find_structure, read_structures, referenced_series
from crossfold.data.dicom.series import Files, Series, find_series, read_series
from crossfold.errors import CrossfoldError
from crossfold.images import atomic_directory, write_image
from crossfold.parallel import available_cores, map_subjects

logger = logging.getLogger(__name__)

_PSEUDONYM_LENGTH = 12
_SHORTEST_PART = 4  # letters of a name or PatientID that are no coincidence within a word
_FILE_NAME = re.compile(r"[^\W_][\w.=+-]*")


@dataclass(frozen=True)
class Case:
    """A series with contours, which becomes one subject.

    Parameters
    ----------
    subject
        Its name in the dataset.
    group
        Name that all subjects of the patient share, where there are several. A subject that is
        alone has this name too, so that another scan of the patient moves no one between splits.
    series
        What the contours were drawn on.
    channels
        Files of each image channel.
    contours
        RT-STRUCT and DICOM-SEG files.
    """

    subject: str
    group: str
    series: Files
    channels: Mapping[str, Files]
    contours: tuple[Path, ...]

    @property
    def patient(self) -> str:
        """The PatientID."""
        return str(self.series.header.get("PatientID") or "")


def import_dicom(name: str, config: DicomDataset, source: Path, folder: Path) -> pd.DataFrame:
    """Convert the series of a folder that have contours to NIfTI, subjects side by side.

    Parameters
    ----------
    name, config, folder
        As for `crossfold.data.importers.import_dataset`.
    source
        Folder of the DICOM files.

    Returns
    -------
    pandas.DataFrame
        As there.

    Raises
    ------
    CrossfoldError
        If no series has contours, one cannot be imported, or a subject would bear the name of a
        patient.
    """
    where = f"config.yaml: datasets.{name}"
    cases = _grouped(_named(_cases(source, config, where), config, source, where), where)
    with atomic_directory(folder / "images") as images:
        results = map_subjects(
            partial(_convert, config=config, images=images),
            cases,
            workers=available_cores(),
            title=f"import {name}",
        )
        problems = [result for result in results if isinstance(result, str)]
        rows = [row for result in results if not isinstance(result, str) for row in result]
        _report(problems, config, where)
        _check_structures_occur(rows, cases, config, where)
    table = pd.DataFrame(rows).fillna("")
    write_table(folder / "dataset.csv", table)
    return table


def _cases(source: Path, config: DicomDataset, where: str) -> list[Case]:
    found = find_series(source)
    images = {str(f.header.SeriesInstanceUID): f for f in found if f.is_image}
    contours: dict[str, list[Path]] = defaultdict(list)
    for path in (path for files in found if not files.is_image for path in files.paths):
        for uid in _drawn_on(path, images):
            contours[uid].append(path)
    cases = []
    for uid, files in images.items():
        if uid in contours and (channels := _channels(files, list(images.values()), config)):
            cases.append(Case("", "", files, channels, tuple(contours[uid])))
    if not cases:
        seen = ", ".join(sorted({files.title for files in found})[:10]) or "no DICOM file"
        raise CrossfoldError(
            f"{where}: no series in {source} has contours and is one of `images`; there is {seen}",
            remedy="`images` names modality or description of a series that an RT-STRUCT or "
            "DICOM-SEG file in `path` was drawn on",
        )
    return cases


def _drawn_on(path: Path, images: Mapping[str, Files]) -> list[str]:
    """Return the series that a file has structures of; by the frame of reference if it must be."""
    structures = read_structures(path)
    if not structures:
        return []
    header = structures[0].header
    if uids := sorted(referenced_series(header)):
        if not any(uid in images for uid in uids):
            logger.warning("%s: the series that it was drawn on is not there", path)
        return [uid for uid in uids if uid in images]
    frame = header.get("FrameOfReferenceUID")
    alike = [u for u, f in images.items() if f.header.get("FrameOfReferenceUID") == frame]
    return alike if frame and len(alike) == 1 else []


def _channels(
    drawn_on: Files, images: Sequence[Files], config: DicomDataset
) -> dict[str, Files] | None:
    """Return the files of each channel: the contoured series, or another of its study and frame.

    None if the contoured series is no channel, or another one is missing or ambiguous.
    """
    alike = [files for files in images if _same_place(files, drawn_on)]
    channels = {}
    for channel, pattern in config.images.items():
        matching = [files for files in alike if _matches(files, pattern)]
        if any(files is drawn_on for files in matching):
            channels[channel] = drawn_on
        elif len(matching) == 1:
            channels[channel] = matching[0]
        else:
            place = drawn_on.paths[0].parent
            logger.warning("%s: %d series for the channel %s", place, len(matching), channel)
            return None
    return channels if any(files is drawn_on for files in channels.values()) else None


def _same_place(files: Files, other: Files) -> bool:
    keywords = ("StudyInstanceUID", "FrameOfReferenceUID")
    return all(files.header.get(key) == other.header.get(key) for key in keywords)


def _matches(files: Files, pattern: str) -> bool:
    texts = (files.header.get("Modality"), files.header.get("SeriesDescription"))
    return any(fnmatchcase(str(text or "").lower(), pattern.lower()) for text in texts)


def _named(cases: Sequence[Case], config: DicomDataset, source: Path, where: str) -> list[Case]:
    """Give each case its subject; several of one name are numbered by date."""
    by_name = defaultdict(list)
    for case in cases:
        by_name[_name_of(case, config, source, where)].append(case)
    named = []
    for name, members in sorted(by_name.items()):
        members.sort(key=_by_date)
        subjects = [name] if len(members) == 1 else [f"{name}-{i + 1}" for i in range(len(members))]
        named += [
            replace(member, subject=subject, group=name)
            for member, subject in zip(members, subjects, strict=True)
        ]
    repeated = [name for name, n in Counter(case.subject for case in named).items() if n > 1]
    if repeated:
        raise CrossfoldError(
            f"{where}: two subjects would be called {', '.join(repeated)}",
            remedy="rename one of the folders",
        )
    return named


def _by_date(case: Case) -> tuple[str, str]:
    return str(case.series.header.get("StudyDate") or ""), str(case.series.header.SeriesInstanceUID)


def _name_of(case: Case, config: DicomDataset, source: Path, where: str) -> str:
    place = case.series.paths[0].parent
    if config.subjects == "folder":
        name = next(iter(case.series.paths[0].relative_to(source).parts[:-1]), "")
        if not name:
            raise CrossfoldError(
                f"{where}: the series lie directly in {source}, so that no folder names a subject",
                remedy="give each subject a folder, or set `subjects: pseudonym`",
            )
        _refuse_identity(name, case, where)
    elif not case.patient:
        raise CrossfoldError(
            f"{where}: the series in {place} has no PatientID", remedy="set `subjects: folder`"
        )
    elif config.subjects == "patient_id":
        name = case.patient
    else:
        name = _pseudonym(case.patient, config, where)
    if not _FILE_NAME.fullmatch(name):
        raise CrossfoldError(
            f"{where}: `{name}` of {place} cannot be part of a file name",
            remedy="use letters, digits, `.`, `_`, `-`, `+` and `=`; or set `subjects: pseudonym`",
        )
    return name


def _pseudonym(patient: str, config: DicomDataset, where: str) -> str:
    """Return a name that only those who know the key can tie to the PatientID."""
    text = config.pseudonym_key or ""
    check_variables(text, f"{where.removeprefix('config.yaml: ')}.pseudonym_key")
    key = os.path.expandvars(text).encode()
    return hmac.new(key, patient.encode(), sha256).hexdigest()[:_PSEUDONYM_LENGTH]


def _refuse_identity(folder: str, case: Case, where: str) -> None:
    """Refuse a folder named after a patient, since names of subjects stand in all results."""
    header = case.series.header
    if header.get("PatientIdentityRemoved") == "YES":
        return
    words = re.split(r"[\W_]+", folder.lower())
    identity = [
        case.patient.lower(),
        *re.split(r"[\W_]+", str(header.get("PatientName") or "").lower()),
    ]
    if any(
        part in words or (len(part) >= _SHORTEST_PART and part in folder.lower())
        for part in identity
        if part
    ):
        raise CrossfoldError(
            f"{where}: the folder {folder} bears the name or PatientID of its patient, and would "
            "name a subject in all results",
            remedy="rename the folder, or set `subjects: pseudonym`; if the PatientIDs are "
            "pseudonyms already, `subjects: patient_id`",
        )


def _grouped(cases: Sequence[Case], where: str) -> list[Case]:
    """Keep the subjects of a name, and the names of a patient, together in every split."""
    names = defaultdict(set)
    for case in cases:
        names[case.patient].add(case.group)
    if len(cases) > 2 and len(names) == 1 and len(next(iter(names.values()))) > 1:
        logger.warning("%s: all series have the same PatientID, which is ignored", where)
        names.clear()
    groups = {case.group: case.group for case in cases}
    for patient, several in names.items():
        if patient and len(several) > 1:
            joined = {groups[name] for name in several}
            groups = {n: min(joined) if group in joined else group for n, group in groups.items()}
    sizes = Counter(groups[case.group] for case in cases)
    return [
        replace(case, group=groups[case.group] if sizes[groups[case.group]] > 1 else "")
        for case in cases
    ]


def _convert(case: Case, *, config: DicomDataset, images: Path) -> list[Row] | str:
    """Write the images and masks of a subject, and return its rows, or what is wrong with it."""
    try:
        rows = []
        for channel, files in case.channels.items():
            series = read_series(files.paths)
            rows.append(_write(series, series.image.array, case, channel, images))
        series = read_series(case.series.paths)
        structures = [s for file in case.contours for s in read_structures(file)]
        for name, patterns in config.structures.items():
            found = find_structure(structures, patterns, series.name)
            if found is None:
                logger.warning("%s: no %s; there is %s", series.name, name, _names(structures))
            else:
                mask = found.mask(series).astype(np.uint8)
                rows.append(_write(series, mask, case, name, images))
    except CrossfoldError as error:
        return str(error)
    return rows


def _write(series: Series, array: np.ndarray, case: Case, channel: str, images: Path) -> Row:
    relative = f"{case.subject}/{channel}.nii.gz"
    write_image(images / relative, array, series.image)
    return {
        "subject": case.subject,
        "channel": channel,
        "filePath": f"images/{relative}",
        "group": case.group,
    }


def _names(structures: Iterable[object]) -> str:
    return ", ".join(sorted({str(getattr(s, "name", s)) for s in structures})) or "none"


def _report(problems: Sequence[str], config: DicomDataset, where: str) -> None:
    if problems and config.on_problem == "stop":
        raise CrossfoldError(
            f"{where}: {len(problems)} subjects cannot be imported:\n" + "\n".join(problems),
            remedy="mend the series, or leave them out with `on_problem: exclude`",
        )
    for problem in problems:
        logger.warning("%s: left out: %s", where, problem)


def _check_structures_occur(
    rows: Sequence[Row], cases: Sequence[Case], config: DicomDataset, where: str
) -> None:
    occurring = {row["channel"] for row in rows}
    absent = [name for name in config.structures if name not in occurring]
    if absent:
        structures = [s for case in cases for file in case.contours for s in read_structures(file)]
        patterns = " or ".join(repr(text) for name in absent for text in config.structures[name])
        raise CrossfoldError(
            f"{where}: nothing in the files is called {patterns}, so no subject has "
            f"{', '.join(absent)}; they name {_names(structures)}",
            remedy="write these names, or patterns of them, under `structures`",
        )

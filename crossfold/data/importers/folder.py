"""Any folder whose file names hold the subject, described by patterns in config.yaml."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from crossfold.config.datasets import FolderDataset
from crossfold.data.dataset import Row
from crossfold.data.importers.description import is_apple_double
from crossfold.errors import CrossfoldError

_WILDCARDS = {"**/": r"(?:.*/)?", "*": r"[^/]*", "?": r"[^/]"}
_TOKEN = re.compile(r"\{subject\}|\*\*/|\*|\?")


def read_folder(source: Path, config: FolderDataset) -> pd.DataFrame:
    """Rows of the files that match the patterns, with the metadata merged in.

    Raises
    ------
    CrossfoldError
        If a pattern matches no file, or the metadata cannot be merged.
    """
    files = sorted(
        path.relative_to(source).as_posix()
        for path in source.rglob("*")
        if path.is_file() and not is_apple_double(path.name)
    )
    rows: list[Row] = []
    for channel, pattern in {**config.images, **config.structures}.items():
        for subject, file in _matches(source, files, pattern):
            rows.append({"subject": subject, "channel": channel, "filePath": file, "label": ""})
    if config.labels:
        for subject, file in _matches(source, files, config.labels.pattern):
            for channel, value in config.labels.values.items():
                rows.append(
                    {"subject": subject, "channel": channel, "filePath": file, "label": str(value)}
                )
    table = pd.DataFrame(rows).sort_values("subject", kind="stable", ignore_index=True)
    return _with_metadata(table, source / config.metadata) if config.metadata else table


def subject_regex(pattern: str) -> re.Pattern[str]:
    """Regular expression of a path pattern, with the group `subject`.

    A second `{subject}` in a pattern must repeat the first.

    Examples
    --------
    >>> subject_regex("{subject}/{subject}_ct*.nii.gz").fullmatch("P1/P1_ct2.nii.gz")["subject"]
    'P1'
    """
    regex, position, named = "", 0, False
    for token in _TOKEN.finditer(pattern):
        regex += re.escape(pattern[position : token.start()])
        if token.group() == "{subject}":
            regex += r"(?P=subject)" if named else r"(?P<subject>[^/]+)"
            named = True
        else:
            regex += _WILDCARDS[token.group()]
        position = token.end()
    return re.compile(regex + re.escape(pattern[position:]))


def _matches(source: Path, files: list[str], pattern: str) -> Iterator[tuple[str, str]]:
    regex = subject_regex(pattern.removeprefix("./"))
    matches = [match for match in map(regex.fullmatch, files) if match]
    if not matches:
        raise CrossfoldError(
            f"{source}: no file matches the pattern `{pattern}`",
            remedy=f"correct the pattern; the folder holds {', '.join(files[:3]) or 'no file'}",
        )
    return ((match["subject"], match.string) for match in matches)


def _with_metadata(table: pd.DataFrame, path: Path) -> pd.DataFrame:
    """Add the columns of a CSV file with one row per subject."""
    try:
        metadata = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8-sig")
        if taken := (set(table.columns) & set(metadata.columns)) - {"subject"}:
            raise ValueError(f"the column {', '.join(sorted(taken))} is set by the patterns")
        return table.merge(metadata, on="subject", how="left", validate="many_to_one").fillna("")
    except KeyError as error:
        raise CrossfoldError(
            f"{path}: the column subject is missing", remedy="name the column of subjects `subject`"
        ) from error
    except (OSError, ValueError) as error:  # pandas' errors derive from ValueError
        raise CrossfoldError(
            f"{path}: cannot be merged into the dataset ({error})",
            remedy="metadata is a CSV file with one row per subject and the column subject",
        ) from error

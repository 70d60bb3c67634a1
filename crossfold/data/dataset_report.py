"""What the checks found: a table for the pipeline and a page for the reader."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import jinja2
import pandas as pd

from crossfold.data.subject_checks import Problem
from crossfold.errors import CrossfoldError
from crossfold.images import atomic_path

REPORT_COLUMNS = (
    "subject",
    "status",
    "severity",
    "check",
    "channel",
    "file",
    "message",
    "remedy",
)

_SHOWN_PROBLEMS = 5


@dataclass(frozen=True)
class _Check:
    title: str
    remedy: str


_CHECKS = {
    "no_subjects": _Check("No subjects", "import the dataset again, or fill dataset.csv"),
    "unknown_channel": _Check(
        "Unknown channel", "correct `images` or `structures` of the model in config.yaml"
    ),
    "absent_structure": _Check(
        "Structure absent everywhere", "correct its label in dataset.csv, or leave it out"
    ),
    "missing_row": _Check("Missing row", "add the row to the source of dataset.csv"),
    "duplicate_row": _Check("Duplicate row", "keep one row per subject and channel"),
    "metadata_conflict": _Check(
        "Contradictory metadata", "give all rows of a subject the same group and institutionId"
    ),
    "missing_file": _Check("Missing file", "restore the file in the source, then import again"),
    "unreadable_file": _Check(
        "Unreadable file", "copy the file again from its source, then import again"
    ),
    "wrong_dimension": _Check(
        "Wrong dimension", "give a 3-D file, or name a volume of a 4-D file in dataset.csv"
    ),
    "invalid_affine": _Check("Invalid affine", "convert the file again from its DICOM series"),
    "shape_mismatch": _Check(
        "Different shapes in one subject", "resample the subject's files to the same grid"
    ),
    "affine_mismatch": _Check(
        "Different positions in one subject",
        "resample to the same grid, or raise `checks.affine_tolerance_mm`",
    ),
    "non_finite": _Check("NaN or infinite voxels", "replace them by the value of air"),
    "constant_image": _Check("Constant image", "look at the file: it shows nothing"),
    "non_integer_labels": _Check(
        "Labels that are not integers", "resample label maps with nearest neighbours"
    ),
    "undeclared_label": _Check(
        "Undeclared label values", "declare the value in the source, or correct the label map"
    ),
    "overlap": _Check(
        "Overlapping structures",
        "correct the contours, or set `checks.overlap: later_wins` if they are nested on purpose",
    ),
    "empty_structure": _Check(
        "Empty structure", "draw the contour; if it is truly absent in the patient, ignore this"
    ),
    "duplicate_image": _Check(
        "The same image twice", "remove one of them, or the copy would leak into the test set"
    ),
    "unusual_spacing": _Check(
        "Unusual voxel size", "check the header; raise `checks.spacing_factor` if it is right"
    ),
}


@dataclass(frozen=True)
class DatasetReport:
    """Subjects of a dataset and everything that is wrong with them.

    Parameters
    ----------
    subjects
        All subjects, in the order of dataset.csv.
    problems
        Problems of subjects, and of the dataset as a whole (empty subject).
    on_problem
        What an error makes of a subject: `stop` leaves it bad, `exclude` excludes it.
    """

    subjects: tuple[str, ...]
    problems: tuple[Problem, ...]
    on_problem: Literal["stop", "exclude"]

    @property
    def counts(self) -> dict[str, int]:
        """Number of subjects: all, used, excluded, bad."""
        status = list(self._statuses.values())
        return {"subjects": len(status)} | {
            name: status.count(name) for name in ("used", "excluded", "bad")
        }

    @property
    def usable(self) -> bool:
        """Whether the pipeline may go on."""
        counts = self.counts
        return not self._dataset_problems and not counts["bad"] and counts["used"] > 0

    def to_frame(self) -> pd.DataFrame:
        """One row per problem, and one for every subject without a problem.

        Returns
        -------
        pandas.DataFrame
            subject (empty for the whole dataset), status (used, excluded, bad), severity (error,
            warning, ok), check (`none` when ok), channel, file, message, remedy. Errors first.
        """
        return pd.DataFrame(self._frame_rows(), columns=list(REPORT_COLUMNS)).astype(str)

    def write_csv(self, path: Path) -> None:
        """Write `to_frame` as CSV."""
        with atomic_path(path) as temporary:
            self.to_frame().to_csv(temporary, index=False, lineterminator="\n")

    def write_html(self, path: Path, *, model: str, dataset: str, synthetic: bool) -> None:
        """Write a self-contained page.

        Parameters
        ----------
        path
            Target, `.html`.
        model, dataset
            Names for the title.
        synthetic
            Whether to say that the images are not those of patients.
        """
        environment = jinja2.Environment(
            loader=jinja2.PackageLoader("crossfold.data"),
            autoescape=True,
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        page = environment.get_template("dataset_report.html").render(
            model=model,
            dataset=dataset,
            synthetic=synthetic,
            counts=self.counts,
            usable=self.usable,
            excludable=self.counts["bad"] > 0 and not self._dataset_problems,
            sections=list(self._sections()),
            clean=self._clean_subjects,
        )
        with atomic_path(path) as temporary:
            temporary.write_text(page, encoding="utf-8")

    @property
    def _dataset_problems(self) -> list[Problem]:
        return [problem for problem in self.problems if not problem.subject]

    @property
    def _statuses(self) -> dict[str, str]:
        bad = {problem.subject for problem in self.problems if problem.severity == "error"}
        failed = "excluded" if self.on_problem == "exclude" else "bad"
        return {subject: failed if subject in bad else "used" for subject in self.subjects}

    @property
    def _clean_subjects(self) -> list[str]:
        flagged = {problem.subject for problem in self.problems}
        return [subject for subject in self.subjects if subject not in flagged]

    def _frame_rows(self) -> Iterator[tuple[str, ...]]:
        problems: dict[str, list[Problem]] = {"": [], **{name: [] for name in self.subjects}}
        for problem in sorted(self.problems, key=lambda problem: problem.severity):
            problems[problem.subject].append(problem)
        # No subject can be used while the dataset as a whole is wrong, whatever `on_problem` says.
        statuses = {"": "bad", **self._statuses}
        for subject, status in statuses.items():
            for problem in problems[subject]:
                yield (
                    *(subject, status, problem.severity, problem.check),
                    *(problem.channel, problem.file, problem.message),
                    _CHECKS[problem.check].remedy,
                )
            if subject and not problems[subject]:
                yield subject, status, "ok", "none", "", "", "", ""

    def _sections(self) -> Iterator[dict[str, Any]]:
        """Problems by severity, whole dataset first, then by check."""
        for severity in ("error", "warning"):
            for check, description in _CHECKS.items():
                problems = [
                    problem
                    for problem in self.problems
                    if (problem.severity, problem.check) == (severity, check)
                ]
                if problems:
                    yield {
                        "severity": severity,
                        "title": description.title,
                        "remedy": description.remedy,
                        "problems": problems,
                        "subjects": len({problem.subject for problem in problems} - {""}),
                    }


def read_report(path: Path) -> pd.DataFrame:
    """Read what `DatasetReport.write_csv` wrote."""
    return pd.read_csv(path, dtype=str, keep_default_na=False)


def require_usable(frame: pd.DataFrame, report_path: Path) -> list[str]:
    """Subjects that the pipeline goes on with.

    Parameters
    ----------
    frame
        Table of `DatasetReport.to_frame`.
    report_path
        Where the whole report lies, for the message.

    Raises
    ------
    CrossfoldError
        If the dataset as a whole or a subject that was not excluded is bad, or no subject is left.
    """
    bad = frame[(frame["status"] == "bad") & (frame["severity"] == "error")]
    used = list(frame.loc[frame["status"] == "used", "subject"].unique())
    if bad.empty and used:
        return used
    problems = bad if not bad.empty else frame[frame["severity"] == "error"]
    lines = [
        "  "
        + ", ".join(filter(None, (row["subject"], row["channel"], row["file"])))
        + f": {row['message']}"
        for row in problems.head(_SHOWN_PROBLEMS).to_dict("records")
    ]
    if len(problems) > _SHOWN_PROBLEMS:
        lines.append(f"  … and {len(problems) - _SHOWN_PROBLEMS} more")
    whole_dataset = problems[problems["subject"] == ""]
    if bad.empty:
        summary, remedy = "no subject is left to use", "mend the source and import it again"
    elif not whole_dataset.empty:
        summary, remedy = "the dataset cannot be used", whole_dataset["remedy"].iloc[0]
    else:
        summary = f"{bad['subject'].nunique()} of {frame['subject'].nunique()} subjects are bad"
        remedy = "mend them, or leave them out with `checks: {on_problem: exclude}` in the model"
    raise CrossfoldError("\n".join([f"{report_path}: {summary}", *lines]), remedy=remedy)

from __future__ import annotations

import gzip
import html
from collections.abc import Callable
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from crossfold.config.checks import ChecksConfig
from crossfold.config.datasets import DecathlonDataset
from crossfold.data import subject_checks
from crossfold.data.importers import import_dataset
from crossfold.data.validation import (
    DatasetReport,
    read_report,
    require_usable,
    validate_dataset,
)
from crossfold.errors import CrossfoldError

WriteNifti = Callable[..., Path]
SHAPE = (4, 5, 6)


@dataclass
class TinyDataset:
    """Three subjects, each with a CT, a multi-label map (lung, heart) and a mask (liver)."""

    folder: Path
    write: WriteNifti

    def __post_init__(self) -> None:
        lines = ["subject,channel,filePath,label,volume,institutionId"]
        for number in range(1, 4):
            subject = f"P{number}"
            self.put(f"{subject}_ct", np.arange(120.0).reshape(SHAPE) * number)
            self.put(f"{subject}_organs", self.organs())
            self.put(f"{subject}_liver", self.liver())
            lines += [
                f"{subject},ct,{subject}_ct.nii.gz,,,north",
                f"{subject},lung,{subject}_organs.nii.gz,1,,north",
                f"{subject},heart,{subject}_organs.nii.gz,2,,north",
                f"{subject},liver,{subject}_liver.nii.gz,,,north",
            ]
        self.csv.write_text("\n".join(lines) + "\n")

    @property
    def csv(self) -> Path:
        return self.folder / "dataset.csv"

    def organs(self) -> np.ndarray:
        labels = np.zeros(SHAPE)
        labels[0], labels[1] = 1, 2
        return labels

    def liver(self) -> np.ndarray:
        mask = np.zeros(SHAPE)
        mask[3] = 1
        return mask

    def path(self, name: str) -> Path:
        return self.folder / f"{name}.nii.gz"

    def put(self, name: str, array: np.ndarray, affine: np.ndarray | None = None) -> None:
        self.write(self.path(name), array, affine)

    def put_value(self, name: str, array: np.ndarray, value: float) -> None:
        array = array.copy()
        array[2, 2, 2] = value
        self.put(name, array)

    def edit_csv(self, before: str, after: str) -> None:
        text = self.csv.read_text()
        assert before in text
        self.csv.write_text(text.replace(before, after))

    def validate(
        self,
        *,
        images: tuple[str, ...] = ("ct",),
        structures: tuple[str, ...] = ("lung", "heart", "liver"),
        mask: str | None = None,
        workers: int = 1,
        **checks: object,
    ) -> DatasetReport:
        return validate_dataset(
            self.csv,
            images=images,
            structures=structures,
            mask=mask,
            checks=ChecksConfig(**checks),
            workers=workers,
        )


@pytest.fixture
def tiny(tmp_path: Path, write_nifti: WriteNifti) -> TinyDataset:
    return TinyDataset(tmp_path, write_nifti)


def found(report: DatasetReport) -> list[tuple[str, ...]]:
    return [
        (problem.subject, problem.severity, problem.check, problem.channel)
        for problem in report.problems
    ]


def truncate(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def shift_mm(distance: float) -> np.ndarray:
    affine = np.eye(4)
    affine[0, 3] = distance
    return affine


def all_subjects(tiny: TinyDataset, name: str, array: np.ndarray) -> None:
    for number in range(1, 4):
        tiny.put(f"P{number}_{name}", array)


def test_good_dataset_has_no_problem(tiny: TinyDataset) -> None:
    report = tiny.validate()
    assert report.problems == ()
    assert report.counts == {"subjects": 3, "used": 3, "excluded": 0, "bad": 0}
    frame = report.to_frame()
    assert list(frame["subject"]) == ["P1", "P2", "P3"]
    assert set(frame["status"]) == {"used"}
    assert set(frame["severity"]) == {"ok"}
    assert set(frame["check"]) == {"none"}


FAULTS: dict[str, tuple[Callable[[TinyDataset], object], tuple[str, ...]]] = {
    "missing image": (
        lambda tiny: tiny.path("P2_ct").unlink(),
        ("P2", "error", "missing_file", "ct"),
    ),
    "missing label map": (
        lambda tiny: tiny.path("P2_organs").unlink(),
        ("P2", "error", "missing_file", "lung, heart"),
    ),
    "empty file": (
        lambda tiny: tiny.path("P2_ct").write_bytes(b""),
        ("P2", "error", "unreadable_file", "ct"),
    ),
    "truncated file": (
        lambda tiny: truncate(tiny.path("P2_ct")),
        ("P2", "error", "unreadable_file", "ct"),
    ),
    "not NIfTI": (
        lambda tiny: tiny.path("P2_liver").write_bytes(gzip.compress(b"x" * 1000)),
        ("P2", "error", "unreadable_file", "liver"),
    ),
    "missing row": (
        lambda tiny: tiny.edit_csv("P2,liver,P2_liver.nii.gz,,,north\n", ""),
        ("P2", "error", "missing_row", "liver"),
    ),
    "duplicate row": (
        lambda tiny: tiny.edit_csv("P2,ct,", "P2,ct,P2_ct2.nii.gz,,,north\nP2,ct,"),
        ("P2", "error", "duplicate_row", "ct"),
    ),
    "two institutions": (
        lambda tiny: tiny.edit_csv("P2_ct.nii.gz,,,north", "P2_ct.nii.gz,,,south"),
        ("P2", "error", "metadata_conflict", ""),
    ),
    "shape": (
        lambda tiny: tiny.put("P2_liver", np.ones((4, 5, 7))),
        ("P2", "error", "shape_mismatch", "liver"),
    ),
    "affine": (
        lambda tiny: tiny.put("P2_liver", tiny.liver(), shift_mm(0.2)),
        ("P2", "error", "affine_mismatch", "liver"),
    ),
    "two dimensions": (
        lambda tiny: tiny.put("P2_liver", np.ones((4, 5))),
        ("P2", "error", "wrong_dimension", "liver"),
    ),
    "4-D image without a volume": (
        lambda tiny: tiny.put("P2_ct", np.random.default_rng(0).random((*SHAPE, 2))),
        ("P2", "error", "wrong_dimension", "ct"),
    ),
    "volume of a 3-D image": (
        lambda tiny: tiny.edit_csv("P2_ct.nii.gz,,,", "P2_ct.nii.gz,,1,"),
        ("P2", "error", "wrong_dimension", "ct"),
    ),
    "NaN": (
        lambda tiny: tiny.put_value("P2_ct", np.arange(120.0).reshape(SHAPE), np.nan),
        ("P2", "error", "non_finite", "ct"),
    ),
    "NaN in a mask": (
        lambda tiny: tiny.put_value("P2_liver", tiny.liver(), np.inf),
        ("P2", "error", "non_finite", "liver"),
    ),
    "half a label": (
        lambda tiny: tiny.put_value("P2_organs", tiny.organs(), 1.5),
        ("P2", "error", "non_integer_labels", "lung, heart"),
    ),
    "undeclared label": (
        lambda tiny: tiny.put_value("P2_organs", tiny.organs(), 7),
        ("P2", "error", "undeclared_label", "lung, heart"),
    ),
    "mask of 255": (
        lambda tiny: tiny.put("P2_liver", tiny.liver() * 255),
        ("P2", "error", "undeclared_label", "liver"),
    ),
    "constant image": (
        lambda tiny: tiny.put("P2_ct", np.full(SHAPE, 3.0)),
        ("P2", "warning", "constant_image", "ct"),
    ),
    "overlap": (
        lambda tiny: tiny.put("P2_liver", np.ones(SHAPE)),
        ("P2", "error", "overlap", "liver"),
    ),
    "empty structure": (
        lambda tiny: tiny.put("P2_liver", np.zeros(SHAPE)),
        ("P2", "warning", "empty_structure", "liver"),
    ),
    "same image": (
        lambda tiny: tiny.path("P2_ct").write_bytes(tiny.path("P1_ct").read_bytes()),
        ("P2", "error", "duplicate_image", "ct"),
    ),
    "singular affine": (
        lambda tiny: tiny.put("P2_liver", tiny.liver(), np.eye(4)[:, [0, 0, 2, 3]]),
        ("P2", "error", "invalid_affine", "liver"),
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_every_fault_is_found_and_nothing_else(tiny: TinyDataset, fault: str) -> None:
    inject, expected = FAULTS[fault]
    inject(tiny)
    report = tiny.validate()
    assert found(report) == [expected]
    row = report.to_frame().query("subject == 'P2'").iloc[0]
    assert row["status"] == ("bad" if expected[1] == "error" else "used")
    assert row["message"]
    assert row["remedy"]


def test_all_faults_are_reported_at_once(tiny: TinyDataset) -> None:
    tiny.path("P1_ct").unlink()
    truncate(tiny.path("P2_organs"))
    tiny.put("P2_liver", np.zeros((9, 9, 9)))
    tiny.put_value("P3_ct", np.arange(120.0).reshape(SHAPE), np.nan)
    tiny.put_value("P3_organs", tiny.organs(), 9)
    expected = [
        ("P1", "error", "missing_file", "ct"),
        ("P2", "error", "unreadable_file", "lung, heart"),
        ("P2", "error", "shape_mismatch", "liver"),
        ("P3", "error", "non_finite", "ct"),
        ("P3", "error", "undeclared_label", "lung, heart"),
    ]
    assert found(tiny.validate()) == expected
    assert found(tiny.validate(workers=2)) == expected


def test_messages_name_what_was_found(tiny: TinyDataset) -> None:
    tiny.put_value("P1_organs", tiny.organs(), 7)
    tiny.put("P2_liver", np.ones(SHAPE))
    tiny.put("P3_liver", tiny.liver(), shift_mm(2.5))
    messages = [problem.message for problem in tiny.validate().problems]
    assert messages == [
        "contains 7; dataset.csv declares 0, 1, 2",
        "60 voxels are also in lung, heart",
        "lies up to 2.5 mm away from P3_ct.nii.gz",
    ]


def test_labels_of_structures_that_the_model_ignores_are_declared(tiny: TinyDataset) -> None:
    assert tiny.validate(structures=("heart",)).problems == ()


def test_regions_may_nest_where_the_later_structure_wins(tiny: TinyDataset) -> None:
    tiny.edit_csv(",1,,north", ",1+2,,north")
    errors = tiny.validate().problems
    assert {(problem.severity, problem.channel) for problem in errors} == {("error", "heart")}
    report = tiny.validate(overlap="later_wins")
    assert {problem.severity for problem in report.problems} == {"warning"}
    assert report.usable


def test_volumes_of_one_file_are_separate_images(tiny: TinyDataset) -> None:
    rng = np.random.default_rng(0)
    for number in range(1, 4):
        both = rng.random((*SHAPE, 2))
        both[..., 1] = 0 if number == 2 else both[..., 1]
        tiny.put(f"P{number}_ct", both)
        row = f"P{number},ct,P{number}_ct.nii.gz,,,north"
        tiny.edit_csv(row, f"{row[:-6]}0,north\nP{number},pet,P{number}_ct.nii.gz,,1,north")
    report = tiny.validate(images=("ct", "pet"))
    assert found(report) == [("P2", "warning", "constant_image", "pet")]


def test_volume_that_a_4d_image_does_not_have(tiny: TinyDataset) -> None:
    tiny.put("P2_ct", np.random.default_rng(0).random((*SHAPE, 2)))
    tiny.edit_csv("P2_ct.nii.gz,,,", "P2_ct.nii.gz,,2,")
    report = tiny.validate()
    assert found(report) == [("P2", "error", "wrong_dimension", "ct")]
    assert report.problems[0].message == "has no volume 2: its shape is 4 × 5 × 6 × 2"


def test_errors_of_a_subject_come_before_its_warnings(tiny: TinyDataset) -> None:
    tiny.put("P2_ct", np.full(SHAPE, 3.0))
    tiny.put("P2_liver", np.ones(SHAPE))
    frame = tiny.validate().to_frame().query("subject == 'P2'")
    assert list(frame["check"]) == ["overlap", "constant_image"]
    assert set(frame["status"]) == {"bad"}


def test_same_image_under_another_channel_is_found(tiny: TinyDataset) -> None:
    tiny.edit_csv("P2,ct,", "P2,mr,P1_ct.nii.gz,,,north\nP2,ct,")
    tiny.edit_csv("P1,ct,", "P1,mr,P3_ct.nii.gz,,,north\nP1,ct,")
    tiny.edit_csv("P3,ct,", "P3,mr,P2_ct.nii.gz,,,north\nP3,ct,")
    report = tiny.validate(images=("ct", "mr"))
    assert {problem.check for problem in report.problems} == {"duplicate_image"}
    assert report.counts["used"] == 1


def test_each_file_is_read_once(tiny: TinyDataset, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    read_voxels = subject_checks._read_voxels

    def counting(path: Path) -> object:
        read.append(path.name)
        return read_voxels(path)

    monkeypatch.setattr(subject_checks, "_read_voxels", counting)
    tiny.validate()
    assert len(read) == len(set(read)) == 9


def test_strictness_is_configurable(tiny: TinyDataset) -> None:
    tiny.put("P1_liver", np.zeros(SHAPE))
    tiny.put("P2_liver", tiny.liver(), shift_mm(0.2))
    assert found(tiny.validate(empty_structure="error", affine_tolerance_mm=0.3)) == [
        ("P1", "error", "empty_structure", "liver")
    ]


@pytest.mark.parametrize(("size_mm", "unusual"), [(2.9, False), (3.1, True), (0.3, True)])
def test_spacing_far_from_the_median(tiny: TinyDataset, size_mm: float, unusual: bool) -> None:
    for name, array in (
        ("P2_ct", np.arange(120.0).reshape(SHAPE) * 2),
        ("P2_organs", tiny.organs()),
        ("P2_liver", tiny.liver()),
    ):
        tiny.put(name, array, np.diag([1, 1, size_mm, 1]))
    expected = [("P2", "warning", "unusual_spacing", "")] if unusual else []
    report = tiny.validate()
    assert found(report) == expected
    assert list(report.to_frame()["status"]) == ["used", "used", "used"]


def test_orientation_is_no_unusual_spacing(tiny: TinyDataset) -> None:
    """One subject stored with its long voxel axis first lies on the same grid as the others."""
    for number in range(1, 4):
        affine = np.diag([1.0, 1, 5, 1])
        if number == 2:
            affine = affine[:, [2, 1, 0, 3]]
        tiny.put(f"P{number}_ct", np.arange(120.0).reshape(SHAPE) * number, affine)
        tiny.put(f"P{number}_organs", tiny.organs(), affine)
        tiny.put(f"P{number}_liver", tiny.liver(), affine)
    assert tiny.validate().problems == ()


def test_structure_that_nobody_has(tiny: TinyDataset) -> None:
    all_subjects(tiny, "liver", np.zeros(SHAPE))
    report = tiny.validate(on_problem="exclude")
    assert found(report)[0] == ("", "error", "absent_structure", "liver")
    assert report.counts["used"] == 3
    assert not report.usable
    with pytest.raises(CrossfoldError, match=r"cannot be used\n.*no voxel in any of 3 subjects"):
        require_usable(report.to_frame(), Path("report.html"))


def test_misspelt_channel_is_one_problem_of_the_dataset(tiny: TinyDataset) -> None:
    report = tiny.validate(structures=("lung", "livr"))
    assert found(report) == [("", "error", "unknown_channel", "livr")]
    assert "did you mean `liver`?" in report.problems[0].message


def test_dataset_without_subjects(tiny: TinyDataset) -> None:
    tiny.csv.write_text("subject,channel,filePath\n")
    report = tiny.validate()
    assert found(report) == [("", "error", "no_subjects", "")]
    with pytest.raises(CrossfoldError, match="has no rows"):
        require_usable(report.to_frame(), Path("report.html"))


def test_excluded_subjects_keep_their_reason(tiny: TinyDataset, tmp_path: Path) -> None:
    tiny.path("P2_ct").write_bytes(b"")
    report = tiny.validate(on_problem="exclude")
    assert report.counts == {"subjects": 3, "used": 2, "excluded": 1, "bad": 0}
    report.write_csv(tmp_path / "report.csv")
    frame = read_report(tmp_path / "report.csv")
    pd.testing.assert_frame_equal(frame, report.to_frame(), check_dtype=False)
    excluded = frame[frame["status"] == "excluded"].iloc[0]
    assert (excluded["subject"], excluded["message"]) == ("P2", "the file is empty")
    assert require_usable(frame, Path("report.html")) == ["P1", "P3"]


def test_bad_subjects_stop_the_pipeline(tiny: TinyDataset) -> None:
    tiny.path("P2_ct").write_bytes(b"")
    with pytest.raises(CrossfoldError) as caught:
        require_usable(tiny.validate().to_frame(), Path("results/report.html"))
    assert caught.value.message == (
        "results/report.html: 1 of 3 subjects are bad\n  P2, ct, P2_ct.nii.gz: the file is empty"
    )
    assert "checks: {on_problem: exclude}" in caught.value.remedy


def test_excluding_everybody_stops_the_pipeline(tiny: TinyDataset) -> None:
    for number in range(1, 4):
        tiny.path(f"P{number}_ct").unlink()
    report = tiny.validate(on_problem="exclude")
    assert not report.usable
    with pytest.raises(CrossfoldError, match="no subject is left"):
        require_usable(report.to_frame(), Path("report.html"))


def test_long_lists_are_cut_in_the_message_only(tiny: TinyDataset) -> None:
    for number in range(1, 4):
        for name in ("ct", "organs", "liver"):
            tiny.path(f"P{number}_{name}").unlink()
    report = tiny.validate()
    assert len(report.problems) == 9
    with pytest.raises(CrossfoldError, match=r"3 of 3 subjects are bad\n(.*\n){5}.*and 4 more"):
        require_usable(report.to_frame(), Path("report.html"))


class PageText(HTMLParser):
    """Text and tags of a page; fails on anything that would be loaded from elsewhere."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.text: list[str] = []
        self.tags: set[str] = set()
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        assert not {"src", "href"} & {name for name, _ in attrs}

    def handle_data(self, data: str) -> None:
        self.text += data.split()


def test_page_holds_everything_and_escapes_it(tiny: TinyDataset, tmp_path: Path) -> None:
    tiny.edit_csv("P2,", "<script>alert(2)</script>,")
    tiny.path("P2_ct").unlink()
    report = tiny.validate()
    report.write_html(tmp_path / "report.html", model="A&B", dataset="tiny", synthetic=False)
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    parsed = PageText(page)
    assert "script" not in parsed.tags
    text = " ".join(parsed.text)
    assert "A&B: data check of tiny" in text
    assert "synthetic" not in text
    for problem in report.problems:
        assert problem.subject in text
        assert html.escape(problem.message) in page
    assert "checks: {on_problem: exclude}" in text
    assert "2 subjects without a problem" in text


def test_page_says_when_data_are_synthetic(tiny: TinyDataset, tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    tiny.validate().write_html(path, model="M", dataset="phantom", synthetic=True)
    page = path.read_text(encoding="utf-8")
    assert "<title>M: data check of phantom (synthetic data)</title>" in page
    assert page.count("synthetic data") == 2
    assert "Nothing to mend." in page


def test_page_does_not_offer_exclusion_for_a_wrong_dataset(
    tiny: TinyDataset, tmp_path: Path
) -> None:
    tiny.path("P2_ct").unlink()
    report = tiny.validate(structures=("livr",))
    report.write_html(tmp_path / "report.html", model="M", dataset="tiny", synthetic=False)
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "The pipeline stops here" in page
    assert "on_problem" not in page
    assert "did you mean <code>liver</code>?" in page


@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "image", "structures"),
    [
        ("prostate", "T2", ("peripheral_zone", "central_gland")),
        ("hippocampus", "MRI", ("Anterior", "Posterior")),
    ],
)
def test_real_data_are_usable(
    tmp_path: Path,
    real_data: Callable[[str], Path],
    name: str,
    image: str,
    structures: tuple[str, ...],
) -> None:
    config = DecathlonDataset(source="decathlon", path=str(real_data(name)), link=True)
    table = import_dataset(name, config, tmp_path / name)
    report = validate_dataset(
        tmp_path / name / "dataset.csv",
        images=[image],
        structures=structures,
        checks=ChecksConfig(),
        workers=2,
    )
    assert report.problems == ()
    assert require_usable(report.to_frame(), Path("report.html")) == list(table["subject"].unique())


def test_a_mask_is_checked_and_may_be_the_same_in_all_subjects(tiny: TinyDataset) -> None:
    assert found(tiny.validate(structures=("lung", "heart"), mask="liver")) == []
    assert found(tiny.validate(mask="liver")) == []
    (problem,) = found(tiny.validate(mask="body"))
    assert problem == ("", "error", "unknown_channel", "body")
    tiny.put("P2_liver", np.zeros((4, 5, 7)))
    report = tiny.validate(structures=("lung", "heart"), mask="liver")
    assert [problem.subject for problem in report.problems] == ["P2"]

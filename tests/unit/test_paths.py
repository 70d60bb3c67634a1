from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossfold.errors import CrossfoldError
from crossfold.paths import LONGEST_SUBJECT, checkpoint, subject_file, subject_of

# Twelve bytes at most for a character: the longest ones still fit.
subjects = st.text(min_size=1, max_size=LONGEST_SUBJECT // 12)


@given(subjects)
def test_a_file_tells_its_subject(subject: str) -> None:
    assert subject_of(subject_file("folder", subject)) == subject


@given(subjects)
def test_a_name_is_one_visible_part_of_a_path(subject: str) -> None:
    name = subject_file("", subject).name
    assert subject_file("folder", subject).parent.name == "folder"
    assert not {"/", "\\", "\0", ":", "*", "\n"} & {*name}
    assert not name.startswith(".")
    assert name.isascii()


@given(subjects, subjects)
def test_two_subjects_never_share_a_file(one: str, other: str) -> None:
    assert (subject_file("", one) == subject_file("", other)) == (one == other)


@pytest.mark.parametrize(
    ("subject", "name"),
    [
        ("phantom_001", "phantom_001.nii.gz"),
        ("P 01/a", "P 01%2Fa.nii.gz"),
        ("..", "%2E..nii.gz"),
        ("a.nii.gz", "a.nii.gz.nii.gz"),
        ("50%", "50%25.nii.gz"),
    ],
)
def test_names_stay_readable(subject: str, name: str) -> None:
    assert subject_file("", subject).name == name
    assert subject_of(name) == subject


@pytest.mark.parametrize("subject", ["", "x" * (LONGEST_SUBJECT + 1), "é" * LONGEST_SUBJECT])
def test_a_name_that_no_file_can_bear_is_refused(subject: str) -> None:
    with pytest.raises(CrossfoldError, match=r"dataset\.csv: subject"):
        subject_file("", subject)


def test_checkpoints_sort_by_epoch() -> None:
    names = [checkpoint("folder", epoch).name for epoch in (2, 10, 120)]
    assert names == sorted(names)

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from pandas.testing import assert_frame_equal

from crossfold.config.splits import SplitsConfig
from crossfold.data.splits import Fold, Member, Splits, make_splits
from crossfold.errors import CrossfoldError


def cohort(groups: list[str], institutions: str = "ab") -> pd.DataFrame:
    return pd.DataFrame(
        {
            "subject": [f"p{number:02d}" for number in range(len(groups))],
            "group": groups,
            "institution": [institutions[i % len(institutions)] for i in range(len(groups))],
        }
    )


COHORTS = st.lists(st.sampled_from(["", "", "", "g1", "g2", "g3"]), min_size=8, max_size=40).map(
    cohort
)
CONFIGS = st.builds(
    SplitsConfig,
    folds=st.integers(1, 6),
    test=st.sampled_from([0, 0.2, 0.5]),
    seed=st.integers(0, 1000),
)


def split_or_skip(subjects: pd.DataFrame, config: SplitsConfig) -> Splits:
    try:
        return make_splits(subjects, config)
    except CrossfoldError:
        assume(False)
        raise


def group_of(subjects: pd.DataFrame) -> dict[str, str]:
    names = subjects["group"].where(subjects["group"] != "", subjects["subject"])
    return dict(zip(subjects["subject"], names, strict=True))


@given(COHORTS, CONFIGS)
def test_every_subject_has_one_role_per_fold(subjects: pd.DataFrame, config: SplitsConfig) -> None:
    frame = split_or_skip(subjects, config).to_frame()
    assert not frame.duplicated(["subject", "fold"]).any()
    for _, fold in frame.groupby("fold"):
        assert set(fold["subject"]) == set(subjects["subject"])


@given(COHORTS, CONFIGS)
def test_everyone_outside_the_test_set_is_validated_once(
    subjects: pd.DataFrame, config: SplitsConfig
) -> None:
    assume(config.folds > 1)
    splits = split_or_skip(subjects, config)
    validated = [name for fold in splits.folds for name in splits.subjects("val", fold)]
    assert sorted(validated) == sorted(set(subjects["subject"]) - set(splits.test))


@given(COHORTS, CONFIGS)
def test_groups_stay_together(subjects: pd.DataFrame, config: SplitsConfig) -> None:
    frame = split_or_skip(subjects, config).to_frame()
    assert (
        frame.groupby([frame["subject"].map(group_of(subjects)), "fold"])["role"].nunique() == 1
    ).all()


@given(COHORTS, CONFIGS, st.sampled_from(["", "g1", "g9"]), st.sampled_from("abc"))
def test_a_new_subject_moves_no_other_into_or_out_of_the_test_set(
    subjects: pd.DataFrame, config: SplitsConfig, group: str, institution: str
) -> None:
    new = pd.DataFrame([{"subject": "a_new_one", "group": group, "institution": institution}])
    before = split_or_skip(subjects, config)
    after = split_or_skip(pd.concat([new, subjects]), config)
    assert set(after.test) - {"a_new_one"} == set(before.test)


@given(COHORTS, CONFIGS, st.randoms(use_true_random=False))
def test_the_order_of_the_rows_does_not_matter(subjects, config, random) -> None:
    rows = list(subjects.index)
    random.shuffle(rows)
    assert split_or_skip(subjects, config) == split_or_skip(subjects.loc[rows], config)


@given(st.integers(5, 60), st.integers(2, 6), st.integers(0, 1000))
def test_folds_are_balanced_over_institutions(count: int, folds: int, seed: int) -> None:
    assume(count >= folds)
    splits = make_splits(cohort([""] * count, "abc"), SplitsConfig(folds=folds, test=0, seed=seed))
    frame = splits.to_frame().query("role == 'val'")
    counts = pd.crosstab(frame["fold"], frame["institution"])
    assert (counts.max() - counts.min()).max() <= 1
    assert counts.sum(axis=1).max() - counts.sum(axis=1).min() <= 1


def test_the_seed_and_the_proportion_matter() -> None:
    subjects = cohort([""] * 1000)
    shares = {
        test: make_splits(subjects, SplitsConfig(test=test, seed=1)).test for test in (0.2, 0.5)
    }
    assert len(shares[0.2]) == pytest.approx(200, abs=40)
    assert set(shares[0.2]) < set(shares[0.5])
    assert shares[0.2] != make_splits(subjects, SplitsConfig(test=0.2, seed=2)).test


def test_the_draw_is_the_documented_hash() -> None:
    # Published splits depend on it: another hash would move patients between the sets.
    subjects = cohort([""] * 30)
    digests = {
        name: hashlib.sha256(f"7/test/{name}".encode()).hexdigest() for name in subjects["subject"]
    }
    expected = [name for name, digest in digests.items() if int(digest[:16], 16) < 0.2 * 2**64]
    assert make_splits(subjects, SplitsConfig(seed=7)).test == tuple(expected)


def test_lists_and_institutions_are_taken_as_they_are() -> None:
    subjects = cohort([""] * 10)
    config = SplitsConfig(test={"institutions": ["b"]}, exclude=["p01"], folds=2)
    splits = make_splits(subjects, config)
    assert splits.test == ("p03", "p05", "p07", "p09")
    config = SplitsConfig(train=["p00", "p02"], val=["p04"], test=["p01"], folds=1)
    splits = make_splits(subjects, config)
    assert (splits.subjects("train", 0), splits.subjects("val", 0)) == (("p00", "p02"), ("p04",))
    assert splits.test == ("p01",)
    splits = make_splits(subjects, config.model_copy(update={"folds": 3}))
    assert sorted(splits.subjects("train", 0) + splits.subjects("val", 0)) == ["p00", "p02", "p04"]


def test_a_named_subject_is_never_drawn() -> None:
    subjects = cohort([""] * 40)
    drawn = make_splits(subjects, SplitsConfig(folds=1)).test
    splits = make_splits(subjects, SplitsConfig(folds=1, val=list(drawn[:2])))
    assert splits.subjects("val", 0) == drawn[:2]
    assert splits.test == drawn[2:]


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"test": ["p1"]}, r"splits.test: unknown subject `p1`; did you mean `p01`"),
        ({"exclude": {"institutions": ["z"]}}, "splits.exclude: unknown institution `z`"),
        ({"test": ["p08"]}, "group `g` is torn apart: p08 is in test, p09 in no list"),
        ({"test": {"institutions": ["a"]}}, "group `g` is torn apart"),
        ({"test": ["p00"], "val": {"institutions": ["a"]}}, "p00 named by both `val` and `test`"),
        ({"test": ["p00"], "exclude": {"institutions": ["a"]}}, "p00 named by both"),
        (
            {"test": {"institutions": ["a"]}, "exclude": {"institutions": ["a"]}},
            "both name a",
        ),
        ({"test": 0, "folds": 10}, "splits.folds: 10 folds of 9 subjects or groups"),
        ({"test": 0.0001}, "splits.test: 0.0001 draws nobody.*\n.*another splits.seed"),
        ({"test": {"institutions": ["a", "b"]}, "folds": 1}, "from the 0 subjects .* are left"),
        (
            {"test": {"institutions": ["a", "b"]}, "folds": 1, "val": 0},
            "fold 0 has no training subject",
        ),
    ],
)
def test_refuses_and_says_what_to_do(section: dict, message: str) -> None:
    subjects = cohort([""] * 8 + ["g", "g"])
    with pytest.raises((CrossfoldError, ValueError), match=message):
        make_splits(subjects, SplitsConfig(**section))


def test_refuses_a_subject_with_two_rows() -> None:
    subjects = pd.concat([cohort([""] * 6), cohort([""])])
    with pytest.raises(CrossfoldError, match="p00"):
        make_splits(subjects, SplitsConfig())


def division(*folds: str) -> tuple[Fold, ...]:
    """`division("1 2|3|4", ...)`: train, val and test of each fold."""
    return tuple(Fold(*(frozenset(part.split()) for part in fold.split("|"))) for fold in folds)


MEMBERS = tuple(Member(name, "g" if name in "12" else name, "a") for name in "12345")
VALID = Splits(MEMBERS, division("1 2|3 4|5", "3 4|1 2|5"))


@pytest.mark.parametrize(
    ("folds", "message"),
    [
        ((), "there is no fold"),
        (("1 2 3|3 4|5", "3 4|1 2|5"), "3 in both train and val of fold 0"),
        (("1 2|3 4|5 1", "3 4|1 2|5"), "1 in both train and test of fold 0"),
        (("1 2|3|5", "3 4|1 2|5"), "without a role in fold 0.*: 4"),
        (("1 2|3 4 6|5", "3 4|1 2|5"), "fold 0.*: 6"),
        (("1 3|2 4|5", "2 4|1 3|5"), "group `g` is torn apart in fold 0: 1 is in train, 2 in val"),
        (("1 2|3 4|5", "3 4 5|1 2|"), "test sets of folds 0 and 1 differ: 5"),
        (("1 2|3 4|5", "3 4 1 2||5"), "not validated exactly once: 1, 2"),
        (("1 2|3 4|5", "3|1 2 4|5"), "not validated exactly once: 4"),
        (("|1 2 3 4|5",), "fold 0 has no training subject"),
    ],
)
def test_splits_cannot_be_wrong(folds: tuple[str, ...], message: str) -> None:
    with pytest.raises(CrossfoldError, match=message):
        replace(VALID, divisions=division(*folds))


@given(COHORTS, CONFIGS)
def test_frame_round_trip(subjects: pd.DataFrame, config: SplitsConfig) -> None:
    splits = split_or_skip(subjects, config)
    frame = splits.to_frame()
    assert list(frame.columns) == ["subject", "group", "institution", "fold", "role"]
    assert_frame_equal(frame, frame.sort_values(["fold", "subject"], ignore_index=True))
    assert Splits.from_frame(frame.sample(frac=1, random_state=0)) == splits


def test_file_round_trip(tmp_path: Path) -> None:
    VALID.write(tmp_path / "splits.csv")
    assert Splits.read(tmp_path / "splits.csv") == VALID
    assert [path.name for path in tmp_path.iterdir()] == ["splits.csv"]


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("3,3,a,0,val", "3,3,a,0,train", "not validated exactly once: 3"),
        ("3,3,a,0,val", "3,3,a,0,vali", "role `vali`; did you mean `val`"),
        ("3,3,a,0,val", "3,other,a,0,val", "more than one row, group or institution for 3"),
        ("3,3,a,0,val", "3,3,a,first,val", "not readable as splits"),
        ("institution", "hospital", "no column institution"),
    ],
)
def test_reading_a_damaged_file_names_it(
    tmp_path: Path, before: str, after: str, message: str
) -> None:
    path = tmp_path / "splits.csv"
    VALID.write(path)
    path.write_text(path.read_text().replace(before, after))
    with pytest.raises(CrossfoldError, match=message) as caught:
        Splits.read(path)
    assert str(path) in caught.value.message


def test_reading_a_missing_file_names_it(tmp_path: Path) -> None:
    with pytest.raises(CrossfoldError, match=r"splits\.csv: no such file"):
        Splits.read(tmp_path / "splits.csv")

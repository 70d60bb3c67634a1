from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from crossfold.errors import CrossfoldError
from crossfold.evaluation.statistics.sources import add_dataset, parse_metrics, parse_roles

HEADER = "split,fold,subject,structure,state,dice,hd95_mm"
INNEREYE = "Patient,Structure,Dice,HausdorffDistance_mm,MeanDistance_mm"


def table(*rows: str, header: str = HEADER) -> str:
    return "\n".join([header, *rows]) + "\n"


def test_crossfold_table() -> None:
    frame = parse_metrics(table("val,0,007,bladder,ok,0.9,3", "val,1,NA,bladder,missed,0,inf"), "m")
    assert list(frame["subject"]) == ["007", "NA"]
    assert list(frame["hd95_mm"]) == [3, np.inf]
    assert frame["nsd"].isna().all()


def test_innereye_states_are_derived_from_dice_and_distance() -> None:
    rows = "1,bladder,0.9,5,1", "2,bladder,0,inf,inf", "3,bladder,nan,nan,nan", "4,bladder,,,"
    frame = parse_metrics(table(*rows, header=INNEREYE), "m.csv", split="val")
    assert list(frame["state"]) == ["ok", "missed", "true_absent", "true_absent"]
    assert list(frame["split"].unique()) == ["val"]
    assert frame.loc[0, ["dice", "hd_mm", "assd_mm"]].tolist() == [0.9, 5, 1]


def test_innereye_percentages_become_fractions() -> None:
    frame = parse_metrics(table("1,a,90,5,1", "2,a,0.5,40,9", header=INNEREYE), "m.csv")
    assert list(frame["dice"]) == [0.9, 0.005]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (["val,0,P1,a,ok,,3"], r"m.csv, line 2: dice is empty for a of P1, whose state is ok"),
        (["val,0,P1,a,ok,inf,3"], "line 2: dice is inf"),
        (["val,0,P1,a,ok,90,3"], "line 2: dice is 90"),
        (["val,0,P1,a,ok,0.9,3", "val,0,P2,a,ok,0.9,inf"], "line 3: hd95_mm is inf for a of P2"),
        (["val,0,P1,a,ok,0.9,-1"], "line 2: hd95_mm is -1"),
        (["val,0,P1,a,missed,0.1,inf"], "dice is 0.1 for a of P1, whose state is missed"),
        (["val,0,P1,a,true_absent,1,"], "dice is 1 for a of P1, whose state is true_absent"),
        (["val,0,P1,a,ok,good,3"], "line 2: dice is `good`, which is not a number"),
        (["val,0,P1,a,fine,0.9,3"], "line 2: state is `fine`"),
        (["train,0,P1,a,ok,0.9,3"], "line 2: split is `train`"),
        (["val,0,,a,ok,0.9,3"], "line 2: subject is empty"),
        (["val,0,P1,a,ok,0.9,3"] * 2, "line 3: another row for a of P1"),
        (["val,0,P1,a,ok,0.9,3", "val,1,P1,a,ok,0.8,3"], "another row for a of P1"),
        (["test,2,P1,a,ok,0.9,3"] * 3, r"another row for a of P1 \(test, fold 2; 2 such rows\)"),
        ([], "no rows"),
    ],
)
def test_wrong_cells_are_named(rows: list[str], message: str) -> None:
    with pytest.raises(CrossfoldError, match=message):
        parse_metrics(table(*rows), "m.csv")


def test_folds_may_share_a_test_subject() -> None:
    assert len(parse_metrics(table("test,0,P1,a,ok,0.9,3", "test,1,P1,a,ok,0.8,3"), "m")) == 2


@pytest.mark.parametrize("header", ["a,b", "subject,dice", "Patient,Dice"])
def test_missing_columns_are_named(header: str) -> None:
    with pytest.raises(CrossfoldError, match=r"m\.csv: no column"):
        parse_metrics(table("1,2", header=header), "m.csv")


def test_other_separators_are_named() -> None:
    with pytest.raises(CrossfoldError, match=r"m\.csv: .*semicolons"):
        parse_metrics("subject;structure;dice\nP1;a;0,9\n", "m.csv")


def test_what_is_no_csv() -> None:
    for text in ("", '"unfinished'):
        with pytest.raises(CrossfoldError, match=r"m\.csv"):
            parse_metrics(text, "m.csv")


def test_roles_default_to_a_group_of_their_own() -> None:
    roles = parse_roles("subject,group,fold,role\nP1,,0,train\nP2,G,0,val\n", "splits.csv")
    assert list(roles["group"]) == ["P1", "G"]
    with pytest.raises(CrossfoldError, match=r"splits.csv, line 2: role is `trian`"):
        parse_roles("subject,fold,role\nP1,0,trian\n", "splits.csv")


def test_series_and_institution_come_from_the_dataset(tmp_path: Path) -> None:
    dataset = tmp_path / "dataset.csv"
    dataset.write_text(
        "subject,channel,filePath,seriesId,institutionId\n"
        "1,ct,1.nii.gz,s1,A\n1,bladder,1b.nii.gz,s1,A\n2,ct,2.nii.gz,s2,B\n"
    )
    frame = pd.DataFrame({"subject": ["2", "1"]})
    filled = add_dataset(frame, dataset, "metrics.csv")
    assert filled[["series", "institution"]].to_numpy().tolist() == [["s2", "B"], ["s1", "A"]]
    with pytest.raises(CrossfoldError, match=r"dataset.csv: no row for 3 of metrics.csv"):
        add_dataset(pd.DataFrame({"subject": ["1", "3"]}), dataset, "metrics.csv")

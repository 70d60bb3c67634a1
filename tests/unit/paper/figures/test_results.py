"""What figures of results show: the values and verdicts of the tables that they read."""

import hashlib
import shutil
import subprocess
from importlib import import_module
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from scipy import stats

from crossfold.evaluation.frames import read_frame
from crossfold.paper import style
from crossfold.paper.figures import EmptyFigure, draw_figure
from tests.unit.paper.figures.factory import Made, make
from tests.unit.paper.figures.layout import drawn_texts


def table_of(module: str, made: Made, **options: Any) -> pd.DataFrame:
    return _draw(module, made, options)[1]


def words_of(module: str, made: Made, **options: Any) -> str:
    return " | ".join(text.get_text() for text in drawn_texts(_draw(module, made, options)[0]))


def _draw(module: str, made: Made, options: dict[str, Any]) -> Any:
    context = made.with_options({**made.context.options, **options})
    with mpl.rc_context(style.parameters(context.config)):
        figure = import_module(f"crossfold.paper.figures.{module}")
        return figure.draw(made.inputs_of(module), context)


def change(made: Made, name: str, **columns: Any) -> None:
    """Overwrite columns of an input."""
    frame = read_frame(made.inputs[name]).assign(**columns)
    frame.to_csv(made.inputs[name], index=False)


@pytest.fixture
def made(tmp_path: Path) -> Made:
    return make(tmp_path, runs=3, structures=2, subjects=40, institutions=3, metric="dice")


@pytest.fixture
def alone(tmp_path: Path) -> Made:
    return make(tmp_path, runs=1, structures=2, subjects=12, metric="dice")


def test_metrics_hold_every_subject_and_count_failures_as_the_worst(made: Made) -> None:
    table = table_of("metrics", made)
    compared = read_frame(made.inputs["compared"])
    present = compared[compared["state"] != "true_absent"]
    points, boxes = (table[table["kind"] == kind] for kind in ("point", "box"))
    assert len(points) == len(present)
    assert boxes["n"].sum() == len(present)
    assert boxes["n_failed"].sum() == present["state"].isin(["missed", "hallucinated"]).sum() > 0
    expected = present.groupby(["structure", "run"])["dice"].median()
    found = boxes.set_index(["structure", "group"])["median"]
    assert found.to_numpy() == pytest.approx(expected.to_numpy())


def test_distances_of_failures_leave_quartiles_finite_until_a_quarter_failed(made: Made) -> None:
    boxes = table_of("metrics", made, metric="hd95_mm").query("kind == 'box'")
    assert np.isfinite(boxes["q3"].astype(float)).all()
    change(made, "compared", state="missed", hd95_mm=np.inf)
    boxes = table_of("metrics", made, metric="hd95_mm").query("kind == 'box'")
    assert np.isinf(boxes["q1"].astype(float)).all()


def test_only_planned_comparisons_have_brackets(made: Made) -> None:
    brackets = table_of("metrics", made).query("kind == 'bracket'")
    planned = read_frame(made.inputs["comparisons"]).query(
        "metric == 'dice' and role == 'confirmatory'"
    )
    assert brackets["p_adjusted"].tolist() == planned["p_adjusted"].tolist()
    assert set(brackets["group"]) == {"Run_1"}
    assert "Holm p (effect)" in words_of("metrics", made)
    assert "bracket" not in set(table_of("metrics", made, metric="hd95_mm")["kind"])


def test_a_bracket_against_another_reference_is_turned_to_its_side(made: Made) -> None:
    planned = read_frame(made.inputs["comparisons"])
    turned = planned.assign(run_a=planned["run_b"], run_b=planned["run_a"])
    turned.to_csv(made.inputs["comparisons"], index=False)
    brackets = table_of("metrics", made).query("kind == 'bracket'")
    assert set(brackets["group"]) == {"Run_1"}
    assert brackets["effect"].to_numpy() == pytest.approx(
        -planned.query("metric == 'dice'")["effect"].to_numpy()
    )


def test_a_truncated_axis_says_so(made: Made) -> None:
    words = words_of("metrics", made)
    lowest = read_frame(made.inputs["compared"]).query("state == 'ok'")["dice"].min()
    assert lowest > 0.4
    assert "(axis starts at 0.4)" in words


def test_differences_are_those_of_the_same_subjects(made: Made) -> None:
    table = table_of("paired_differences", made)
    values = read_frame(made.inputs["compared"]).pivot(
        index=["structure", "subject"], columns="run", values="dice"
    )
    expected = (values["Run_1"] - values["Run_3"]).dropna()
    points = table.query("kind == 'point' and run_b == 'Run_3'")
    assert sorted(points["difference"]) == pytest.approx(sorted(expected))


def test_two_failures_differ_by_nothing(made: Made) -> None:
    change(made, "compared", state="missed", hd95_mm=np.inf)
    points = table_of("paired_differences", made, metric="hd95_mm").query("kind == 'point'")
    assert (points["difference"] == 0).all()


def test_the_better_side_depends_on_the_metric(made: Made) -> None:
    assert "(right of 0: Run_1 is better)" in words_of("paired_differences", made)
    words = words_of("paired_differences", made, metric="hd95_mm")
    assert "(left of 0: Run_1 is better)" in words


def test_a_refused_comparison_shows_no_subjects(made: Made) -> None:
    comparisons = read_frame(made.inputs["comparisons"])
    leak = (comparisons["run_b"] == "Run_2") & (comparisons["structure"] == "structure_1")
    change(made, "comparisons", verdict=comparisons["verdict"].mask(leak, "refused"))
    table = table_of("paired_differences", made)
    points = table.query("kind == 'point' and run_b == 'Run_2'")
    assert set(points["structure"]) == {"structure_2"}
    assert "refused" in words_of("paired_differences", made)
    change(made, "comparisons", verdict="refused", reason="Run_2 was trained on case_001.")
    with pytest.raises(EmptyFigure, match="trained on case_001"):
        table_of("paired_differences", made)


def test_scatter_counts_who_is_better(made: Made) -> None:
    table = table_of("scatter", made).query("run_x == 'Run_2'")
    assert (table["better"] == "y").sum() == (table["value_y"] > table["value_x"]).sum()
    assert f"Run_1 better: {(table['better'] == 'y').sum()}" in words_of("scatter", made)
    distances = table_of("scatter", made, metric="hd95_mm").query("run_x == 'Run_2'")
    assert (distances["better"] == "y").sum() == (distances["value_y"] < distances["value_x"]).sum()


@pytest.mark.parametrize(
    "module", ["metrics", "failures", "scatter", "paired_differences", "significance"]
)
def test_without_any_row_a_figure_says_so(module: str, made: Made) -> None:
    for name in ("compared", "comparisons"):
        read_frame(made.inputs[name]).iloc[:0].to_csv(made.inputs[name], index=False)
    with pytest.raises(EmptyFigure):
        table_of(module, made)


@pytest.mark.parametrize("module", ["scatter", "paired_differences"])
def test_one_run_is_not_compared_with_itself(module: str, alone: Made) -> None:
    with pytest.raises(EmptyFigure, match="Run_1"):
        table_of(module, alone)


def test_bland_altman_draws_ratios_where_the_scale_is_logarithmic(tmp_path: Path) -> None:
    made = make(tmp_path, runs=1, structures=2, subjects=20, failures=0)
    points = table_of("bland_altman", made).query("kind == 'point'")
    metrics = read_frame(made.inputs["metrics"]).set_index(["structure", "subject"])
    for structure, scale in (("structure_1", "raw"), ("structure_2", "log")):
        mine = points[points["structure"] == structure].set_index("subject")
        volumes = metrics.loc[structure]
        predicted, reference = volumes["volume_pred_ml"], volumes["volume_ref_ml"]
        expected = predicted / reference if scale == "log" else predicted - reference
        assert set(mine["scale"]) == {scale}
        assert mine["difference"].to_dict() == pytest.approx(expected.to_dict())
    assert "Ratio" in words_of("bland_altman", made)


def test_missed_structures_are_in_the_agreement_of_volumes(made: Made) -> None:
    table = table_of("bland_altman", made)
    missed = table[table["state"] == "missed"]
    assert len(missed)
    assert (missed["difference"] == -2 * missed["mean_ml"]).all()


def test_limits_of_agreement_of_another_split_are_not_drawn(made: Made) -> None:
    assert "estimate" in set(table_of("bland_altman", made)["kind"])
    change(made, "bland_altman", split="test")
    assert set(table_of("bland_altman", made)["kind"]) == {"point"}


def test_without_volumes_there_is_no_agreement(made: Made) -> None:
    change(made, "metrics", volume_pred_ml="")
    with pytest.raises(EmptyFigure, match="No volume"):
        table_of("bland_altman", made)


def test_failure_rates_have_exact_intervals(made: Made) -> None:
    table = table_of("failures", made)
    row = table.query("kind == 'missed' and failed > 0").iloc[0]
    interval = stats.binomtest(int(row["failed"]), int(row["n"])).proportion_ci(0.95, "exact")
    assert (row["ci_low"], row["ci_high"]) == pytest.approx((interval.low, interval.high))
    compared = read_frame(made.inputs["compared"])
    assert table.query("kind == 'missed'")["failed"].sum() == (compared["state"] == "missed").sum()
    invented = (compared["state"] == "hallucinated").sum()
    assert table.query("kind == 'hallucinated'")["failed"].sum() == invented


def test_ranks_are_the_shares_of_the_table(made: Made) -> None:
    table = table_of("ranks", made)
    first = table.query("structure == 'structure_1' and model == 'Run_2'")
    shares = read_frame(made.inputs["ranks"]).query(
        "structure == 'structure_1' and model == 'Run_2' and metric == 'dice'"
    )["p_ranks"]
    assert first["frequency"].tolist() == [float(share) for share in shares.iloc[0].split()]
    assert first.loc[first["is_rank"], "rank"].tolist() == [2]


def test_two_runs_are_not_ranked(made: Made) -> None:
    made.inputs["ranks"].write_text(made.inputs["ranks"].read_text().partition("\n")[0] + "\n")
    with pytest.raises(EmptyFigure, match="no ranking"):
        table_of("ranks", made)


def test_significance_shows_verdicts_and_what_was_refused(made: Made) -> None:
    words = words_of("significance", made)
    comparisons = read_frame(made.inputs["comparisons"])
    verdicts = comparisons.query("role == 'confirmatory'")["verdict"]
    signs = sum(word.startswith("▲ p") for word in words.split(" | "))
    assert signs == (verdicts == "a_better").sum() > 0
    change(made, "comparisons", verdict="refused", effect="", p_adjusted="")
    assert words_of("significance", made).count("| –") == len(verdicts)


def test_members_are_compared_where_there_is_no_other_run(alone: Made) -> None:
    template = {"group_a": "", "group_b": "", "split": "test", "structure": "structure_1"}
    template |= {"metric": "dice", "role": "exploratory", "family_id": "members", "n": 9}
    template |= {"p_adjusted": 0.01, "effect": 0.5, "effect_name": "rank_biserial", "reason": ""}
    rows = [
        {**template, "run_a": f"Run_1 fold {a}", "run_b": b, "verdict": "a_better"}
        for a, b in ((0, "Run_1 fold 1"), (0, "Run_1 ensemble"), (1, "Run_1 ensemble"))
    ]
    pd.DataFrame(rows).to_csv(alone.inputs["comparisons"], index=False)
    assert len(table_of("significance", alone)) == 3
    assert "0–E" in words_of("significance", alone)


def test_institutions_need_a_second_one(made: Made) -> None:
    assert set(table_of("institutions", made)["group"]) == {"site 0", "site 1", "site 2"}
    change(made, "metrics", institution="site 1")
    with pytest.raises(EmptyFigure, match="All subjects are from site 1"):
        table_of("institutions", made)
    change(made, "metrics", institution="")
    with pytest.raises(EmptyFigure, match="No subject's institution is known"):
        table_of("institutions", made)


def test_small_institutions_are_drawn_as_one(tmp_path: Path) -> None:
    made = make(tmp_path, runs=1, structures=2, subjects=25, institutions=12)
    groups = set(table_of("institutions", made)["group"])
    assert len(groups) == 8
    assert "5 others" in groups


@pytest.mark.parametrize("name", ["metrics_dice", "significance"])
def test_files_have_the_same_bytes_twice_and_embed_their_fonts(
    name: str, made: Made, tmp_path: Path
) -> None:
    digests = []
    for attempt in ("first", "second"):
        target = tmp_path / attempt / name
        target.parent.mkdir()
        draw_figure(name, made.inputs, made.context, target)
        files = sorted(target.parent.iterdir())
        assert [file.suffix for file in files] == [".csv", ".pdf", ".png"]
        digests.append([hashlib.sha256(file.read_bytes()).hexdigest() for file in files])
    assert digests[0] == digests[1]
    content = target.with_suffix(".pdf").read_bytes()
    assert b"/FontFile2" in content
    assert b"/Type3" not in content
    if shutil.which("pdffonts"):
        printed = subprocess.run(
            ["pdffonts", target.with_suffix(".pdf")], capture_output=True, text=True, check=True
        ).stdout
        assert "TrueType" in printed
        assert "Type 3" not in printed


def test_dollars_in_names_are_not_formulas(tmp_path: Path) -> None:
    made = make(tmp_path, runs=2, structures=1, subjects=6, metric="dice")
    compared = read_frame(made.inputs["compared"])
    change(made, "compared", structure=compared["structure"].replace("structure_1", "$x^2$"))
    context = made.with_options({"metric": "dice"})
    made = Made(made.inputs, type(context)(**{**vars(context), "structures": ("$x^2$",)}))
    assert r"\$x^2\$" in words_of("metrics", made)

"""NSD by tolerance, calibration and use of uncertainty: one panel per structure, or one line."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest

from crossfold.evaluation.frames import read_frame
from crossfold.evaluation.tables import write_table
from crossfold.paper import style
from crossfold.paper.figures import EmptyFigure, calibration, draw_figure, nsd_curve, risk_coverage
from tests.unit.paper.figures.layout import drawn_texts, problems
from tests.unit.paper.figures.posteriors import TOLERANCES_MM, make_posteriors

MODULES = [nsd_curve, calibration, risk_coverage]


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__.rpartition(".")[2])
@pytest.mark.parametrize(
    "made",
    [
        {"structures": 1, "subjects": 1},
        {"structures": 2, "subjects": 5},
        {"structures": 5, "subjects": 200},
        {"structures": 7, "constant": True},
        {"structures": 25, "long_names": True},
        {"structures": 3, "long_names": True},
    ],
    ids=str,
)
def test_everything_can_be_read(tmp_path: Path, module: ModuleType, made: dict) -> None:
    inputs, context = make_posteriors(tmp_path, **made)
    with mpl.rc_context(style.parameters(context.config)):
        figure, table = module.draw(inputs, context)
        assert problems(figure) == []
    width_mm = figure.get_figwidth() * style.MM_PER_INCH
    assert round(width_mm) in (85, 180)
    assert set(table["structure"]) == set(context.structures)
    assert set(table["split"]) == {"val"}


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__.rpartition(".")[2])
def test_without_any_value_there_is_a_sentence(tmp_path: Path, module: ModuleType) -> None:
    inputs, context = make_posteriors(tmp_path)
    for name in ("nsd_curve", "calibration_bins", "posteriors"):
        write_table(inputs[name], read_frame(inputs[name]).head(0))
    with pytest.raises(EmptyFigure):
        module.draw(inputs, context)


@pytest.mark.parametrize("name", ["nsd_curve", "calibration", "risk_coverage"])
def test_the_same_bytes_on_every_run(tmp_path: Path, name: str) -> None:
    inputs, context = make_posteriors(tmp_path)
    for run in ("one", "two"):
        draw_figure(name, inputs, context, tmp_path / run)
    for suffix in (".png", ".pdf", ".csv"):
        one, two = ((tmp_path / run).with_suffix(suffix) for run in ("one", "two"))
        assert one.read_bytes() == two.read_bytes()


def test_the_curve_is_the_mean_of_all_subjects_in_its_interval(tmp_path: Path) -> None:
    inputs, context = make_posteriors(tmp_path, structures=1)
    _, table = nsd_curve.draw(inputs, context)
    mean = table[table["kind"] == "mean"].set_index("tolerance_mm")
    values = read_frame(inputs["nsd_curve"]).groupby("tolerance_mm")["nsd"].mean()
    np.testing.assert_allclose(mean["nsd"], values)
    assert mean.index.tolist() == [*TOLERANCES_MM]
    assert (mean["ci_low"] < mean["nsd"]).all()
    assert (mean["nsd"] < mean["ci_high"]).all()


def test_the_tolerance_in_use_is_marked_with_what_was_measured(tmp_path: Path) -> None:
    inputs, context = make_posteriors(tmp_path, structures=1)
    figure, table = nsd_curve.draw(inputs, context)
    chosen = table[table["kind"] == "in use"]
    measured = read_frame(inputs["metrics"])["nsd"].mean()
    assert chosen["tolerance_mm"].tolist() == [2.0]
    assert chosen["nsd"].iloc[0] == pytest.approx(measured)
    assert f"{measured:.2f} at 2 mm" in [text.get_text() for text in drawn_texts(figure)]


def test_few_subjects_are_drawn_themselves_without_an_interval(tmp_path: Path) -> None:
    inputs, context = make_posteriors(tmp_path, structures=1, subjects=4)
    _, table = nsd_curve.draw(inputs, context)
    assert table["ci_low"].isna().all()
    assert table.loc[table["kind"] == "subject", "subject"].nunique() == 4


def test_a_diagram_per_image_comes_before_the_one_over_images(tmp_path: Path) -> None:
    inputs, context = make_posteriors(tmp_path, structures=1, subjects=3)
    bins = read_frame(inputs["calibration_bins"])
    first = bins["bin_low"] == 0
    # An image of many voxels counts no more than another.
    bins.loc[first, "frequency"] = [0.1, 0.2, 0.9]
    bins.loc[first, "n_voxels"] = [10, 10, 1_000_000]
    write_table(inputs["calibration_bins"], bins)
    _, table = calibration.draw(inputs, context)
    lowest = table[(table["kind"] == "bin") & (table["bin_low"] == 0)].iloc[0]
    assert lowest["frequency"] == pytest.approx(0.2)
    assert (lowest["frequency_q1"], lowest["frequency_q3"]) == pytest.approx((0.15, 0.55))
    assert table.loc[table["kind"] == "bin", "share"].sum() == pytest.approx(1)


def test_empty_bins_leave_no_point_but_count_in_the_share(tmp_path: Path) -> None:
    inputs, context = make_posteriors(tmp_path, structures=1, subjects=2)
    bins = read_frame(inputs["calibration_bins"])
    emptied = (bins["bin_low"] == 0.5) & (bins["subject"] == "case_000")
    bins.loc[emptied, ["n_voxels", "mean_confidence", "frequency"]] = [0, np.nan, np.nan]
    write_table(inputs["calibration_bins"], bins)
    _, table = calibration.draw(inputs, context)
    middle = table[(table["kind"] == "bin") & (table["bin_low"] == 0.5)].iloc[0]
    assert middle["n"] == 1
    assert table.loc[table["kind"] == "bin", "share"].sum() == pytest.approx(1)


def test_the_calibration_error_has_an_interval(tmp_path: Path) -> None:
    inputs, context = make_posteriors(tmp_path, structures=1)
    figure, table = calibration.draw(inputs, context)
    error = table[table["kind"] == "ece"].iloc[0]
    assert error["ece"] == pytest.approx(read_frame(inputs["posteriors"])["ece"].mean(), rel=1e-5)
    assert error["ci_low"] < error["ece"] < error["ci_high"]
    said = "\n".join(text.get_text() for text in drawn_texts(figure))
    assert f"ECE {error['ece']:.3f}\n[{error['ci_low']:.3f}, {error['ci_high']:.3f}]" in said


def test_risk_falls_as_uncertain_subjects_are_set_aside(tmp_path: Path) -> None:
    inputs, context = make_posteriors(tmp_path, structures=1, subjects=4)
    rows = read_frame(inputs["posteriors"])
    rows["dice"], rows["uncertainty"] = [0.9, 0.5, 0.7, 0.3], [0.1, 0.3, 0.2, 0.4]
    rows["in_interval"] = [True, True, True, False]
    write_table(inputs["posteriors"], rows)
    _, table = risk_coverage.draw(inputs, context)
    risk = table[table["kind"] == "risk"]
    np.testing.assert_allclose(risk["coverage"], [0.25, 0.5, 0.75, 1])
    np.testing.assert_allclose(risk["risk"], [0.1, 0.2, 0.3, 0.4])
    kinds = table.set_index("kind")
    assert kinds.loc["spearman", "value"] == pytest.approx(-1)
    # Wilson's interval of 3 of 4, as R's prop.test(3, 4, correct = FALSE) prints it.
    hits = kinds.loc["volume_interval", ["value", "ci_low", "ci_high"]].tolist()
    assert hits == pytest.approx([0.75, 0.3006418, 0.9544127], abs=1e-6)


def test_intervals_of_rho_are_those_of_bonett_and_wright() -> None:
    ranks = np.arange(20.0)
    dice = ranks.copy()
    dice[:10] = dice[:10][::-1]
    rows = pd.DataFrame({"uncertainty": ranks, "dice": dice})
    found = risk_coverage._correlation(rows, 0.95).iloc[0]
    rho = 1 - 6 * ((ranks - dice) ** 2).sum() / (20 * 399)
    half = 1.959964 * np.sqrt((1 + rho**2 / 2) / 17)
    assert found["value"] == pytest.approx(rho)
    assert found["ci_low"] == pytest.approx(np.tanh(np.arctanh(rho) - half), abs=1e-6)
    assert found["ci_high"] == pytest.approx(np.tanh(np.arctanh(rho) + half), abs=1e-6)


def test_structures_that_are_absent_everywhere_have_no_panel(tmp_path: Path) -> None:
    inputs, context = make_posteriors(tmp_path, structures=2)
    for name in ("nsd_curve", "posteriors"):
        rows = read_frame(inputs[name])
        absent = rows["structure"] == "structure_2"
        rows.loc[absent, [c for c in ("nsd", "dice", "uncertainty") if c in rows]] = np.nan
        write_table(inputs[name], rows)
    assert set(nsd_curve.draw(inputs, context)[1]["structure"]) == {"structure_1"}
    assert set(risk_coverage.draw(inputs, context)[1]["structure"]) == {"structure_1"}

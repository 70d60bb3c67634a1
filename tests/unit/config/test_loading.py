from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from crossfold.config.loading import load_config
from crossfold.config.root import Config
from crossfold.errors import CrossfoldError

REPOSITORY = Path(__file__).parents[3]
PHANTOM = {"source": "phantom", "subjects": 8}
MODEL: dict[str, Any] = {"dataset": "ct", "images": ["ct"], "structures": ["organ", "tumour"]}


def load(**models: Any) -> Config:
    return load_config({"datasets": {"ct": PHANTOM}, "models": models})


def error_of(raw: dict[str, Any], *files: Path) -> CrossfoldError:
    with pytest.raises(CrossfoldError) as raised:
        load_config(raw, files)
    return raised.value


def test_the_configuration_of_the_checkout_is_valid() -> None:
    file = REPOSITORY / "config.yaml"
    config = load_config(yaml.safe_load(file.read_text(encoding="utf-8")), [file])
    assert {"Prostate", "ProstateMR", "Hippocampus", "HippocampusQuick"} <= {*config.models}
    assert "ProstateBase" not in config.models
    assert config.model("Prostate").structures[0] == "external"


def test_what_is_not_written_has_its_default() -> None:
    config = load(Model=MODEL)
    assert config.model("Model").splits.folds == 5
    assert config.state_dir == ".state"


def test_an_unknown_model_has_a_suggestion() -> None:
    with pytest.raises(CrossfoldError, match="did you mean `Model`"):
        load(Model=MODEL).model("Modle")


@pytest.mark.parametrize(
    ("section", "message", "remedy"),
    [
        ({"epochs": 0}, "training.epochs: is 0", "greater than 0"),
        ({"epochs": "ten"}, "training.epochs: is 'ten'", "valid integer"),
        ({"epoch": 3}, "training.epoch: unknown key `epoch`", "did you mean `epochs`?"),
        ({"augmentation": {"gian": 1}}, "training.augmentation.gian: unknown key", "`gain`"),
        (
            {"augmentation": [{"method": "mirror"}, {"method": "blurr"}]},
            "training.augmentation.1: unknown method `blurr`",
            "did you mean `blur`?",
        ),
        (
            {"augmentation": [{"method": "mirror", "axis": ["x"]}]},
            "training.augmentation.0.axis: unknown key `axis`",
            "did you mean `axes`?",
        ),
        (
            {"augmentation": [{"_target_": "Ghosting"}]},
            "training.augmentation.0._target_: has to be an import path",
            "",
        ),
        ({"augmentation": ["mirror"]}, "training.augmentation.0: write {method: mirror}", ""),
        ({"devices": 4}, "training: devices: 4 of them cannot share 2 crops", "a multiple of it"),
        ({"patch_size": [1, 2]}, "training.patch_size", ""),
    ],
)
def test_a_bad_value_is_named_with_its_remedy(
    section: dict[str, Any], message: str, remedy: str
) -> None:
    error = error_of({"datasets": {"ct": PHANTOM}, "models": {"M": {**MODEL, "training": section}}})
    assert f"models.M.{message}" in error.message
    assert remedy in str(error).partition("Remedy: ")[2]


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        ({"modles": {}}, "modles: unknown key"),
        ({"datasets": {"d": {"source": "folders"}}}, "datasets.d"),
        ({"datasets": {"d": {"source": "phantom", "subjects": 0}}}, "datasets.d.phantom.subjects"),
        ({"models": {"1M": MODEL}}, "models.1M: not a name"),
        ({"models": {"M/N": MODEL}}, "models.M/N: not a name"),
        ({"models": {"M": [1]}}, "models.M: is [1]"),
        ({"models": {"M": {}}}, "models.M.dataset: missing"),
        ({"models": {"M": MODEL}}, "models.M.dataset: unknown dataset `ct`"),
        ({"statistics": {"confidence": 95}}, "statistics.confidence: is 95"),
        ({"figures": {"dpi": "fine"}}, "figures.dpi: is 'fine'"),
    ],
)
def test_every_section_is_checked(raw: dict[str, Any], message: str) -> None:
    assert message in str(error_of({"datasets": {}, "models": {}, **raw}))


def test_all_problems_of_a_section_are_listed() -> None:
    training = {"epochs": 0, "batch_size": 0}
    error = error_of(
        {"datasets": {"ct": PHANTOM}, "models": {"M": {**MODEL, "training": training}}}
    )
    assert "training.epochs: is 0" in str(error)
    assert "training.batch_size: is 0" in str(error)


def test_the_file_that_a_value_came_from_is_named(tmp_path: Path) -> None:
    base, overlay = tmp_path / "config.yaml", tmp_path / "lab.yaml"
    models = {"B": {"abstract": True, "training": {"epochs": 0}}, "M": {"base": "B", **MODEL}}
    base.write_text(yaml.safe_dump({"models": models}))
    overlay.write_text(yaml.safe_dump({"figures": {"dpi": -1}, "models": {"M": {"base": "B"}}}))
    raw = {"datasets": {"ct": PHANTOM}, "models": models}
    # The value stands in the base, in the weaker of both files.
    assert error_of(raw, base, overlay).message == f"{base}: models.B.training.epochs: is 0"
    figures = error_of({"figures": {"dpi": -1}}, base, overlay)
    assert figures.message == f"{overlay}: figures.dpi: is -1"
    assert "command line: statistics.seed" in str(error_of({"statistics": {"seed": "x"}}, base))


def test_an_abstract_model_is_no_model_but_its_bases_are_checked() -> None:
    assert [*load(B={"abstract": True}, M={"base": "B", **MODEL}).models] == ["M"]
    with pytest.raises(CrossfoldError, match="unknown model `X`"):
        load(B={"abstract": True, "base": "X"})


def test_an_ensemble_needs_a_test_set() -> None:
    config = load(Tested=MODEL, Untested={**MODEL, "splits": {"test": 0}})
    config.require_test("Tested")
    with pytest.raises(CrossfoldError, match=r"models\.Untested\.splits\.test.*no test subject"):
        config.require_test("Untested")


def test_only_epochs_that_are_kept_can_be_evaluated() -> None:
    config = load(M={**MODEL, "training": {"epochs": 7, "checkpoints": {"every": 3}}})
    assert [config.epoch_of(run) for run in ("M", "M@3", "M@7")] == [7, 3, 7]
    with pytest.raises(CrossfoldError, match="no checkpoint of epoch 4") as raised:
        config.epoch_of("M@4")
    assert "choose one of 3, 6, 7" in raised.value.remedy


def test_a_dataset_is_here_when_it_is_made_imported_or_at_its_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DATA", str(tmp_path))
    monkeypatch.delenv("NOWHERE", raising=False)
    paths = {"there": "$DATA", "gone": "$DATA/gone", "unset": "$NOWHERE", "imported": "$NOWHERE"}
    datasets = {name: {"source": "nnunet", "path": path} for name, path in paths.items()}
    (tmp_path / "data" / "imported").mkdir(parents=True)
    (tmp_path / "data" / "imported" / "dataset.csv").touch()
    config = load_config({"datasets": {"ct": PHANTOM, **datasets}, "models": {}})
    here = [name for name in config.datasets if config.dataset_is_here(name)]
    assert here == ["ct", "there", "imported"]


def with_statistics(**statistics: Any) -> dict[str, Any]:
    models = {"A": MODEL, "B": MODEL, "C": {**MODEL, "dataset": "other"}}
    datasets = {"ct": PHANTOM, "other": PHANTOM}
    return {"datasets": datasets, "models": models, "statistics": statistics}


@pytest.mark.parametrize(
    ("statistics", "message", "remedy"),
    [
        ({"compare": ["D"]}, "statistics.compare.*.0: unknown model `D`", "`A`"),
        ({"compare": {"D": ["A"]}}, "statistics.compare.D: unknown model", "`A`"),
        ({"compare": {"A": ["B@0"]}}, "A.0: `B@0`: no checkpoint of epoch `0`", "choose one of"),
        ({"compare": {"A": ["B@best"]}}, "`B@best`: no checkpoint of epoch `best`", "choose one"),
        ({"compare": {"A": ["../old.txt"]}}, "unknown model `../old.txt`", "in .csv"),
        ({"compare": {"A": ["A"]}}, "two runs are named `A`", "label"),
        ({"compare": {"A": ["B", {"model": "B@3", "label": "B"}]}}, "two runs are named `B`", ""),
        ({"compare": {"A": [{"modle": "B"}]}}, "A.0.modle: unknown key", "did you mean `model`"),
        ({"primary_structures": ["orgn"]}, "unknown structure `orgn`", "did you mean `organ`"),
        ({"exclude_structures": ["skin"]}, "unknown structure `skin`", "`organ`"),
        ({"reference": "D"}, "statistics.reference: `D` is no compared run", "`A`"),
        ({"margins": {"dcie": 0.1}}, "statistics.margins.dcie", "dice"),
    ],
)
def test_what_statistics_name_has_to_exist(
    statistics: dict[str, Any], message: str, remedy: str
) -> None:
    text = str(error_of(with_statistics(**statistics)))
    assert message in text
    assert remedy in text


def test_a_list_for_all_models_compares_those_of_one_dataset() -> None:
    config = load_config(with_statistics(compare=["A", "B", "C", "x/metrics.csv"]))
    assert [run.name for run in config.compared_with("A")] == ["B", "x"]
    assert [run.name for run in config.compared_with("A@3")] == ["A", "B", "x"]
    assert [run.name for run in config.compared_with("C")] == ["x"]


def test_an_epoch_is_not_compared_with_itself() -> None:
    config = load_config(with_statistics(compare={"A": ["A@60", "B"]}))
    assert [run.name for run in config.compared_with("A@60")] == ["B"]


def test_lists_of_models_and_for_all_add_up() -> None:
    config = load_config(with_statistics(compare={"*": ["x/metrics.csv"], "A": ["C"]}))
    assert [run.name for run in config.compared_with("A")] == ["C", "x"]
    assert [run.name for run in config.compared_with("B")] == ["x"]


def test_every_run_has_one_colour_in_all_figures() -> None:
    raw = with_statistics(compare=["x/metrics.csv"]) | {"figures": {"colours": {"B": "#123456"}}}
    colours = load_config(raw).colours()
    assert list(colours) == ["A", "B", "C", "x"]
    assert colours["B"] == "#123456"
    assert len(set(colours.values())) == 4


def test_a_base_that_is_not_there_is_named_with_its_file(tmp_path: Path) -> None:
    raw = {"models": {"Mine": {"base": "Middle"}, "Middle": {"abstract": True, "base": "Bse"}}}
    (file := tmp_path / "lab.yaml").write_text(yaml.safe_dump(raw))
    message = error_of({"datasets": {"ct": PHANTOM}, **raw}, file).message
    assert f"{file}: models.Middle.base: unknown model `Bse` (Mine -> Middle -> Bse)" in message


def test_abstract_is_true_or_false() -> None:
    raw = {"models": {"Mine": {"abstract": "sometimes"}}}
    assert "models.Mine.abstract: is 'sometimes'" in error_of(raw).message


def test_a_wrong_value_of_a_base_of_ours_is_named_with_its_file() -> None:
    raw = {
        "datasets": {"ct": PHANTOM},
        "models": {"M": {"base": "innereye.GbmBase", "dataset": "ct", "training": {"epochs": 60}}},
    }
    assert "test_epochs: no checkpoint of epoch 70" in error_of(raw).message


def test_an_import_path_may_have_a_colon() -> None:
    model = load(M={**MODEL, "hooks": {"post_cross_validation": "my_lab.hooks:notify"}}).model("M")
    assert model.hooks.post_cross_validation == "my_lab.hooks.notify"
    raw = {"models": {"M": {**MODEL, "hooks": {"post_cross_validation": "notify"}}}}
    error = error_of({"datasets": {"ct": PHANTOM}, **raw})
    assert "models.M.hooks.post_cross_validation: has to be an import path" in error.message


def test_a_model_without_a_hook_cannot_be_asked_to_call_it() -> None:
    with pytest.raises(CrossfoldError, match=r"models\.M\.hooks\.post_cross_validation: names no"):
        load(M=MODEL).hook_of("M", "post_cross_validation")

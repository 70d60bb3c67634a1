from __future__ import annotations

from pathlib import Path

import pytest

from crossfold.__main__ import main
from tests.unit.registry.bundles import make_bundle, verify

VARIABLES = ("AZUREML_SUBSCRIPTION_ID", "AZUREML_RESOURCE_GROUP", "AZUREML_WORKSPACE_NAME")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with two bundles, and no workspace."""
    monkeypatch.chdir(tmp_path)
    for variable in VARIABLES:
        monkeypatch.delenv(variable, raising=False)
    verify(make_bundle(tmp_path / "results/Prostate/model", "first", images=["ct"]))
    make_bundle(tmp_path / "results/Other/model", "second", images=["T1", "T2"])
    return tmp_path


def test_models_are_added_listed_marked_and_shown(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["models"])
    assert "There are no models in registry" in capsys.readouterr().out
    main(["models", "add", "results/Prostate/model"])
    main(["models", "add", "results/Other/model"])
    main(["models", "add", "results/Prostate/model"])
    assert capsys.readouterr().out.splitlines() == [
        *("Prostate:1 in registry/Prostate/1", "Prostate:2 in registry/Prostate/2"),
        "Nobody has shown that it gives what the pipeline gave: see docs/bundle.md",
        "Prostate:1 in registry/Prostate/1",
    ]
    main(["models", "use", "Prostate:1"])
    assert not main(["models"])
    said, header, first, second = capsys.readouterr().out.splitlines()
    assert said.startswith("Prostate:1 is the current version of Prostate")
    assert header.split() == [
        *("name", "version", "current", "registered", "Dice", "commit", "where"),
    ]
    assert first.split()[:3] == ["Prostate", "1", "current"]
    assert second.split()[0:2] + second.split()[3:] == [
        *("Prostate", "2", "0.8500", "0123abc", "registry/Prostate/2"),
    ]
    assert not main(["models", "show", "Prostate:2"])
    shown = capsys.readouterr().out
    assert "Test Dice, 8 subjects: bladder 0.900;" in " ".join(shown.split())
    assert "registry/Prostate/2/model" in shown
    assert "T1, T2" in shown
    command = "crossfold predict --model Prostate:2 --image T1=T1.nii.gz --image T2=T2.nii.gz"
    assert command in shown


def test_damage_is_said_and_is_the_exit_status(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["models", "add", "results/Prostate/model", "--name", "Pelvis", "--registry", "shared"])
    weights = here / "shared/Pelvis/1/model/models/fold_0.safetensors"
    weights.write_text("altered")
    assert main(["models", "--registry", "shared", "show", "Pelvis"]) == 1
    assert "fold_0.safetensors is altered" in capsys.readouterr().out
    (here / "shared/Pelvis/1/registration.json").unlink()
    assert main(["models", "--registry", "shared"]) == 1
    assert "Pelvis:1 is damaged" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["show", "Prostate:9"], "choose one of Prostate:1"),
        (["show", "Prostat"], "did you mean `Prostate`"),
        (["use", "Prostate"], "which version"),
        (["add", "results"], r"there is no hashes\.json"),
        (["pull", "Prostate:1"], "No Azure Machine Learning workspace"),
        (["pull", "--local", "Prostate:1"], "nothing is pulled from a folder"),
    ],
)
def test_mistakes_are_said_in_a_sentence(here: Path, arguments: list[str], message: str) -> None:
    main(["models", "add", "results/Prostate/model"])
    with pytest.raises(SystemExit, match=message):
        main(["models", *arguments])


def test_models_of_a_workspace_are_listed_with_those_that_were_pulled(
    here: Path, azureml_here: object, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("snakemake_executor_plugin_azureml")
    main(["models", "add", "results/Prostate/model"])
    assert capsys.readouterr().out == "Prostate:1 in AzureML emulator-workspace\n"
    main(["models", "show", "Prostate:1"])
    shown = capsys.readouterr().out
    assert "crossfold models pull Prostate:1" in shown
    assert "never" in shown.split("marked")[1].split("\n")[0]
    main(["models", "pull", "Prostate:1"])
    main(["models", "use", "Prostate:1"])
    main(["models", "show", "Prostate"])
    assert "registry/Prostate/1/model" in capsys.readouterr().out
    main(["models"])
    lines = capsys.readouterr().out.splitlines()[1:]
    assert [line.split("  ")[-1] for line in lines] == [
        *("AzureML emulator-workspace", "registry/Prostate/1"),
    ]
    assert main(["models", "--local"]) == 0
    assert "AzureML" not in capsys.readouterr().out

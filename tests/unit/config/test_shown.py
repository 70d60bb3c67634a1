from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from crossfold.__main__ import main
from crossfold.config.shown import merge_files, show_model
from crossfold.errors import CrossfoldError

SITE = """\
datasets:
  ct: {source: phantom, subjects: 8}
models:
  Base:
    abstract: true
    images: [ct]
    structures: [organ]
    training:
      epochs: 7
      seed: 1
  Mine:
    base: Base
    dataset: ct
    training: {seed: 2}
"""
LAB = """\
models:
  Mine:
    base: Base
    training:
      seed: 3
      schedule: {method: cosine}
"""


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    monkeypatch.chdir(tmp_path)
    Path("config.yaml").write_text(SITE)
    Path("lab.yaml").write_text(LAB)
    return [Path("config.yaml"), Path("lab.yaml")]


def comments(lines: list[str]) -> dict[str, str]:
    """Comments by key and value."""
    parts = [line.partition(" # ") for line in lines]
    return {written.strip(): comment for written, sign, comment in parts if sign}


def test_every_value_has_its_file_line_and_base(files: list[Path]) -> None:
    lines = [*show_model("Mine", files)]
    assert lines[0] == "# Mine -> Base"
    shown = comments(lines)
    assert shown["dataset: ct"] == "config.yaml:13"
    assert shown["images: [ct]"] == "config.yaml:6 (Base)"
    assert shown["epochs: 7"] == "config.yaml:9 (Base)"
    assert shown["method: cosine"] == "lab.yaml:6"
    assert shown["learning_rate: 0.006"] == "default"
    assert "      power" not in "".join(lines)


def test_what_is_shown_is_the_configuration(files: list[Path]) -> None:
    shown = yaml.safe_load("\n".join(show_model("Mine", files)))
    assert shown["training"]["seed"] == 3
    assert shown["training"]["epochs"] == 7
    again = {"datasets": yaml.safe_load(SITE)["datasets"], "models": {"Mine": shown}}
    Path("again.yaml").write_text(yaml.safe_dump(again))
    assert yaml.safe_load("\n".join(show_model("Mine", [Path("again.yaml")]))) == shown


def test_a_base_is_shown_without_defaults(files: list[Path]) -> None:
    lines = [*show_model("Base", files)]
    assert lines[0].startswith("# Base (abstract")
    assert set(yaml.safe_load("\n".join(lines))) == {"images", "structures", "training"}
    [power] = [line for line in show_model("innereye.GbmBase", files) if "power" in line]
    assert power.endswith("innereye.yaml:31 (innereye.LargeModelBase)")


def test_the_command_layers_files(files: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    main(["config", "show", "Mine", "--configfile", "lab.yaml"])
    assert comments(capsys.readouterr().out.splitlines())["method: cosine"] == "lab.yaml:6"
    with pytest.raises(SystemExit, match="unknown model `Mien`"):
        main(["config", "show", "Mien"])


def test_the_strongest_file_wins_key_by_key(files: list[Path]) -> None:
    merged = merge_files(files)["models"]
    assert merged["Mine"]["training"] == {"seed": 3, "schedule": {"method": "cosine"}}
    assert merged["Base"]["training"]["epochs"] == 7


@pytest.mark.parametrize(("text", "message"), [("[1]", "no mapping"), ("a: [", "bad.yaml")])
def test_a_file_that_is_no_configuration(files: list[Path], text: str, message: str) -> None:
    Path("bad.yaml").write_text(text)
    with pytest.raises(CrossfoldError, match=message):
        merge_files([Path("bad.yaml")])


def test_a_file_that_is_not_there(files: list[Path]) -> None:
    with pytest.raises(CrossfoldError, match=r"no\.yaml"):
        merge_files([Path("no.yaml")])

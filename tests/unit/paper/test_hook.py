from __future__ import annotations

import logging
import sys
from pathlib import Path
from types import ModuleType

import pytest

from crossfold.errors import CrossfoldError
from crossfold.paper.hook import call_hook


def notify(config: dict[str, int], folder: Path) -> None:
    print(folder.name, config["epochs"])


def fail(config: dict[str, int], folder: Path) -> None:
    print("so far")
    raise ConnectionError("no network")


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    lab = ModuleType("lab_of_tests")
    lab.notify, lab.fail = notify, fail  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "lab_of_tests", lab)
    (tmp_path / "Mine").mkdir()
    file = tmp_path / "Mine" / "config.json"
    file.write_text('{"epochs": 3}')
    return file


def test_what_it_prints_is_kept(config: Path, tmp_path: Path) -> None:
    output = tmp_path / "Mine/hooks/said.txt"
    call_hook("lab_of_tests.notify", config, output)
    assert output.read_text() == "Mine 3\n"


def test_its_error_leaves_no_output_and_a_traceback_in_the_log(
    config: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    output = tmp_path / "said.txt"
    with caplog.at_level(logging.INFO), pytest.raises(CrossfoldError) as raised:
        call_hook("lab_of_tests.fail", config, output)
    assert "lab_of_tests.fail: ConnectionError: no network" in raised.value.message
    assert "Mine are there" in raised.value.remedy
    assert "so far" in caplog.text
    assert "in fail" in caplog.text
    assert not output.exists()


def test_it_has_to_be_there(config: Path, tmp_path: Path) -> None:
    with pytest.raises(CrossfoldError, match=r"cannot import lab_of_tests\.notfy"):
        call_hook("lab_of_tests.notfy", config, tmp_path / "said.txt")

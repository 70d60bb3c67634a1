from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from crossfold.config.schema import SCHEMA, config_schema, write_schema

REPOSITORY = Path(__file__).parents[3]


def test_the_schema_in_git_is_that_of_the_code(tmp_path: Path) -> None:
    write_schema(tmp_path / "schema.json")
    generated = (tmp_path / "schema.json").read_text(encoding="utf-8")
    assert SCHEMA.read_text(encoding="utf-8") == generated, (
        "run `python -m crossfold.config.schema` after a change of crossfold/config"
    )


def properties(node: Any, path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    if isinstance(node, dict):
        for name, section in node.get("properties", {}).items():
            yield f"{path}.{name}", section
        for name, child in node.items():
            yield from properties(child, f"{path}.{name}")


def test_every_key_has_a_description() -> None:
    silent = [path for path, section in properties(config_schema()) if "description" not in section]
    assert silent == []


@pytest.mark.parametrize("name", ["config.yaml", "tests/configs/tiny.yaml"])
def test_editors_accept_our_configurations(name: str) -> None:
    validator = pytest.importorskip("jsonschema").Draft202012Validator(
        json.loads(SCHEMA.read_text())
    )
    config = yaml.safe_load((REPOSITORY / name).read_text(encoding="utf-8"))
    assert [error.message for error in validator.iter_errors(config)] == []


def test_editors_mark_an_unknown_key() -> None:
    validator = Draft202012Validator(config_schema())
    config = {"datasets": {}, "models": {"M": {"base": "B", "trainign": {}}}}
    assert [error.path[-1] for error in validator.iter_errors(config)] == ["M"]

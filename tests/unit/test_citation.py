"""CITATION.cff is what archives and GitHub read: it has to be whole, and agree with the package."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from crossfold import __version__

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def citation() -> dict[str, Any]:
    return yaml.safe_load((REPOSITORY / "CITATION.cff").read_text(encoding="utf-8"))


def test_it_has_what_the_format_requires_and_archives_ask_for(citation: dict[str, Any]) -> None:
    required = {"cff-version", "message", "title", "authors"}
    asked_for = {"type", "abstract", "version", "license", "keywords"}
    assert {key for key, value in citation.items() if value} >= required | asked_for
    assert citation["cff-version"] == "1.2.0"
    assert all(author.keys() & {"name", "family-names"} for author in citation["authors"])


def test_it_agrees_with_the_package(citation: dict[str, Any]) -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert citation["version"] == __version__
    assert citation["license"] == project["license"]
    assert citation["authors"] == project["authors"]
    licence = (REPOSITORY / "LICENSE").read_text(encoding="utf-8")
    assert re.match(rf"{citation['license']} License", licence)

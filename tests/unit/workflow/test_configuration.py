from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

from crossfold import workflow


def test_overlays_are_stronger_than_the_configuration_of_the_checkout(tmp_path: Path) -> None:
    overlay = tmp_path / "lab.yaml"
    # In the order in which Snakemake lists them.
    run = SimpleNamespace(
        configfiles=[overlay, "config.yaml"],
        config_settings=SimpleNamespace(configfiles=[overlay]),
    )
    names = [file.name for file in workflow.configuration_files(run)]
    assert names == ["config.yaml", "lab.yaml"]

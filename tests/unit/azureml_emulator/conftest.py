from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2]))

from azureml_emulator.fixtures import azureml, azureml_address, azureml_here, azurite  # noqa: F401


def pytest_configure(config: pytest.Config) -> None:
    """Keep hundreds of warnings of azure-ai-ml about itself out of the summary."""
    for module in ("azure", "azureml", "marshmallow", "msrest"):
        config.addinivalue_line("filterwarnings", f"ignore:::{module}")

"""Which configuration files a run has read."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any


def configuration_files(workflow: Any) -> list[Path]:
    """Return the configuration files of a run, the strongest last."""
    overlays = [Path(file).resolve() for file in workflow.config_settings.configfiles]
    files = [Path(file).resolve() for file in workflow.configfiles]
    files = [file for file in files if file not in overlays] + overlays
    return [Path(os.path.relpath(file)) for file in dict.fromkeys(files)]

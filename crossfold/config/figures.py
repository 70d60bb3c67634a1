"""`figures:` of config.yaml."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, PositiveFloat, PositiveInt

from crossfold.config.base import Section


class FiguresConfig(Section):
    """How figures look; changing it redraws them and retrains nothing."""

    width_mm: PositiveFloat = Field(180.0, le=400)
    """Width of a figure in mm."""
    dpi: PositiveInt = Field(300, le=1200)
    """Resolution of PNG files and of pictures inside PDF files, in dots per inch."""
    font_size_pt: PositiveFloat = 7.0
    """Size of text in points."""
    plane: Literal["axial", "coronal", "sagittal"] = "axial"
    """Plane that the montage shows."""

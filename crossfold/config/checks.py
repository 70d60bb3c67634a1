"""The section `checks` of a model: how strict Crossfold is with its images and contours."""

from typing import Literal

from pydantic import Field

from crossfold.config.base import Section


class ChecksConfig(Section):
    """What is tested before the first job trains, and what follows from a problem."""

    on_problem: Literal["stop", "exclude"] = "stop"
    """Stop when a subject has an error, or exclude that subject and list it in every report."""
    overlap: Literal["error", "later_wins"] = "error"
    """Voxels in two structures: an error, or a warning and the later structure keeps them."""
    empty_structure: Literal["warning", "error"] = "warning"
    """How to report a structure without a voxel in one subject."""
    spacing_factor: float = Field(default=3.0, gt=1)
    """Warn when the voxel size along an axis is this many times off the dataset's median."""
    affine_tolerance_mm: float = Field(default=0.1, ge=0)
    """How far the grids of one subject's files may lie apart at the corners of the image, in mm."""

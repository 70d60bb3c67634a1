"""What a workspace knows of a registered model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime


@dataclass(frozen=True, kw_only=True)
class ModelInfo:
    """One version of a registered model.

    Attributes
    ----------
    created
        When it was registered; None where the service does not say.
    """

    name: str
    version: int
    description: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)
    created: datetime | None = None

"""`figures:` of config.yaml."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from pydantic import Field, PositiveFloat, PositiveInt

from crossfold.config.base import Section

Colour = Annotated[str, Field(pattern="^#[0-9A-Fa-f]{6}$")]

# Okabe and Ito (2008): told apart by readers with any colour vision, also in print. Without their
# yellow: thin lines in it vanish on white.
OKABE_ITO = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")


class FiguresConfig(Section):
    """How figures look; changing it redraws them and retrains nothing."""

    column_mm: PositiveFloat = Field(85.0, le=400)
    """Width of a figure over one column, in mm."""
    width_mm: PositiveFloat = Field(180.0, le=400)
    """Width of a figure over the whole page, in mm."""
    dpi: PositiveInt = Field(300, le=1200)
    """Resolution of PNG files and of pictures inside PDF files, in dots per inch."""
    font_size_pt: PositiveFloat = 7.0
    """Size of text in points."""
    colours: dict[str, Colour] = {}
    """Colours of runs by name, such as "#0072B2"; others take the next of Okabe and Ito's."""

    def colour_of_runs(self, names: Sequence[str]) -> dict[str, str]:
        """Return a colour for each name: the configured one, or the next of Okabe and Ito's."""
        return {
            name: self.colours.get(name, OKABE_ITO[i % len(OKABE_ITO)])
            for i, name in enumerate(names)
        }

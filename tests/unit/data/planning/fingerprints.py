"""Made-up fingerprints."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from hypothesis import strategies as st

from crossfold.data.planning.fingerprint import (
    Channel,
    Fingerprint,
    Grid,
    Structure,
    candidate_spacings,
)

ORGAN = Structure(1.0, 40.0, 0.02, (50.0, 45.0, 45.0), 1.0, 0.9)
MR = Channel(False, (50.0, 900.0), 0.0, 2.5)
CT = Channel(True, (-10.0, 140.0), 0.0, 1.1)


def grids_of(
    spacing_mm: tuple[float, float, float], loss_per_mm: float, name: str = "organ"
) -> tuple[Grid, ...]:
    """Grids on which a structure loses the more of itself, the coarser they are."""
    first = min(spacing_mm)
    grids = [
        Grid(spacing, {name: round(max(0.0, 1 - loss_per_mm * (min(spacing) - first)), 4)})
        for spacing in candidate_spacings(spacing_mm)
    ]
    return (grids[0], *(grid for grid in grids[1:] if grid.worst >= 0.5))


def fingerprint(**changed: Any) -> Fingerprint:
    """An MR of 200 x 200 x 24 voxels with one organ in the middle."""
    base = Fingerprint(
        subjects=60,
        per_fold=40,
        shape=(200.0, 200.0, 24.0),
        spacing_mm=(0.6, 0.6, 3.6),
        spacing_range_mm=((0.5, 0.5, 3.0), (0.7, 0.7, 4.0)),
        extent_mm=(120.0, 120.0, 86.4),
        largest_mm=(140.0, 140.0, 100.0),
        channels={"image": MR},
        structures={"organ": ORGAN},
        foreground_mm=(60.0, 55.0, 55.0),
        grids=grids_of((0.6, 0.6, 3.6), 0.02),
        side_pairs=(),
    )
    return replace(base, **changed)


@st.composite
def fingerprints(draw: st.DrawFn) -> Fingerprint:
    """Anything from a slice to a whole body, from one subject to thousands."""
    spacing = tuple(draw(st.sampled_from([0.05, 0.3, 0.625, 1.0, 2.5, 7.0])) for _ in range(3))
    shape = tuple(float(draw(st.integers(1, 600))) for _ in range(3))
    extent = np.multiply(spacing, shape)
    share = draw(st.floats(0.01, 1))
    inside = tuple(float(max(s, share * e)) for s, e in zip(spacing, extent, strict=True))
    organ = Structure(
        present=1.0,
        volume_ml=float(np.prod(inside) / 2000),
        share=share**3 / 2,
        extent_mm=inside,
        one_piece=draw(st.floats(0, 1)),
        mirrored=draw(st.floats(0, 1)),
    )
    x, y, z = spacing
    return fingerprint(
        subjects=(count := draw(st.integers(2, 5000))),
        per_fold=max(1, count * 4 // 5),
        shape=shape,
        spacing_mm=spacing,
        spacing_range_mm=(spacing, spacing),
        extent_mm=tuple(map(float, extent)),
        largest_mm=tuple(float(e) for e in 1.5 * extent),
        channels={"image": draw(st.sampled_from([MR, CT]))},
        structures={"organ": organ},
        foreground_mm=inside,
        grids=grids_of((x, y, z), draw(st.floats(0.001, 0.5))),
    )

"""Who is scanned, and what differs from one visit to the next."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from crossfold.data.phantom.shapes import random_stream


@dataclass(frozen=True)
class Patient:
    """What two scans of one person have in common; lengths in mm, volumes in ml."""

    key: tuple[int, int]
    size: float
    half_width_mm: float
    half_depth_mm: float
    fat_mm: float
    prostate_ml: float
    vesicles_ml: float

    @classmethod
    def draw(cls, seed: int, number: int) -> Patient:
        """Draw the patient behind subject `number`."""
        random = random_stream(seed, number, "patient")
        obesity = random.beta(2, 2)
        size = random.uniform(0.93, 1.06)
        return cls(
            key=(seed, number),
            size=size,
            half_width_mm=size * (157 + 13 * obesity),
            half_depth_mm=size * (99 + 19 * obesity),
            fat_mm=7 + 22 * obesity,
            prostate_ml=float(np.exp(random.uniform(np.log(25), np.log(80)))),
            vesicles_ml=random.uniform(6, 15),
        )

    def stream(self, organ: str) -> np.random.Generator:
        """Generator of the anatomy of one organ."""
        return random_stream(*self.key, organ)


@dataclass(frozen=True)
class Visit:
    """What differs between two scans of one person; volumes in ml, angles in degrees."""

    key: tuple[int, int]
    bladder_ml: float
    rectum_ml: float
    rectum_gas: float
    angles_deg: tuple[float, float, float]
    shift_mm: tuple[float, float, float]

    @classmethod
    def draw(cls, seed: int, number: int) -> Visit:
        """Draw the visit at which subject `number` was scanned."""
        random = random_stream(seed, number, "visit")
        return cls(
            key=(seed, number),
            bladder_ml=62 + 320 * random.beta(1.0, 1.6),
            rectum_ml=random.uniform(48, 105),
            rectum_gas=max(0.0, random.uniform(-0.5, 0.9)),
            angles_deg=tuple(random.normal(0, (3.5, 2.0, 2.5))),
            shift_mm=tuple(random.normal(0, (2.5, 2.5, 7))),
        )

    def stream(self, organ: str) -> np.random.Generator:
        """Generator of what the day did to one organ."""
        return random_stream(*self.key, "day", organ)

"""A bundle whose networks are random: small, and the same each time."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import torch
from numpy.typing import NDArray

from crossfold import __version__
from crossfold.learning.checkpoints import NetworkCard, save_checkpoint

AFFINE = np.diag([-2.0, -2.0, 3.0, 1.0])
SHAPE = (24, 20, 12)
STRUCTURES = ("bladder", "prostate")


def write_random_bundle(
    folder: Path, *, channels: Sequence[str] = ("ct",), folds: int = 2, **keys: Any
) -> Path:
    """Write a bundle for CT of `SHAPE` and `AFFINE`; keys replace those of its model.json."""
    arguments = {
        "in_channels": len(channels),
        "out_channels": 1 + len(STRUCTURES),
        "channels": [4, 8],
    }
    spacing_mm = [2.0, 2.0, 4.0]
    card = NetworkCard(
        "crossfold.learning.networks.UNet",
        arguments,
        [*channels],
        [*STRUCTURES],
        spacing_mm,
        [16, 16, 8],
    )
    for fold in range(folds):
        torch.manual_seed(fold)
        save_checkpoint(folder / f"models/fold_{fold}.safetensors", card.build(), card, epoch=1)
    ct = {"percentile_0_1": [-1000, -900], "median": [-800, 60], "percentile_99_9": [300, 1500]}
    mm = [2.0, 2.0, 3.0]
    extent_mm = [float(size) for size in np.multiply(SHAPE, mm)]
    model = {
        "format": 1,
        "crossfold_version": __version__,
        "name": "Random",
        "description": "",
        "dataset": "none",
        "n_subjects": {},
        "epoch": 1,
        "images": [*channels],
        "structures": STRUCTURES,
        "derived_structures": {"both": STRUCTURES},
        "spacing_mm": spacing_mm,
        "preprocessing": {"spacing_mm": spacing_mm, "normalisation": {"method": "ct_window"}},
        "inference": {},
        "precision": "fp32",
        "mirror_pairs": [],
        "aggregation": "average",
        "postprocessing": {},
        "folds": [*range(folds)],
        "ranges": {
            "spacing_mm": [mm, mm],
            "shape": [SHAPE, SHAPE],
            "extent_mm": [extent_mm, extent_mm],
            "intensities": dict.fromkeys(channels, ct),
        },
        "network": {},
        "training": {},
        "metrics": [],
    }
    (folder / "requirements.txt").write_text("")
    (folder / "configs").mkdir(parents=True)
    (folder / "configs/model.json").write_text(json.dumps(model | keys))
    files = {
        str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted(folder.rglob("*"))
        if file.is_file()
    }
    (folder / "hashes.json").write_text(json.dumps({"format": 1, "files": files, "made_from": {}}))
    return folder


def ct(shape: Sequence[int] = SHAPE, seed: int = 0) -> NDArray[np.float32]:
    """Return air around tissue, in HU."""
    array = np.full(shape, -1000, dtype=np.float32)
    inside = tuple(slice(size // 6, size - size // 6) for size in shape)
    noise = np.random.default_rng(seed).normal(40, 150, array[inside].shape)
    array[inside] = noise.clip(-150, 1200)
    return array


def save(path: Path, array: NDArray, affine: NDArray = AFFINE) -> Path:
    """Write an image as NIfTI."""
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(array, affine), path)
    return path

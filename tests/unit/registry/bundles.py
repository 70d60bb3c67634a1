"""Bundles that are as small as they can be: files, their digests, and what they say."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from crossfold.registry.bundles import BundleFiles
from crossfold.registry.facts import Facts

ROWS = [
    {"split": split, "structure": structure, "metric": metric, "n": 8, "mean": mean}
    | {"ci_low": low, "ci_high": high}
    for split, structure, metric, mean, low, high in (
        ("test", "bladder", "dice", 0.9, None, None),
        ("test", "rectum", "dice", 0.8, 0.7, 0.85),
        ("val", "rectum", "nsd", 0.2, None, None),
        ("val", "rectum", "dice", 0.75, 0.71, 0.79),
    )
]
MADE_FROM = {"commit": "0123abc", "dataset": {"dataset": "phantom", "images": "77aa.dir"}}


def make_bundle(folder: Path, weights: str = "weights", **changed: Any) -> Path:
    """Write a bundle whose weights are a text; `changed` are keys of its description."""
    model = {"name": "Prostate", "description": "Pelvis on CT", "epoch": 20, "folds": [0, 1]}
    files = {
        "configs/model.json": json.dumps(model | {"metrics": ROWS} | changed),
        "models/fold_0.safetensors": weights,
        "docs/README.md": "# Prostate",
    }
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    digests = {name: hashlib.sha256(text.encode()).hexdigest() for name, text in files.items()}
    hashes = {"format": 1, "files": digests, "made_from": MADE_FROM}
    (folder / "hashes.json").write_text(json.dumps(hashes))
    return folder


def verify(folder: Path) -> Path:
    """Write model_verified.json beside a bundle."""
    file = folder.parent / "model_verified.json"
    file.write_text(json.dumps({"bundle": BundleFiles.read(folder).digest}))
    return file


def read(folder: Path) -> tuple[BundleFiles, Facts]:
    """What is registered of a bundle."""
    bundle = BundleFiles.read(folder)
    return bundle, Facts.of(bundle)

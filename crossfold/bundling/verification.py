"""Proof that a bundle stands on its own: a clean process gives what the pipeline gave."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from crossfold.errors import CrossfoldError
from crossfold.images import Image, atomic_path, read_labels, read_posterior, write_image
from crossfold.prediction.bundle import Bundle

logger = logging.getLogger("crossfold")


@dataclass(frozen=True)
class Expected:
    """What the pipeline gave for a subject.

    Parameters
    ----------
    subject
        Its name.
    images, mask
        As they were read.
    folds
        The members that predicted it.
    posterior, segmentation
        Files; no segmentation where that of a fold has other post-processing than the bundle.
    """

    subject: str
    images: Mapping[str, Image]
    mask: Image | None
    folds: Sequence[int]
    posterior: Path
    segmentation: Path | None


def verify_bundle(path: Path, expected: Expected, proof: Path, *, device: str = "auto") -> None:
    """Predict a subject with nothing but a bundle, and write down that nothing differs.

    The process has a folder of its own, and no code but that in the bundle.

    Parameters
    ----------
    path
        The bundle.
    expected
        The subject, and what the pipeline gave.
    proof
        File to write, `.json`.
    device
        As in `training`.

    Raises
    ------
    CrossfoldError
        If the bundle is not whole, does not run, or gives another voxel.
    """
    bundle = Bundle.read(path)
    others = bundle.other_versions()
    if others:
        logger.warning("%s: installed are other versions: %s", path, ", ".join(others))
    with tempfile.TemporaryDirectory(prefix="bundle-") as temporary:
        folder = Path(temporary)
        _predict(path.absolute(), expected, folder, device)
        found = {"posterior": read_posterior(folder / "found/posterior.nii.gz").array}
        given = {"posterior": read_posterior(expected.posterior).array}
        if expected.segmentation:
            found["segmentation"] = read_labels(folder / "found/segmentation.nii.gz").array
            given["segmentation"] = read_labels(expected.segmentation).array
    for name in found:
        _compare(f"{path}: {name} of {expected.subject}", given[name], found[name])
    content = {
        "bundle": bundle.digest,
        "subject": expected.subject,
        "folds": list(expected.folds),
        "voxels": int(found["posterior"][..., 0].size),
        "differing_voxels": dict.fromkeys(found, 0),
        "other_versions": others,
    }
    with atomic_path(proof) as file:
        file.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def _predict(path: Path, expected: Expected, folder: Path, device: str) -> None:
    """Write what the bundle says of a subject to `found` in a folder."""
    given = {f"channel_{i}": name for i, name in enumerate(expected.images)}
    arguments = [f"--bundle={path}", f"--output={folder / 'found'}", f"--device={device}"]
    for stem, name in given.items():
        file = folder / f"{stem}.nii.gz"
        write_image(file, expected.images[name].array, expected.images[name])
        arguments.append(f"--image={name}={file}")
    if expected.mask:
        write_image(folder / "mask.nii.gz", expected.mask.array, expected.mask)
        arguments.append(f"--mask={folder / 'mask.nii.gz'}")
    arguments += ["--folds", *map(str, expected.folds), "--threads", "1"]
    inherited = {name: text for name, text in os.environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run(
        [sys.executable, "-s", "-P", "-B", "-m", "crossfold.prediction", *arguments],
        cwd=folder,
        env=inherited | {"PYTHONPATH": str(path / "code")},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise CrossfoldError(
            f"{path}: does not run on its own: {done.stderr.strip()[-2000:]}",
            remedy="install its requirements.txt, and make the bundle again",
        )


def _compare(what: str, given: NDArray, found: NDArray) -> None:
    if given.shape != found.shape:
        raise CrossfoldError(
            f"{what}: has {found.shape} voxels, that of the pipeline {given.shape}",
            remedy="predict the folds again",
        )
    differing = np.argwhere(given != found)
    if len(differing):
        first = tuple(int(i) for i in differing[0])
        raise CrossfoldError(
            f"{what}: {len(differing)} of {given.size} values differ from those of the pipeline, "
            f"the first at {first}: {found[first]}, not {given[first]}",
            remedy="processors round differently: verify it on the machine that predicted the "
            "folds, or predict them here again",
        )

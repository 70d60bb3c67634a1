"""Predict one subject with a bundle and nothing else.

python -m crossfold.prediction --bundle . --image ct=ct.nii.gz --output predicted
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

from crossfold.errors import CrossfoldError
from crossfold.images import atomic_directory, read_image, read_labels, write_image, write_posterior
from crossfold.prediction.bundle import Bundle
from crossfold.prediction.subject import EnsemblePredictor


def main(arguments: list[str] | None = None) -> None:
    """Write posterior, segmentation, uncertainty, disagreement and volumes of a subject."""
    parser = argparse.ArgumentParser(prog="python -m crossfold.prediction", description=__doc__)
    parser.add_argument("--bundle", type=Path, default=Path(), help="folder of the bundle")
    parser.add_argument("--image", action="append", required=True, metavar="CHANNEL=FILE")
    parser.add_argument("--mask", type=Path, help="mask of a model that has one")
    parser.add_argument("--output", type=Path, required=True, help="folder to write")
    parser.add_argument("--folds", type=int, nargs="+", help="members to use; all by default")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")
    parser.add_argument("--threads", type=int, help="of the processor; all by default")
    options = parser.parse_args(arguments)
    try:
        _predict(options)
    except CrossfoldError as error:
        sys.exit(f"\nError: {error}\n")


def _predict(options: argparse.Namespace) -> None:
    bundle = Bundle.read(options.bundle)
    images = {}
    for entry in options.image:
        channel, _, file = entry.partition("=")
        if channel not in bundle.images and len(bundle.images) == 1:
            channel, file = bundle.images[0], entry
        images[channel] = read_image(file)
    predictor = EnsemblePredictor(
        bundle, folds=options.folds, device=options.device, threads=options.threads
    )
    mask = None
    if options.mask:
        labels = read_labels(options.mask)
        mask = replace(labels, array=(labels.array != 0).astype(np.uint8))
    found = predictor.predict(images, mask)
    with atomic_directory(options.output) as folder:
        write_image(folder / "segmentation.nii.gz", found.segmentation, found.like)
        for name in ("posterior", "uncertainty", "disagreement"):
            write_posterior(folder / f"{name}.nii.gz", getattr(found, name), found.like)
        found.volumes_ml().to_csv(folder / "volumes.csv", index=False, lineterminator="\n")


if __name__ == "__main__":
    main()

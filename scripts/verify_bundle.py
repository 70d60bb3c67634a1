"""Prove that a bundle alone gives what the pipeline gave."""

from pathlib import Path

from crossfold.bundling.verification import Expected, verify_bundle
from crossfold.data.dataset import Dataset
from crossfold.data.splits import Splits
from crossfold.paths import subject_file
from crossfold.prediction.bundle import Bundle
from crossfold.workflow import job

with job(snakemake):
    given, params = snakemake.input, snakemake.params
    dataset, splits = Dataset.read(given.csv), Splits.read(Path(given.splits))
    bundle = Bundle.read(given.bundle)
    # The ensemble has seen every subject but those of the test set; its first member has not.
    subject = splits.test[0] if splits.test else splits.subjects("val", 0)[0]
    below = "" if splits.test else "val"
    same_steps = bool(splits.test) or not params.decided
    mask = bundle.preprocessing.mask
    verify_bundle(
        bundle.path,
        Expected(
            subject=subject,
            images={channel: dataset.image(subject, channel) for channel in bundle.images},
            mask=dataset.label_map(subject, [mask]) if mask else None,
            folds=bundle.folds if splits.test else [0],
            posterior=subject_file(Path(given.posteriors) / below, subject),
            segmentation=(
                subject_file(Path(given.segmentations) / below, subject) if same_steps else None
            ),
        ),
        Path(snakemake.output[0]),
        device=snakemake.resources.device,
    )

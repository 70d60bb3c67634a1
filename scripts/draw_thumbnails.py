"""Draw a small picture of every subject."""

from pathlib import Path

from crossfold.data.dataset import Dataset
from crossfold.data.splits import Splits
from crossfold.paper.thumbnails import draw_thumbnails
from crossfold.workflow import job

with job(snakemake):
    model = snakemake.params.model
    splits = Splits.read(Path(snakemake.input.splits))
    validated = [subject for fold in splits.folds for subject in splits.subjects("val", fold)]
    draw_thumbnails(
        Dataset.read(snakemake.input.csv),
        [Path(directory) for directory in snakemake.input.segmentations],
        [*splits.test, *validated],
        image=model["images"][0],
        structures=model["structures"],
        target_directory=Path(snakemake.output[0]),
        workers=snakemake.threads,
    )

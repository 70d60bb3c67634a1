"""Predict the validation and test subjects of one fold."""

from pathlib import Path

from crossfold.config.planning import ModelPlan
from crossfold.data.dataset import Dataset
from crossfold.data.splits import Splits
from crossfold.paths import checkpoint
from crossfold.prediction.fold import predict_fold
from crossfold.prediction.member import PredictionSettings
from crossfold.workflow import job

with job(snakemake):
    splits = Splits.read(Path(snakemake.input.splits))
    validation = splits.subjects("val", int(snakemake.wildcards.fold))
    predict_fold(
        checkpoint(snakemake.input.checkpoints, snakemake.params.epoch),
        preprocessed=Path(snakemake.input.preprocessed),
        dataset=Dataset.read(snakemake.input.csv),
        subjects={"val": validation, "test": splits.test},
        settings=PredictionSettings.from_params(
            snakemake.params,
            snakemake.resources.device,
            ModelPlan.read(snakemake.input.plan),
        ),
        posteriors=Path(snakemake.output.posteriors),
        segmentations=Path(snakemake.output.segmentations),
        threads=snakemake.threads,
    )

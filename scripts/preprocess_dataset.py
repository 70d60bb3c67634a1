"""Resample and normalise every subject once, for all folds."""

from pathlib import Path

from crossfold.config.planning import ModelPlan
from crossfold.config.preprocessing import PreprocessingConfig
from crossfold.data.dataset import Dataset
from crossfold.data.preprocessing import preprocess_dataset
from crossfold.data.splits import Splits
from crossfold.workflow import job

with job(snakemake):
    model, plan = snakemake.params.model, ModelPlan.read(snakemake.input.plan)
    splits = Splits.read(Path(snakemake.input.splits))
    training = [*splits.subjects("train", 0), *splits.subjects("val", 0)]
    preprocess_dataset(
        Dataset.read(snakemake.input.csv),
        Path(snakemake.output.preprocessed),
        subjects=[*training, *splits.test],
        training_subjects=training,
        images=model["images"],
        structures=model["structures"],
        config=PreprocessingConfig(**plan.fill("preprocessing", model["preprocessing"])),
        intensities=Path(snakemake.output.intensities),
        workers=snakemake.threads,
    )

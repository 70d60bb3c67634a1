"""Train one fold."""

from pathlib import Path

from crossfold.config.diagnostics import DiagnosticsConfig
from crossfold.config.learning import NetworkConfig, TrainingConfig
from crossfold.data.splits import Splits
from crossfold.learning.initial import InitialWeights
from crossfold.learning.training import train_fold
from crossfold.workflow import job

with job(snakemake):
    model, fold = snakemake.params.model, int(snakemake.wildcards.fold)
    splits = Splits.read(Path(snakemake.input.splits))
    train_fold(
        Path(snakemake.input.preprocessed),
        subjects=splits.subjects("train", fold),
        validation_subjects=splits.subjects("val", fold),
        images=model["images"],
        structures=model["structures"],
        network=NetworkConfig(**model["network"]),
        config=TrainingConfig(**snakemake.params.training, device=snakemake.resources.device),
        fold=fold,
        checkpoints=Path(snakemake.output.checkpoints),
        history=Path(snakemake.output.training),
        machine=Path(snakemake.output.machine),
        state_directory=Path(snakemake.resources.state_dir)
        / snakemake.wildcards.model
        / f"fold_{fold}",
        threads=snakemake.threads,
        tensorboard=Path(snakemake.output.tensorboard),
        example_images=Path(snakemake.output.example_images),
        diagnostics=DiagnosticsConfig(
            example_images_every=snakemake.resources.example_images_every,
            resources_every_s=snakemake.resources.resources_every_s,
        ),
        initial=InitialWeights.from_rule(snakemake.input.initial, snakemake.params.init_from),
    )

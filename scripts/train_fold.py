"""Train one fold."""

from pathlib import Path

from crossfold.config.diagnostics import DiagnosticsConfig
from crossfold.config.learning import PLACE, NetworkConfig, TrainingConfig
from crossfold.config.planning import ModelPlan
from crossfold.data.splits import Splits
from crossfold.learning.initial import InitialWeights
from crossfold.learning.training import train_fold
from crossfold.workflow import job

with job(snakemake):
    model, fold = snakemake.params.model, int(snakemake.wildcards.fold)
    splits, plan = Splits.read(Path(snakemake.input.splits)), ModelPlan.read(snakemake.input.plan)
    training = plan.fill("training", snakemake.params.training)
    train_fold(
        Path(snakemake.input.preprocessed),
        subjects=splits.subjects("train", fold),
        validation_subjects=splits.subjects("val", fold),
        images=model["images"],
        structures=model["structures"],
        network=NetworkConfig(**plan.fill("network", model["network"])),
        config=TrainingConfig(**training, **{key: snakemake.resources[key] for key in PLACE}),
        fold=fold,
        checkpoints=Path(snakemake.output.checkpoints),
        history=Path(snakemake.output.training),
        machine=Path(snakemake.output.machine),
        state_directory=Path(
            snakemake.resources.state_dir, snakemake.wildcards.model, f"fold_{fold}"
        ),
        threads=snakemake.threads,
        tensorboard=Path(snakemake.output.tensorboard),
        example_images=Path(snakemake.output.example_images),
        diagnostics=DiagnosticsConfig(
            example_images_every=snakemake.resources.example_images_every,
            resources_every_s=snakemake.resources.resources_every_s,
        ),
        initial=InitialWeights.from_rule(snakemake.input.initial, snakemake.params.init_from),
    )

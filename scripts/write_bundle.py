"""Write the ensemble of a model as a MONAI bundle."""

from pathlib import Path

from crossfold.bundling.writing import BundleSources, write_bundle
from crossfold.config.models import ModelConfig
from crossfold.config.planning import planned
from crossfold.paths import checkpoint
from crossfold.workflow import job

with job(snakemake):
    given, params = snakemake.input, snakemake.params
    write_bundle(
        Path(snakemake.output[0]),
        BundleSources(
            checkpoints={
                fold: checkpoint(folder, params.epoch)
                for fold, folder in enumerate(given.checkpoints)
            },
            preprocessed=Path(given.preprocessed),
            splits=Path(given.splits),
            intensities=Path(given.intensities),
            dataset=Path(given.csv),
            content=Path(given.content),
            summary=Path(given.summary),
            decided=Path(given.decided) if given.decided else None,
        ),
        run=snakemake.wildcards.run,
        model=planned(ModelConfig(**params.model, training=params.training), given.plan),
        epoch=params.epoch,
        synthetic=params.synthetic,
        confidence=params.confidence,
    )

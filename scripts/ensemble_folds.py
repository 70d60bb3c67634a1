"""Average the posteriors of the folds for the test subjects."""

from pathlib import Path

from crossfold.config.labels import label_values
from crossfold.data.splits import Splits
from crossfold.prediction.ensemble import ensemble_folds
from crossfold.workflow import job

with job(snakemake):
    model = snakemake.params.model
    ensemble_folds(
        [Path(fold) / "test" for fold in snakemake.input.folds],
        subjects=Splits.read(Path(snakemake.input.splits)).test,
        labels=label_values(model["structures"], model["derived_structures"]),
        largest_component=model["postprocessing"]["largest_component"],
        posteriors=Path(snakemake.output.posteriors),
        segmentations=Path(snakemake.output.segmentations),
        uncertainty=Path(snakemake.output.uncertainty),
        workers=snakemake.threads,
    )

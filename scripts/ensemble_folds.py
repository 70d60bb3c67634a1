"""Combine the posteriors of the folds for the test subjects."""

from pathlib import Path

from crossfold.config.labels import label_values
from crossfold.config.planning import ModelPlan
from crossfold.config.prediction import PostprocessingConfig
from crossfold.data.splits import Splits
from crossfold.prediction.ensemble import EnsembleFolders, ensemble_folds
from crossfold.workflow import job

with job(snakemake):
    model, output = snakemake.params.model, snakemake.output
    if snakemake.input.decided:
        decided = Path(snakemake.input.decided).read_text(encoding="utf-8")
        postprocessing = PostprocessingConfig.model_validate_json(decided)
    else:
        plan = ModelPlan.read(snakemake.input.plan)
        steps = plan.fill("postprocessing", model["postprocessing"])
        postprocessing = PostprocessingConfig(**steps)
    ensemble_folds(
        [Path(fold) / "test" for fold in snakemake.input.folds],
        subjects=Splits.read(Path(snakemake.input.splits)).test,
        labels=label_values(model["structures"], model["derived_structures"]),
        folders=EnsembleFolders(**{name: Path(folder) for name, folder in output.items()}),
        aggregation=model["ensemble_aggregation"],
        postprocessing=postprocessing,
        workers=snakemake.threads,
    )

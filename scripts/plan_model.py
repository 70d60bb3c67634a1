"""Decide what a model with `plan: auto` leaves open, from its training subjects."""

from pathlib import Path

from crossfold.config.planning import BudgetConfig
from crossfold.data.dataset import Dataset
from crossfold.data.planning import plan_model, write_plan
from crossfold.data.splits import Splits
from crossfold.workflow import job

with job(snakemake):
    model = snakemake.params.model
    plan = plan_model(
        Dataset.read(snakemake.input.csv),
        Splits.read(Path(snakemake.input.splits)),
        images=model["images"],
        structures=model["structures"],
        derived_structures=model["derived_structures"],
        written=snakemake.params.written,
        budget=BudgetConfig(**model["budget"]),
        workers=snakemake.threads,
    )
    write_plan(plan, Path(snakemake.output[0]))

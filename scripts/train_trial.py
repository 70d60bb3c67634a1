"""Train a fold of a trial and measure it on its validation subjects."""

from pathlib import Path

from crossfold.config.models import ModelConfig
from crossfold.config.planning import planned
from crossfold.config.search import PruneConfig
from crossfold.data.dataset import Dataset
from crossfold.data.splits import Splits
from crossfold.learning.initial import InitialWeights
from crossfold.search.proposals import proposal_of
from crossfold.search.rounds import read_curves
from crossfold.search.trial import Material, run_trial
from crossfold.workflow import job

with job(snakemake):
    search, trial = snakemake.params.search, int(snakemake.wildcards.trial)
    fold, curves = int(snakemake.wildcards.fold), snakemake.input.get("curves")
    run_trial(
        Material(
            planned(ModelConfig(**snakemake.params.model), snakemake.input.plan),
            snakemake.wildcards.model,
            snakemake.params.synthetic,
            fold,
            Splits.read(Path(snakemake.input.splits)),
            Dataset.read(snakemake.input.csv),
            Path(snakemake.input.preprocessed),
            epochs=search["epochs"],
            prune=PruneConfig(**search["prune"]) if search["prune"] else None,
            curves=read_curves(Path(curves)) if curves else None,
            initial=InitialWeights.from_rule(snakemake.input.initial, snakemake.params.init_from),
            own_code=snakemake.params.own_code,
            software=snakemake.params.software,
        ),
        proposal_of(Path(snakemake.input.proposals), trial),
        Path(snakemake.output[0]),
        state_directory=Path(snakemake.resources.state_dir),
        threads=snakemake.threads,
        device=snakemake.resources.device,
    )

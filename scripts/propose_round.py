"""Decide what the trials of a round try."""

from pathlib import Path

from crossfold.config.models import ModelConfig
from crossfold.config.planning import planned
from crossfold.search.proposals import propose_round, write_proposals
from crossfold.search.table import read_trials
from crossfold.workflow import job

with job(snakemake):
    model = ModelConfig(**snakemake.params.model, search=snakemake.params.search)
    model = planned(model, snakemake.input.plan)
    trials = snakemake.input.get("trials")
    proposals = propose_round(
        model, int(snakemake.wildcards.round), read_trials(Path(trials)) if trials else None
    )
    write_proposals(Path(snakemake.output[0]), proposals)

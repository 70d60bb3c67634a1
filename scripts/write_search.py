"""Write the table of all trials, a page about them, and the best of them as a configuration."""

import logging
from pathlib import Path

from crossfold.config.models import ModelConfig
from crossfold.config.planning import planned
from crossfold.config.trials import search_of, spaces_of
from crossfold.images import atomic_path
from crossfold.paper.search.page import write_page
from crossfold.search.best import advice
from crossfold.search.rounds import read_curves
from crossfold.search.table import read_trials, write_trials
from crossfold.search.tuned import snippet
from crossfold.workflow import job

with job(snakemake):
    name, output = snakemake.wildcards.model, snakemake.output
    model = ModelConfig(**snakemake.params.model)
    trials = read_trials(Path(snakemake.input.trials))
    tuned = snippet(name, model, trials, plan_json=snakemake.input.plan)
    write_page(
        Path(output.page),
        name,
        search_of(name, model),
        trials,
        read_curves(Path(snakemake.input.curves)),
        snippet=tuned,
        spaces=spaces_of(planned(model, snakemake.input.plan)),
        description=model.description,
        synthetic=snakemake.params.synthetic,
    )
    with atomic_path(output.best) as temporary:
        temporary.write_text(tuned, encoding="utf-8")
    write_trials(Path(output.csv), trials)
    logging.getLogger("crossfold").info("%s", advice(tuned, trials))

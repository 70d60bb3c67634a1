"""Write the table of all trials, a page about them, and the best of them as a configuration."""

import logging
from pathlib import Path

from crossfold.config.search import SearchConfig
from crossfold.images import atomic_path
from crossfold.paper.search.page import write_page
from crossfold.search.best import advice, snippet
from crossfold.search.rounds import read_curves
from crossfold.search.table import read_trials, write_trials
from crossfold.workflow import job

with job(snakemake):
    name, output = snakemake.wildcards.model, snakemake.output
    trials = read_trials(Path(snakemake.input.trials))
    write_page(
        Path(output.page),
        name,
        SearchConfig(**snakemake.params.search),
        trials,
        read_curves(Path(snakemake.input.curves)),
        description=snakemake.params.description,
        synthetic=snakemake.params.synthetic,
    )
    with atomic_path(output.best) as temporary:
        temporary.write_text(snippet(name, trials), encoding="utf-8")
    write_trials(Path(output.csv), trials)
    logging.getLogger("crossfold").info("%s", advice(name, trials))

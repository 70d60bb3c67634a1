"""Call a function of the site when everything of a model is made."""

from pathlib import Path

from crossfold.paper.hook import call_hook
from crossfold.workflow import job

with job(snakemake):
    call_hook(snakemake.params.hook, Path(snakemake.input.config), Path(snakemake.output[0]))

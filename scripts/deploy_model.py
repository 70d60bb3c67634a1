"""Call a function of the site when a bundle is registered."""

from pathlib import Path

from crossfold.registry.registering import deploy_model
from crossfold.workflow import job

with job(snakemake):
    deploy_model(
        snakemake.params.hook,
        Path(snakemake.input.registered),
        Path(snakemake.input.bundle),
        Path(snakemake.output[0]),
    )

"""Register a bundle."""

from pathlib import Path

from crossfold.config.registry import RegistryConfig
from crossfold.registry.registering import register_model
from crossfold.workflow import job

with job(snakemake):
    register_model(
        Path(snakemake.input.bundle),
        Path(snakemake.input.verified),
        Path(snakemake.output[0]),
        RegistryConfig(**snakemake.params.registry),
    )

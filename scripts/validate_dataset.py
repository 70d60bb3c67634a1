"""Check every file of a dataset and report all problems at once."""

from pathlib import Path

from crossfold.config.checks import ChecksConfig
from crossfold.data.content import write_content
from crossfold.data.validation import validate_dataset
from crossfold.workflow import job

with job(snakemake):
    model = snakemake.params.model
    report = validate_dataset(
        Path(snakemake.input.csv),
        images=list(model["images"]),
        structures=list(model["structures"]),
        mask=snakemake.params.mask,
        checks=ChecksConfig(**model["checks"]),
        workers=snakemake.threads,
    )
    report.write_csv(Path(snakemake.output.csv))
    report.write_html(
        Path(snakemake.output.html),
        model=snakemake.wildcards.model,
        dataset=snakemake.params.dataset,
        synthetic=snakemake.params.synthetic,
    )
    write_content(
        Path(snakemake.output.content),
        dataset=snakemake.params.dataset,
        csv=Path(snakemake.input.csv),
        images=Path(snakemake.input.images),
    )

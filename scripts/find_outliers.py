"""List what a person should look at."""

from pathlib import Path

from crossfold.config.outliers import OutliersConfig
from crossfold.evaluation.frames import read_frame
from crossfold.evaluation.outliers.find import find_outliers
from crossfold.evaluation.tables import read_metrics, write_table
from crossfold.images import atomic_path
from crossfold.workflow import job

with job(snakemake):
    found = find_outliers(
        read_metrics(snakemake.input.metrics),
        read_frame(snakemake.input.inspection),
        read_frame(snakemake.input.compared),
        OutliersConfig(**snakemake.params.model["outliers"]),
    )
    for name in ("outliers", "by_reason"):
        write_table(snakemake.output[name], found[name])
    for split in ("val", "test"):
        with atomic_path(Path(snakemake.output[split])) as temporary:
            temporary.write_text(found[f"{split}_outliers"], encoding="utf-8")

"""Put the summaries of the epochs that are tested into one table."""

from pathlib import Path

from crossfold.evaluation.epochs import collect_epochs
from crossfold.evaluation.frames import read_frame
from crossfold.evaluation.tables import write_table
from crossfold.workflow import job

with job(snakemake):
    files = zip(snakemake.params.epochs, snakemake.input, strict=True)
    summaries = {epoch: read_frame(file) for epoch, file in files}
    write_table(Path(snakemake.output[0]), collect_epochs(summaries, snakemake.params.structures))

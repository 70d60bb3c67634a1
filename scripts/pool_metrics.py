"""Put the metrics of all folds, and of the ensemble, into one table."""

from pathlib import Path

import pandas as pd

from crossfold.evaluation.tables import read_metrics, write_metrics
from crossfold.workflow import job

with job(snakemake):
    ensemble = [snakemake.input.ensemble] if snakemake.input.ensemble else []
    frames = [read_metrics(Path(file)) for file in [*snakemake.input.folds, *ensemble]]
    write_metrics(Path(snakemake.output[0]), pd.concat(frames))

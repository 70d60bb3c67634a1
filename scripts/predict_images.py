"""Predict the images that were sent to a cluster."""

from pathlib import Path

from crossfold.prediction.sending import Request, predict_sent
from crossfold.workflow import job

with job(snakemake):
    predict_sent(Request.read(Path(snakemake.input.request)), Path(snakemake.output[0]))

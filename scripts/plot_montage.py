"""Show the best, the median and the worst test subject of the ensemble."""

from pathlib import Path

from crossfold.config.figures import FiguresConfig
from crossfold.data.dataset import Dataset
from crossfold.evaluation.tables import read_metrics
from crossfold.paper.montage import plot_montage
from crossfold.workflow import job

with job(snakemake):
    model = snakemake.params.model
    plot_montage(
        Dataset.read(snakemake.input.csv),
        Path(snakemake.input.segmentations),
        read_metrics(Path(snakemake.input.metrics)),
        image=model["images"][0],
        structures=model["structures"],
        config=FiguresConfig(**snakemake.params.figures),
        png=Path(snakemake.output.png),
        pdf=Path(snakemake.output.pdf),
        csv=Path(snakemake.output.csv),
    )

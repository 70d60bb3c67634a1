"""Draw one figure."""

from pathlib import Path

from crossfold.config.figures import FiguresConfig
from crossfold.paper.figures import Context, draw_figure
from crossfold.workflow import job

with job(snakemake):
    context = Context(
        **{**snakemake.params.context, "structures": tuple(snakemake.params.context["structures"])},
        config=FiguresConfig(**snakemake.params.figures),
        options=snakemake.params.options,
    )
    target = Path(snakemake.output.csv).with_suffix("")
    draw_figure(snakemake.wildcards.figure, dict(snakemake.input.items()), context, target)

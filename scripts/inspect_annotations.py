"""List extent, gaps and overlaps of the contours of a dataset."""

from pathlib import Path

from crossfold.data.annotation_quality import assess_annotations, extremes_text, overlap_text
from crossfold.data.dataset import Dataset
from crossfold.images import atomic_path
from crossfold.workflow import job

with job(snakemake):
    quality = assess_annotations(
        Dataset.read(snakemake.input.csv), snakemake.params.structures, workers=snakemake.threads
    )
    for name, table, text in (
        ("extremes", quality.extremes, extremes_text),
        ("overlap", quality.overlap, overlap_text),
    ):
        views = {"text": text(table), "problems": text(table, problems_only=True)}
        for view, content in views.items():
            with atomic_path(Path(snakemake.output[f"{name}_{view}"])) as temporary:
                temporary.write_text(content, encoding="utf-8")
        with atomic_path(Path(snakemake.output[name])) as temporary:
            table.to_csv(temporary, index=False, float_format="%.6g", lineterminator="\n")

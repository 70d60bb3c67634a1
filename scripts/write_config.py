"""Keep the whole configuration of a model beside its results."""

import json

from crossfold.images import atomic_path
from crossfold.workflow import job

with job(snakemake), atomic_path(snakemake.output[0]) as path:
    path.write_text(json.dumps(snakemake.params.config, indent=2) + "\n", encoding="utf-8")

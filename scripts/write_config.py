"""Keep the whole configuration of a model beside its results."""

import json

from crossfold.config.models import ModelConfig
from crossfold.config.planning import planned
from crossfold.images import atomic_path
from crossfold.workflow import job

with job(snakemake), atomic_path(snakemake.output[0]) as path:
    config = snakemake.params.config
    if snakemake.input.plan:
        model = planned(ModelConfig.model_validate(config), snakemake.input.plan)
        config = model.model_dump(mode="json", by_alias=True, exclude={"search"})
    path.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")

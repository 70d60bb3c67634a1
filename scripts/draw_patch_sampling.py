"""Draw where training looks: maps of the crops that are drawn of a subject."""

from pathlib import Path

from crossfold.config.figures import FiguresConfig
from crossfold.config.learning import TrainingConfig
from crossfold.config.planning import ModelPlan
from crossfold.data.dataset import Dataset
from crossfold.data.preprocessing import Plan
from crossfold.data.splits import Splits
from crossfold.learning.sampling import CropSampler
from crossfold.paper.patch_sampling import draw_patch_sampling
from crossfold.workflow import job

with job(snakemake):
    model, plan = snakemake.params.model, ModelPlan.read(snakemake.input.plan)
    config = TrainingConfig(**plan.fill("training", snakemake.params.training))
    preprocessed = Path(snakemake.input.preprocessed)
    subjects = Splits.read(Path(snakemake.input.splits)).subjects("train", 0)
    auto = config.patch_size == "auto"
    sampler = CropSampler(
        preprocessed,
        subjects[: snakemake.params.subjects],
        size=Plan.read(preprocessed).auto_patch() if auto else config.patch_size,
        foreground=config.foreground,
        class_weights=config.sampling.weights(model["structures"]),
    )
    draw_patch_sampling(
        Dataset.read(snakemake.input.csv),
        sampler,
        Path(snakemake.output[0]),
        image=model["images"][0],
        structures=model["structures"],
        draws=snakemake.params.draws,
        seed=config.seed,
        config=FiguresConfig(**snakemake.params.figures),
    )

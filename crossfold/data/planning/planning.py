"""The plan of a model, from its training subjects to plan.json."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from crossfold.config.planning import BudgetConfig, ModelPlan
from crossfold.data.dataset import Dataset
from crossfold.data.planning.fingerprint import measure_fingerprint
from crossfold.data.planning.recipe import make_plan
from crossfold.data.splits import Splits
from crossfold.images import atomic_path

logger = logging.getLogger(__name__)


def plan_model(
    dataset: Dataset,
    splits: Splits,
    *,
    images: Sequence[str],
    structures: Sequence[str],
    derived_structures: Mapping[str, Sequence[str]],
    written: Mapping[str, Any],
    budget: BudgetConfig,
    workers: int = 1,
) -> ModelPlan:
    """Measure the training subjects, nobody of the test set, and decide what a model leaves open.

    Parameters
    ----------
    dataset, splits
        Where to read from, and whom.
    images, structures, derived_structures
        Of the model.
    written
        What the configuration says itself, as in `make_plan`.
    budget
        Memory and time.
    workers
        Number of processes.
    """
    fingerprint = measure_fingerprint(
        dataset,
        sorted({*splits.subjects("train", 0), *splits.subjects("val", 0)}),
        per_fold=min(len(splits.subjects("train", fold)) for fold in splits.folds),
        images=images,
        structures=structures,
        derived_structures=derived_structures,
        workers=workers,
    )
    plan = make_plan(
        fingerprint, images=images, structures=structures, written=written, budget=budget
    )
    for key, planned in plan.values.items():
        logger.info("%s: %s (%s)", key, planned.value, planned.reason)
    if plan.predicted["minutes"] > 1.05 * budget.minutes:
        logger.warning(
            "a fold is expected to take %.1f minutes, and budget.minutes is %g: "
            "what config.yaml sets takes longer",
            plan.predicted["minutes"],
            budget.minutes,
        )
    if plan.predicted["memory_gb"] > budget.memory_gb:
        logger.warning(
            "a fold is expected to take %.1f GB, and budget.memory_gb is %g: "
            "what config.yaml sets takes more",
            plan.predicted["memory_gb"],
            budget.memory_gb,
        )
    return plan


def write_plan(plan: ModelPlan, path: Path) -> None:
    """Write plan.json, whole or not at all."""
    with atomic_path(path) as temporary:
        temporary.write_text(plan.model_dump_json(indent=1) + "\n", encoding="utf-8")

"""What a registry says about a bundle: one text for readers, and tags to search by."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any, TypeGuard

from crossfold.errors import CrossfoldError
from crossfold.registry.bundles import BundleFiles
from crossfold.registry.registered import NAME

# Of the ensemble on test subjects, and of each fold on its own, as the bundle has them.
_SPLITS = {"test": "Test", "val": "Validation (out of fold)"}

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Facts:
    """What is said about a bundle.

    Parameters
    ----------
    name
        Name of the model, under which it is registered unless another is given.
    description
        Epoch, folds, and Dice of every structure with its confidence interval.
    tags
        Run, epoch, commit, digest of the dataset's images, and mean Dice over structures.

    Raises
    ------
    CrossfoldError
        If a reference could not name such a model.
    """

    name: str
    description: str
    tags: Mapping[str, str]

    def __post_init__(self) -> None:
        if not NAME.fullmatch(self.name):
            raise CrossfoldError(
                f"`{self.name}` cannot be the name of a model",
                remedy="start with a letter; use letters, digits, `_` and `-`",
            )

    @classmethod
    def of(cls, bundle: BundleFiles) -> Facts:
        """Read them from a bundle.

        Raises
        ------
        CrossfoldError
            If it does not say what it should.
        """
        model = bundle.model()
        try:
            return _facts(model, bundle.made_from)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise CrossfoldError(
                f"{bundle.path}: does not say what its model is ({error!r})",
                remedy="make the bundle again: snakemake results/<Model>/model",
            ) from error


def _facts(model: Mapping[str, Any], made_from: Mapping[str, Any]) -> Facts:
    run, epoch, folds = model["name"], model["epoch"], len(model["folds"])
    members = "1 fold" if folds == 1 else f"an ensemble of {folds} folds"
    parts = [f"{run}: epoch {epoch}, {members}."]
    tags = {"run": run, "epoch": str(epoch), "folds": str(folds)}
    for split, words in _SPLITS.items():
        rows = [
            row
            for row in model["metrics"]
            if (row["split"], row["metric"]) == (split, "dice") and _is_number(row["mean"])
        ]
        if rows:
            parts.append(f"{words} Dice{_words(rows)}.")
            tags[f"dice_{split}"] = f"{fmean(row['mean'] for row in rows):.4f}"
    if model["description"]:
        parts.insert(0, model["description"].rstrip(".") + ".")
    tags |= {
        "commit": made_from.get("commit") or "",
        "dataset": (made_from.get("dataset") or {}).get("images") or "",
    }
    name = run.partition("@")[0]
    return Facts(name, " ".join(parts), {key: value for key, value in tags.items() if value})


def _words(rows: Sequence[Row]) -> str:
    """Say the mean of every structure, with the confidence interval where there is one."""
    numbers = {row["n"] for row in rows}
    subjects = f", {numbers.pop()} subjects" if len(numbers) == 1 else ""
    texts = []
    for row in rows:
        text = f"{row['structure']} {row['mean']:.3f}"
        low, high = row["ci_low"], row["ci_high"]
        if _is_number(low) and _is_number(high):
            text += f" ({low:.3f} to {high:.3f})"
        texts.append(text if subjects else f"{text}, n={row['n']}")
    return f"{subjects}: {'; '.join(texts)}"


def _is_number(value: Any) -> TypeGuard[float]:
    return isinstance(value, int | float) and math.isfinite(value)

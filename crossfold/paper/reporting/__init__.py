"""Reporting checklists and a model card, filled where the pipeline knows."""

from __future__ import annotations

import os
from pathlib import Path

from crossfold.evaluation.tables import write_table
from crossfold.images import atomic_path
from crossfold.paper.facts import Facts
from crossfold.paper.reporting.checklists import CHECKLISTS, checklist
from crossfold.paper.reporting.model_card import model_card
from crossfold.paper.reporting.statements import statements

__all__ = ["CHECKLISTS", "checklist", "model_card", "statements", "write_reporting"]


def write_reporting(facts: Facts, directory: str | os.PathLike[str]) -> None:
    """Write checklist_claim.csv, checklist_tripod_ai.csv and model_card.md.

    Parameters
    ----------
    facts
        What is known of the run.
    directory
        Folder of the documents.
    """
    folder = Path(directory)
    known = statements(facts)
    for name in CHECKLISTS:
        write_table(folder / f"checklist_{name}.csv", checklist(name, known))
    with atomic_path(folder / "model_card.md") as temporary:
        temporary.write_text(model_card(facts, known), encoding="utf-8")

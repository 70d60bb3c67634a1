"""Checklists of journals: what each item asks for, and what the pipeline can answer.

The items are in templates/<name>.yaml, paraphrased. An item names statements that the pipeline can
make, and what only a person knows.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from crossfold.paper.reporting.statements import Statement

CHECKLISTS = ("claim", "tripod_ai")
COLUMNS = ["item", "section", "topic", "status", "text", "source_file"]
TO_FILL = "TO FILL"

_TEMPLATES = Path(__file__).parent / "templates"


def items_of(name: str) -> list[dict[str, Any]]:
    """Return the items of a checklist as its template has them."""
    return yaml.safe_load((_TEMPLATES / f"{name}.yaml").read_text(encoding="utf-8"))["items"]


def checklist(name: str, known: Mapping[str, Statement]) -> pd.DataFrame:
    """Fill a checklist.

    Parameters
    ----------
    name
        One of `CHECKLISTS`.
    known
        What `statements` returned.

    Returns
    -------
    DataFrame
        One row per item. `status` is auto (the pipeline answers it), template (it answers a part,
        the rest is marked TO FILL) or human (all of it is TO FILL).
    """
    return pd.DataFrame([_row(item, known) for item in items_of(name)], columns=COLUMNS)


def _row(item: Mapping[str, Any], known: Mapping[str, Statement]) -> dict[str, str]:
    said = [known[key] for key in item.get("says", ()) if key in known]
    unknown = [key for key in item.get("says", ()) if key not in known]
    ask = item.get("ask", "")
    if not said and not ask:
        ask = f"the pipeline has no file that says it ({', '.join(unknown)})"
    texts = [statement.text for statement in said] + ([f"{TO_FILL}: {ask}."] if ask else [])
    sources = dict.fromkeys(file for statement in said for file in statement.sources)
    return {
        "item": str(item["item"]),
        "section": item["section"],
        "topic": item["topic"],
        "status": "human" if not said else "template" if ask else "auto",
        "text": " ".join(texts),
        "source_file": "; ".join(sources),
    }

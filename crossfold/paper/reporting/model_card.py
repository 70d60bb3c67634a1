"""A model card after Mitchell et al. 2019 (doi 10.1145/3287560.3287596)."""

from __future__ import annotations

import re
from collections.abc import Mapping

import jinja2

from crossfold.paper.facts import Facts, Result
from crossfold.paper.reporting.statements import Statement
from crossfold.paper.tables.numbers import (
    confidence_in_percent,
    decimals_of,
    number,
    with_interval,
)


def model_card(facts: Facts, known: Mapping[str, Statement]) -> str:
    """Return the model card as Markdown; what a person has to say is marked TO FILL.

    Parameters
    ----------
    facts
        What is known of the run.
    known
        What `statements` returned.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("crossfold.paper.reporting"),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,
    )
    says = {key: statement.text for key, statement in known.items()}
    page = environment.get_template("model_card.md").render(
        facts=facts,
        says=says,
        confidence=confidence_in_percent(facts.statistics.confidence),
        performance=_performance(facts),
        worst=[(subject, number(dice, 2)) for subject, dice in facts.worst],
        plain=_plain,
    )
    # What has nothing to say leaves empty lines behind.
    return re.sub(r"\n{3,}", "\n\n", page)


def _performance(facts: Facts) -> list[list[str]]:
    """Return the rows of the table of results: structure, result, n, failed, Dice, NSD, HD95."""
    rows = []
    for split, words in (("val", "out of fold"), ("test", "ensemble, test set")):
        for structure in facts.structures:
            results = [facts.result(structure, name, split) for name in ("dice", "nsd", "hd95_mm")]
            first = results[0]
            if first is None:
                continue
            counts = [_plain(structure), words, str(first.n), str(first.n_failed)]
            rows.append(counts + [_estimate(result) for result in results if result])
    return rows


def _estimate(result: Result) -> str:
    value = getattr(result, result.ci_statistic)
    decimals = decimals_of([result.ci_high - result.ci_low], 1 if result.unit == "mm" else 2)
    return with_interval(value, result.ci_low, result.ci_high, decimals)


def _plain(text: str) -> str:
    """Return text that Markdown shows as it is, also in a table."""
    escaped = "".join(f"\\{sign}" if sign in "\\`*_{}[]<>#|" else sign for sign in text)
    return " ".join(escaped.split())

"""`crossfold search`: the trials of a search, and the best of them as a configuration."""

from __future__ import annotations

from argparse import Namespace
from typing import Any

_SHOWN = 10


def add_parser(commands: Any) -> None:
    """Add the command to the parser of `crossfold`."""
    parser = commands.add_parser("search", help="print the best values of a search, to paste")
    parser.add_argument("model", metavar="MODEL", help="a model that has been searched")
    parser.set_defaults(run=_search)


def _search(parsed: Namespace) -> None:
    from pathlib import Path

    from crossfold import paths
    from crossfold.commands.runs import table_text
    from crossfold.errors import CrossfoldError
    from crossfold.search.best import advice
    from crossfold.search.table import parameters_of, read_trials

    table, best = (
        Path(file.format(model=parsed.model)) for file in (paths.SEARCH, paths.SEARCH_BEST)
    )
    if not (table.is_file() and best.is_file()):
        raise CrossfoldError(
            f"{table}: there is no such search",
            remedy=f"give the model a `search:` and run `snakemake --cores all {table}`",
        )
    trials = read_trials(table).sort_values("mean", ascending=False, kind="stable")
    keys = parameters_of(trials)
    rows = [
        (str(row["trial"]), row["status"], _score(row["mean"]), *(row[key] for key in keys))
        for row in trials.head(_SHOWN).to_dict("records")
    ]
    print(table_text(("trial", "status", "mean", *keys), rows))
    if len(trials) > _SHOWN:
        print(f"… and {len(trials) - _SHOWN} more in {table}")
    print(f"\n{advice(best.read_text(encoding='utf-8'), trials)}")


def _score(mean: float) -> str:
    return f"{mean:.4f}" if mean == mean else ""

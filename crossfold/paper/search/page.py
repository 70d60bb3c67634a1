"""Writing the page about a search."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd

from crossfold import __version__
from crossfold.config.search import SearchConfig, Space
from crossfold.images import atomic_path
from crossfold.paper.report.pictures import Picture
from crossfold.paper.search.plots import draw_curves, draw_parameters, draw_trials, short_names
from crossfold.paper.style import axis_label
from crossfold.search.association import associations
from crossfold.search.best import Row, best_trial, gain_text, warning
from crossfold.search.table import COMPLETE, FAILED, STOPPED, parameters_of, value_text

_UNSET = "the network's own"
_ORDER = [COMPLETE, STOPPED, FAILED]
_METHODS = {
    "tpe": "tree-structured Parzen estimator",
    "random": "random draws",
    "grid": "all combinations of a grid",
}
_NO_INTERVAL = "too few patients for an interval of the gain"
_TRIALS = (
    "Score of every trial in their order; the line is the best one so far. Vertical lines separate "
    "rounds. Trials in the grey band have no score."
)
_PARAMETERS = (
    "Score over each parameter. What looks like an effect may be that of another one, because all "
    "of them change from trial to trial."
)
_CURVES = (
    "Mean Dice of all structures on crops of the validation subjects, by which poor trials are "
    "stopped."
)


def write_page(
    target: Path,
    name: str,
    search: SearchConfig,
    trials: pd.DataFrame,
    curves: pd.DataFrame,
    *,
    snippet: str,
    spaces: Mapping[str, Space],
    description: str = "",
    synthetic: bool = False,
) -> None:
    """Write a page about a search that opens by itself, without a network.

    Parameters
    ----------
    target
        Page to write, `.html`; appears whole or not at all.
    name
        Name of the model.
    search
        Its section.
    trials, curves
        Tables of the last round.
    snippet
        The best trial as YAML, to paste.
    spaces
        The searched values by key in full.
    description
        One sentence about the model.
    synthetic
        Whether to say that the images are not those of patients.
    """
    best, as_it_is = best_trial(trials), _as_it_is(search, trials)
    shares = associations(trials, spaces)
    page = _template().render(
        name=name,
        description=description,
        synthetic=synthetic,
        version=__version__,
        best=best,
        headline=_headline(search, trials, best, as_it_is),
        as_it_is=as_it_is,
        facts=_facts(search, trials),
        snippet=snippet,
        warning=warning(trials),
        pictures=_pictures(search, trials, curves, spaces),
        parameters=_parameters(spaces, trials, best, as_it_is, shares),
        shares=shares,
        unfinished=_unfinished(trials),
        columns=short_names(parameters_of(trials)),
        scores=[name for name in map(str, trials) if name.startswith(f"{search.metric}_")],
        prefix=f"{search.metric}_",
        rows=_rows(trials),
    )
    with atomic_path(target) as temporary:
        temporary.write_text(page, encoding="utf-8", errors="replace")


def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.ChoiceLoader(
            [
                jinja2.PackageLoader("crossfold.paper.search"),
                jinja2.PackageLoader("crossfold.paper.report"),  # the same look
            ]
        ),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("search.html")


def _facts(search: SearchConfig, trials: pd.DataFrame) -> list[tuple[str, str]]:
    """Return what was done, as pairs of a heading and words."""
    counts = trials["status"].value_counts()
    words = [f"{counts[status]} {status}" for status in _ORDER if status in counts]
    facts = [
        ("Method", _METHODS[search.method]),
        ("Trials", f"{len(trials)}: {', '.join(words)}"),
        ("Rounds", f"{trials['round'].nunique()} of up to {search.parallel} trials"),
        ("Folds", ", ".join(map(str, search.folds))),
        ("Trained", f"{trials['epochs'].sum()} epochs, {trials['seconds'].sum() / 60:.1f} min"),
    ]
    if search.prune:
        quantile, least = search.prune.quantile, search.prune.at_least
        after = f"after {search.prune.after:.0%} of the epochs"
        rule = f"{after}, below quantile {quantile:g} of at least {least} finished trials"
        facts.append(("Stopping", rule))
    return facts


def _as_it_is(search: SearchConfig, trials: pd.DataFrame) -> Row | None:
    """Return the trial of the model as it is, where it was tried to its end."""
    first = trials[(trials["trial"] == 0) & (trials["status"] == COMPLETE)].to_dict("records")
    return first[0] if first and search.baseline and search.method != "grid" else None


def _headline(
    search: SearchConfig, trials: pd.DataFrame, best: Row | None, as_it_is: Row | None
) -> str:
    """Say which trial is best, and by how much."""
    if best is None:
        return "No trial has ended, so there is no best one."
    said = (
        f"Trial {best['trial']} is the best of {len(trials)}: mean {axis_label(search.metric)} "
        f"{best['mean']:.3f} on validation subjects"
    )
    if as_it_is is None:
        said += "."
    elif best["trial"] == as_it_is["trial"]:
        said += ". That is the model as it is: no trial was better."
    else:
        said += f", {best['gain']:.3f} more than the model as it is ({as_it_is['mean']:.3f})"
        said += f"; {gain_text(best) or _NO_INTERVAL}."
    stopped = int((trials["status"] == STOPPED).sum())
    return f"{said} Stopped early: {stopped}." if stopped else said


def _pictures(
    search: SearchConfig,
    trials: pd.DataFrame,
    curves: pd.DataFrame,
    spaces: Mapping[str, Space],
) -> list[tuple[str, str, Picture]]:
    best, label = best_trial(trials), f"Mean {axis_label(search.metric)} on validation subjects"
    as_it_is = _as_it_is(search, trials)
    pictures = [("Trials", _TRIALS, draw_trials(trials, best, label, as_it_is))]
    if tried := {key: spaces[key] for key in parameters_of(trials)}:
        panels = draw_parameters(trials, best, tried, label, as_it_is)
        pictures.append(("Parameters", _PARAMETERS, panels))
    if len(curves):
        pictures.append(("Curves", _CURVES, draw_curves(curves, trials, best)))
    return pictures


def _parameters(
    spaces: Mapping[str, Space],
    trials: pd.DataFrame,
    best: Row | None,
    as_it_is: Row | None,
    shares: Mapping[str, float],
) -> list[dict[str, str]]:
    """Return what was tried of every parameter, first what goes most with the score."""
    return [
        {
            "key": key,
            "tried": _tried(spaces[key]),
            "as_it_is": "" if as_it_is is None else as_it_is[key] or _UNSET,
            "best": "" if best is None else best[key] or _UNSET,
            "share": f"{shares[key]:.2f}" if key in shares else "",
        }
        for key in sorted(parameters_of(trials), key=lambda key: -shares.get(key, 0))
    ]


def _tried(space: Space) -> str:
    """Say in words which values a parameter might have."""
    if space.choice is not None:
        return " or ".join(map(value_text, space.choice))
    low, high = space.ends
    return f"{low:.12g} to {high:.12g}" + (", logarithmic" if space.log_uniform else "")


def _unfinished(trials: pd.DataFrame) -> list[Row]:
    """Return the trials that were stopped early or failed, in their order."""
    return trials[trials["status"] != COMPLETE].sort_values("trial").to_dict("records")


def _rows(trials: pd.DataFrame) -> list[dict[Any, Any]]:
    """Return all trials, the best first."""
    order = trials.assign(place=trials["status"].map(_ORDER.index))
    order = order.sort_values(
        ["place", "mean", "trial"], ascending=[True, False, True], kind="stable"
    )
    return order.to_dict("records")

"""What the trials of a round try: a function of the configuration and of earlier rounds alone."""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from pydantic import JsonValue

from crossfold.config.models import ModelConfig
from crossfold.config.search import SearchConfig, Space
from crossfold.config.trials import current_values, grid_points, problem_of, spaces_of
from crossfold.errors import CrossfoldError
from crossfold.images import atomic_path
from crossfold.search.table import COMPLETE, FAILED, value_of

Values = dict[str, JsonValue]

STARTUP = 10
"""Trials that are drawn at random before TPE begins, as in Optuna."""


@dataclass(frozen=True)
class Proposal:
    """What a trial tries.

    Parameters
    ----------
    trial
        Number of the trial, from 0.
    parameters
        Values by key in full, such as `training.learning_rate`.
    problem
        Why these values do not go together; empty where they do.
    """

    trial: int
    parameters: Values
    problem: str = ""


def propose_round(
    model: ModelConfig, number: int, trials: pd.DataFrame | None = None
) -> list[Proposal]:
    """Return the trials of a round.

    A round is proposed as a whole, whatever the number of trials, so that a search with more trials
    begins with those of a shorter one.

    Parameters
    ----------
    model
        Model with its search.
    number
        Number of the round, from 0.
    trials
        Table of the trials of all earlier rounds, for method tpe.
    """
    search = model.search
    assert search is not None
    spaces = spaces_of(model)
    numbers = range(number * search.parallel, (number + 1) * search.parallel)
    match search.method:
        case "grid":
            points = _grid(model, spaces)
            drawn = {trial: points[trial] for trial in numbers if trial < len(points)}
        case "tpe" if trials is not None and (trials["status"] != FAILED).sum() >= STARTUP:
            told = _tpe(spaces, search, number, trials)
            drawn = dict(zip(numbers, told, strict=False))
        case _:
            drawn = {trial: _random(spaces, search.seed, trial) for trial in numbers}
    if search.baseline and number == 0 and search.method != "grid":
        drawn[0] = current_values(model)
    return [Proposal(trial, values, problem_of(model, values)) for trial, values in drawn.items()]


def write_proposals(path: Path, proposals: list[Proposal]) -> None:
    """Write the trials of a round."""
    with atomic_path(path) as temporary:
        text = json.dumps([asdict(proposal) for proposal in proposals], indent=2)
        temporary.write_text(text + "\n", encoding="utf-8")


def read_proposals(path: Path) -> list[Proposal]:
    """Read what `write_proposals` wrote.

    Raises
    ------
    CrossfoldError
        If it is damaged.
    """
    try:
        return [Proposal(**each) for each in json.loads(path.read_text(encoding="utf-8"))]
    except (OSError, ValueError, TypeError) as error:
        raise CrossfoldError(
            f"{path}: not the trials of a round ({error})", remedy="delete it; it is made again"
        ) from error


def proposal_of(path: Path, trial: int) -> Proposal:
    """Read what one trial tries.

    Raises
    ------
    CrossfoldError
        If the file is damaged, or of another round.
    """
    for proposal in read_proposals(path):
        if proposal.trial == trial:
            return proposal
    raise CrossfoldError(f"{path}: has no trial {trial}", remedy="delete it; it is made again")


def _random(spaces: Mapping[str, Space], seed: int, trial: int) -> Values:
    """Draw a trial, which depends on nothing but the seed and its number."""
    random = np.random.default_rng([seed, trial])
    return {key: space.at(random.random()) for key, space in spaces.items()}


def _grid(model: ModelConfig, spaces: Mapping[str, Space]) -> list[Values]:
    """Return all combinations, in an order in which a part of them is spread over the grid."""
    assert model.search is not None
    order = np.random.default_rng(model.search.seed).permutation(grid_points(model))
    axes = [space.grid() for space in spaces.values()]
    places = np.unravel_index(order, [len(axis) for axis in axes])
    return [
        {key: axis[place] for key, axis, place in zip(spaces, axes, point, strict=True)}
        for point in zip(*places, strict=True)
    ]


def _tpe(
    spaces: Mapping[str, Space], search: SearchConfig, number: int, trials: pd.DataFrame
) -> Iterator[Values]:
    """Draw a round by the tree-structured Parzen estimator (Bergstra et al. 2011) of Optuna."""
    try:
        import optuna
    except ModuleNotFoundError as error:
        raise CrossfoldError(
            "search.method: tpe needs Optuna, which is not installed",
            remedy="make setup, or use `method: random`",
        ) from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    kinds = {key: _distribution(space) for key, space in spaces.items()}
    seed = int(np.random.SeedSequence([search.seed, number]).generate_state(1)[0])
    with warnings.catch_warnings():
        # What is called experimental there is the joint model, and that a round knows itself.
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        sampler = optuna.samplers.TPESampler(
            seed=seed, n_startup_trials=0, multivariate=True, constant_liar=True
        )
    study = optuna.create_study(direction="maximize", sampler=sampler)
    for row in trials.to_dict("records"):
        places = {key: spaces[key].place(value_of(row[key])) for key in spaces}
        complete = row["status"] == COMPLETE
        unscored = complete and math.isnan(row["mean"])  # no subject of its folds has a structure
        if row["status"] == FAILED or unscored or None in places.values():
            continue  # Optuna learns nothing from a failure, nor from what is outside of its ranges
        study.add_trial(
            optuna.trial.create_trial(
                state=optuna.trial.TrialState["COMPLETE" if complete else "PRUNED"],
                params=places,
                distributions=kinds,
                value=row["mean"] if complete else None,
                intermediate_values={} if complete else {row["epochs"]: row["crops"]},
            )
        )
    for _ in range(search.parallel):
        asked = study.ask(kinds)
        yield {key: spaces[key].value(number) for key, number in asked.params.items()}


def _distribution(space: Space):  # type: ignore[no-untyped-def]
    from optuna.distributions import FloatDistribution, IntDistribution

    low, high = space.ends
    if space.choice is not None:
        from optuna.distributions import CategoricalDistribution

        return CategoricalDistribution(range(len(space.choice)))
    if space.is_integer:
        return IntDistribution(int(low), int(high))
    return FloatDistribution(low, high, log=space.log_uniform is not None)

# Trials and rounds of a search: which come before which.

from itertools import chain

from crossfold.config.functions import targets_in
from crossfold.config.learning import PLACE
from crossfold.config.trials import search_of, spaces_of, trial_count

# What a trial is made of; `training` without what is kept of a training, and where it runs.
SEARCHED = (
    *("dataset", "images", "structures", "derived_structures"),
    *("splits", "network", "inference", "postprocessing", "metrics"),
)
UNSEARCHED_TRAINING = {*PLACE, "checkpoints", "extended_from"}


def search_of_model(wildcards):
    """The section `search` of a model that has one."""
    with readable_errors():
        return search_of(wildcards.model, model_of(wildcards))


def searched_model(wildcards):
    """The sections of a model that its trials depend on, as plain values."""
    model = model_of(wildcards)
    training = values_of(model, model.training)
    kept = {key: value for key, value in training.items() if key not in UNSEARCHED_TRAINING}
    return section(*SEARCHED)(wildcards) | {"training": kept}


def search_params(*names):
    """Keys of section `search`, as plain values."""
    return lambda wildcards: search_of_model(wildcards).model_dump(mode="json", include={*names})


def own_code_by_target(wildcards):
    """The files of a site's own code that trials may use, by import path.

    Of the model, and of every choice: which of them a trial takes is known when it runs.
    """
    model, where = model_of(wildcards), f"models.{wildcards.model}"
    targets = targets_in(section("network", "training")(wildcards), where)
    for key, space in spaces_of(model).items():
        for value in space.choice or ():
            named = targets_in({key: value}, f"{where}.search")
            targets |= {target.replace(":", ".", 1): place for target, place in named.items()}
    with readable_errors():
        files = {target: OWN_CODE.files_of({target: key}) for target, key in targets.items()}
    return {target: found for target, found in files.items() if found}


def own_code_of_trials(wildcards):
    """The files of a site's own code that trials may use."""
    files = own_code_by_target(wildcards).values()
    return [*dict.fromkeys(chain.from_iterable(files))]


def after_round(pattern, needed):
    """A table of the round before that of a trial or round, where the search needs it."""

    def file(wildcards):
        search = search_of_model(wildcards)
        number = (
            int(wildcards.round)
            if "round" in wildcards.keys()
            else int(wildcards.trial) // search.parallel
        )
        return (
            pattern.format(model=wildcards.model, round=number - 1)
            if number and needed(search)
            else []
        )

    return file


def proposals_of_trial(wildcards):
    """The proposals of the round that a trial belongs to."""
    number = int(wildcards.trial) // search_of_model(wildcards).parallel
    return paths.SEARCH_PROPOSALS.format(model=wildcards.model, round=number)


def trials_of_round(wildcards):
    """The trials of a round, as far as the search goes."""
    size, first = search_of_model(wildcards).parallel, int(wildcards.round)
    end = min((first + 1) * size, trial_count(model_of(wildcards)))
    return range(first * size, end)


def folds_of_trials(wildcards):
    """The folders of all trials of a round, fold by fold."""
    return expand(
        paths.SEARCH_TRIAL,
        model=wildcards.model,
        trial=trials_of_round(wildcards),
        fold=search_of_model(wildcards).folds,
    )


def folds_of_model_as_it_is(wildcards):
    """The folds of the first trial, if that is the model as it is."""
    search = search_of_model(wildcards)
    if not search.baseline or search.method == "grid":
        return []
    return expand(paths.SEARCH_TRIAL, model=wildcards.model, trial=0, fold=search.folds)


def last_round(pattern):
    """A table of the last round of a search."""

    def file(wildcards):
        size = search_of_model(wildcards).parallel
        last = (trial_count(model_of(wildcards)) - 1) // size
        return pattern.format(model=wildcards.model, round=last)

    return file

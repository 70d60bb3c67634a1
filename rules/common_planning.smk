# Models with `plan: auto`: what is planned is known when their jobs run, and not before.

from crossfold.config.planning import PLAN_VERSION, written_keys


def if_planned(pattern):
    """An input that only models with `plan: auto` have."""
    return lambda wildcards: of_model(pattern)(wildcards) if model_of(wildcards).plan else []


def values_of(model, section):
    """A section as plain values; of a planned model what is written, as its plan has the rest."""
    if model.plan:
        return written_keys(section)
    return section.model_dump(mode="json", by_alias=True)


def steps_of_folds(wildcards):
    """The post-processing of folds, as plain values."""
    model = model_of(wildcards)
    if model.postprocessing.decide:  # on results of the folds, so these get none
        return model.postprocessing.applied_to_folds.model_dump(mode="json")
    return values_of(model, model.postprocessing)

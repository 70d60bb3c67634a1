"""What was done, in sentences made from the facts; empty where the pipeline does not know."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from crossfold.config.prediction import PostprocessingConfig
from crossfold.paper.facts import Facts
from crossfold.paper.facts.limitations import FEWEST_FOR_INTERVAL
from crossfold.paper.reporting.optimisation import balance, loss, optimisation
from crossfold.paper.tables.notes import tolerances
from crossfold.paper.words import counted

_COMBINED = {
    "average": "posteriors of the {folds} folds are averaged, then the largest wins",
    "log_average": "of the geometric mean of the posteriors of {folds} folds, the largest wins",
    "majority_vote": "each of the {folds} folds has one vote per voxel",
    "staple": "the {folds} folds are combined by STAPLE (Warfield et al. 2004)",
}
_METRIC_NAMES = {
    "dice": "Dice",
    "iou": "IoU",
    "nsd": "NSD",
    "hd_mm": "HD",
    "hd95_mm": "HD95",
    "assd_mm": "ASSD",
}


def task(facts: Facts) -> str:
    """Say what the model does."""
    described = facts.config.get("description", "").rstrip(".")
    what = f"{described}. " if described else ""
    return f"{what}Deep learning (a convolutional network) segments {_structures(facts)} in 3-D."


def design(facts: Facts) -> str:
    """Say how the model was developed and evaluated."""
    folds = facts.splits.folds
    trained = (
        f"{folds}-fold cross-validation" if folds > 1 else "a single training and validation set"
    )
    tested = (
        "and an ensemble of the folds, evaluated on a held-out test set"
        if facts.splits.test
        else "without a test set"
    )
    return f"Development by {trained} {tested}."


def preprocessing(facts: Facts) -> str:
    """Describe grid and intensities."""
    section = facts.config["preprocessing"]
    spacing = section["spacing_mm"]
    if spacing == "median":
        grid = "the median voxel size of the training subjects"
    else:
        sides = ("as acquired" if side is None else f"{side:g}" for side in spacing)
        grid = f"voxels of {' x '.join(sides)} mm (right, anterior, superior)"
    return f"Images resampled to {grid}. Intensities: {_normalisation(section['normalisation'])}."


def _normalisation(section: Mapping[str, Any]) -> str:
    if "method" not in section:
        return "; ".join(f"{channel}: {_normalisation(one)}" for channel, one in section.items())
    if section["method"] == "unchanged":
        return "unchanged"
    if section["method"] != "z_score":
        lowest, highest = section.get("output_range", (0, 1))
        return f"{_window(section)}, to [{lowest:g}, {highest:g}]"
    clipped = section.get("clip_percentiles")
    first = (
        f"clipped to the percentiles {clipped[0]:g} and {clipped[1]:g}, then " if clipped else ""
    )
    return f"{first}mean 0 and standard deviation 1 in each image"


def _window(section: Mapping[str, Any]) -> str:
    """Describe what is mapped to a range."""
    match section["method"]:
        case "ct_window":
            return f"CT window, level {section['level']:g} HU, width {section['window']:g} HU"
        case "percentile":
            low, high = section["percentiles"]
            return f"range between the percentiles {low:g} and {high:g} of the image"
        case "mri_window":
            below, above = section["sharpen"], section["sharpen"] * section["tail"]
            return (
                f"range from {below:g} robust standard deviations (interquartile range / 1.349) "
                f"below the median to {above:g} above it, of the voxels above Otsu's threshold"
            )
        case _:  # trimmed
            low, high = section["percentiles"]
            return (
                f"range of {section['sharpen']:g} robust standard deviations (interquartile range "
                f"/ 1.349) around the median of the voxels between the percentiles {low:g} and "
                f"{high:g}"
            )


def network(facts: Facts) -> str:
    """Describe the network."""
    section = dict(facts.config["network"])
    target = section.pop("_target_")
    arguments = ", ".join(f"{name}={value}" for name, value in section.items())
    channels = counted(len(facts.config["images"]), "image channel")
    return (
        f"Network {target}{f' ({arguments})' if arguments else ''}: {channels} in, "
        f"{len(facts.config['structures'])} structures and background out."
    )


def initialisation(facts: Facts) -> str:
    """Say how weights were initialised."""
    return f"Random weights; seed {facts.config['training']['seed']} + number of the fold."


def training(facts: Facts) -> str:
    """Describe the optimisation."""
    section = facts.config["training"]
    patch = section["patch_size"]
    size = "chosen from the images" if patch == "auto" else " x ".join(map(str, patch)) + " voxels"
    steps = section["epochs"] * section["iterations_per_epoch"]
    return (
        f"{section['epochs']} epochs of {section['iterations_per_epoch']} steps ({steps} steps), "
        f"{section['batch_size']} crops each, crops {size}. {optimisation(section)}. "
        f"Loss: {loss(section)}. "
        f"Augmentation: {_augmentation(section['augmentation'])}."
    )


def _augmentation(section: Mapping[str, Any] | Sequence[Mapping[str, Any]]) -> str:
    """Name the keys of the shorthand that do something, or the transforms with theirs."""
    if isinstance(section, Mapping):
        return ", ".join(_used(section)) or "none"
    listed = []
    for transform in section:
        name = transform.get("_target_") or transform["method"]
        keys = {key: transform[key] for key in transform if key not in ("_target_", "method")}
        listed.append(f"{name} ({', '.join(_used(keys))})" if _used(keys) else name)
    return "; ".join(listed) or "none"


def _used(section: Mapping[str, Any]) -> list[str]:
    return [f"{name} {_short(value)}" for name, value in section.items() if _is_used(value)]


def _is_used(value: Any) -> bool:
    return any(map(bool, value)) if isinstance(value, list) else bool(value)


def _short(value: Any) -> str:
    if isinstance(value, list):
        return "(" + ", ".join(_short(part) for part in value) + ")"
    return f"{value:g}" if isinstance(value, float) else str(value)


def imbalance(facts: Facts) -> str:
    """Say how rare structures are handled."""
    training = facts.config["training"]
    share = training["foreground"]
    drawn = (
        f"{100 * share:g} % of the training crops are centred on a voxel of a structure drawn at "
        "random"
        if share
        else "Crops are drawn without regard to structures"
    )
    if any(training["sampling"].values()):
        drawn = "The class at the centre of each training crop is drawn with set probabilities"
    return f"{drawn}; {balance(training)}."


def selection(facts: Facts) -> str:
    """Say which weights were evaluated."""
    decay = facts.config["training"]["ema_decay"]
    average = f" (exponential moving average of the weights, decay {decay:g})" if decay else ""
    epoch = facts.run.partition("@")[2] or "the last epoch"
    which = f"epoch {epoch}" if epoch.isdigit() else epoch
    return f"The checkpoint of {which} is used{average}; none is chosen by its validation result."


def ensemble(facts: Facts) -> str:
    """Describe the ensemble."""
    folds = facts.splits.folds
    if not facts.splits.test or folds < 2:
        return "No ensemble."
    combined = _COMBINED[facts.config.get("ensemble_aggregation", "average")].format(folds=folds)
    return (
        f"Test subjects: {combined}. "
        "There is no ensemble on validation subjects, on whom its members were trained."
    )


def inference(facts: Facts) -> str:
    """Describe how a prediction is calculated."""
    section = facts.config["inference"]
    window = section["window"]
    if window == "image":
        run = "over the whole image at once"
    else:
        size = (
            "the training crop" if window == "patch" else " x ".join(map(str, window)) + " voxels"
        )
        run = f"in a sliding window of {size} with an overlap of {section['overlap']:g}"
    mirrored = section["mirror_axes"]
    flips = f", averaged over mirror images along {', '.join(mirrored)}" if mirrored else ""
    after = _postprocessing(facts.config["postprocessing"])
    return f"The network runs {run}{flips}; results are resampled to the source image.{after}"


def _postprocessing(section: Mapping[str, Any]) -> str:
    """Describe the steps in the order in which they are done; empty where there is none."""
    steps = PostprocessingConfig(**section)
    if steps.decide:
        return (
            " Post-processing: the ensemble gets the steps that helped out of fold "
            "(postprocessing.csv); the results of the folds are without any."
        )
    said = []
    if np.any(steps.smoothing_mm):
        sides = " x ".join(f"{side:g}" for side in np.atleast_1d(steps.smoothing_mm))
        said.append(f"Posteriors are smoothed with a Gaussian (standard deviation {sides} mm).")
    said += [
        f"Voxels of {rule.external} in which {rule.first} and {rule.second} together are likelier "
        "go to the likelier of the two."
        for rule in steps.summed_probability
    ]
    kept = [
        name if threshold is None else f"{name} (all parts from a share of {threshold:g})"
        for name, threshold in steps.components()
    ]
    if kept:
        said.append(f"Only the largest component is kept of: {', '.join(kept)}.")
    said += [
        f"Axial slices shared by {rule.higher} and {rule.lower} go to "
        f"{rule.higher if rule.keep == 'higher' else rule.lower}."
        for rule in steps.slice_exclusion
    ]
    if steps.fill_holes:
        said.append(f"Holes are filled in: {', '.join(steps.fill_holes)}.")
    return "".join(f" {sentence}" for sentence in said)


def output(facts: Facts) -> str:
    """Say what the model gives."""
    return (
        "Output: posteriors of every structure, a segmentation (the class with the largest "
        f"posterior) of {counted(len(facts.config['structures']), 'structure')}, and for test "
        "subjects the normalised entropy of the ensemble's posteriors, and the disagreement of its "
        "members, as maps of uncertainty."
    )


def software(facts: Facts) -> str:
    """Name versions and commit."""
    software = facts.software
    versions = ", ".join(f"{name} {value}" for name, value in software.versions.items())
    if software.commit is None:
        return f"Versions: {versions}."
    changed = ", with uncommitted changes" if software.dirty else ""
    return f"Checkout at commit {software.commit}{changed}. Versions: {versions}."


def hardware(facts: Facts) -> str:
    """Say on what, how long and with how much energy."""
    training = facts.training
    said = []
    if training.hardware:
        said.append(f"Trained on: {'; '.join(training.hardware)}.")
    if training.seconds_total is not None:
        minutes = [seconds / 60 for seconds in training.seconds]
        said.append(
            f"Training took {sum(minutes):.1f} min in sum over {counted(len(minutes), 'fold')} "
            f"({min(minutes):.1f} to {max(minutes):.1f} min each)."
        )
    if training.energy_kwh is not None:
        said.append(
            f"Energy: {training.energy_kwh:.2g} kWh by the counters of processor and GPU, with "
            "whatever ran beside it."
        )
    elif said:
        said.append("Energy: not known, no counter could be read.")
    return " ".join(said)


def metrics(facts: Facts) -> str:
    """Define the metrics."""
    primary = ", ".join(_METRIC_NAMES[name] for name in facts.statistics.primary_metrics)
    return (
        f"On the grid of the source image, in mm. Primary: {primary}. Dice; NSD (normalised "
        f"surface Dice, tolerance {tolerances(facts)}); HD95 (larger of the two directed 95th "
        "percentiles of the surface distance); ASSD; volumes with Bland-Altman limits; missed and "
        "hallucinated structures."
    )


def missing(facts: Facts) -> str:
    """Say how failures and absent structures count."""
    absent = sum(result.n_absent for result in facts.of_split() if result.metric == "dice")
    return (
        "A missed or hallucinated structure counts with Dice and NSD 0 and an infinite distance, "
        "and is never dropped. Truly absent structures do not count "
        f"({counted(absent, 'case')}, {facts.split_in_words}). Nothing was imputed."
    )


def statistics(facts: Facts) -> str:
    """Describe intervals, tests and the plan."""
    section = facts.statistics
    bootstrap = (
        f"{100 * section.confidence:g} % confidence intervals by bootstrap over subjects "
        f"({section.resamples} resamples, seed {section.seed}): BCa for means, percentile for "
        f"medians; none for fewer than {FEWEST_FOR_INTERVAL} subjects."
    )
    said = [bootstrap]
    if facts.plan:
        when = "after" if facts.planned_after_results else "before"
        count = facts.plan["families"][0]["m"]
        said.append(
            f"Planned comparisons: {count}; test: {facts.plan['test']}; corrected after Holm, "
            f"alpha {section.alpha:g}; all others are exploratory (Benjamini-Hochberg). The plan "
            f"(sha256 {facts.plan['sha256'][:16]}) was written {when} the first results."
        )
        margins = facts.plan["margins"]
        if margins:
            listed = ", ".join(
                f"{_METRIC_NAMES[name]} {value:g}" for name, value in margins.items()
            )
            said.append(f"Margins of non-inferiority: {listed}.")
    return " ".join(said)


def _structures(facts: Facts) -> str:
    return counted(len(facts.config["structures"]), "structure")

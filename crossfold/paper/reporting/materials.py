"""Data and how subjects were divided, in sentences made from the facts; empty where not known."""

from __future__ import annotations

from crossfold.paper.facts import Facts
from crossfold.paper.words import counted


def data(facts: Facts) -> str:
    """Name the dataset."""
    dataset = facts.dataset
    kind = " Synthetic images, computed from a seed." if dataset.synthetic else ""
    described = f" {dataset.description.rstrip('.')}." if dataset.description else ""
    return f"Dataset {dataset.name}: {counted(dataset.used, 'subject')}.{described}{kind}"


def licence(facts: Facts) -> str:
    """Say under which licence the images are."""
    return (
        f"Licence and source of the images: {facts.dataset.licence}."
        if facts.dataset.licence
        else ""
    )


def dates(facts: Facts) -> str:
    """Say when the images were acquired."""
    if facts.dataset.acquired is None:
        return ""
    first, last = facts.dataset.acquired
    return f"Images acquired from {first} to {last}."


def centres(facts: Facts) -> str:
    """Count subjects by institution."""
    known = {name: count for name, count in facts.dataset.institutions.items() if name}
    if not known:
        return ""
    listed = ", ".join(f"{name} ({count})" for name, count in known.items())
    unknown = facts.dataset.institutions.get("", 0)
    rest = f", not known ({unknown})" if unknown else ""
    return f"{counted(len(known), 'institution')} (subjects): {listed}{rest}."


def checks(facts: Facts) -> str:
    """Say what was checked in the data."""
    dataset = facts.dataset
    if dataset.found is None:
        return ""
    return (
        "Every file was read and checked before training (geometry, label values, overlaps, empty "
        f"structures, duplicates): {counted(dataset.found, 'subject')}, "
        f"{counted(dataset.warnings or 0, 'warning')}."
    )


def excluded(facts: Facts) -> str:
    """Name who was excluded by the checks, and why."""
    dataset = facts.dataset
    if dataset.found is None:
        return ""
    if not dataset.excluded:
        return "No subject was excluded by the checks of the data."
    reasons = "; ".join(f"{one.subject}: {one.reason.rstrip('.')}" for one in dataset.excluded)
    count = f"{len(dataset.excluded)} of {dataset.found}"
    return f"Excluded by the checks of the data: {count} ({reasons})."


def images(facts: Facts) -> str:
    """Describe what images the network sees."""
    low, middle, high = (" x ".join(f"{side:.3g}" for side in size) for size in facts.spacing_mm)
    channels = ", ".join(facts.config["images"])
    return (
        f"Image channels: {channels}. Voxel size (x, y, z): median {middle} mm, smallest {low} mm, "
        f"largest {high} mm along each axis."
    )


def structures(facts: Facts) -> str:
    """Name what was contoured."""
    derived = facts.config.get("derived_structures", {})
    unions = "; ".join(f"{name}: {' + '.join(parts)}" for name, parts in derived.items())
    return f"Structures: {', '.join(facts.config['structures'])}." + (
        f" Unions that are measured as well: {unions}." if unions else ""
    )


def partitions(facts: Facts) -> str:
    """Say how subjects were assigned."""
    section, splits = facts.config["splits"], facts.splits
    test = section["test"]
    if function := section.get("function"):
        # Of a site's own function, no more is known than its name.
        division = f"{splits.folds} folds" if splits.folds > 1 else "training and validation"
        into = f"a test set and {division}" if splits.test else division
        return f"Divided by {function['_target_']} into {into}."
    if not splits.test:
        how = "No test set."
    elif isinstance(test, float):
        seed = section["seed"]
        how = f"Test set: a share of {test:g}, drawn by a hash of each group and seed {seed}."
    else:
        how = "Test set: named in the configuration."
    folds = (
        f" {splits.folds} folds over all others, who are validated once each; institutions are "
        "spread over the folds."
        if splits.folds > 1
        else " One division of all others into training and validation."
    )
    return how + folds


def disjoint(facts: Facts) -> str:
    """Say at which level the partitions are disjoint."""
    dataset = facts.dataset
    level = (
        "Each subject is a group of its own."
        if dataset.groups == dataset.used
        else f"{dataset.used} scans belong to {dataset.groups} groups (patients), kept together."
    )
    return (
        "Disjoint at the level of groups, which was checked: in no fold has a subject or a group "
        f"two roles, and the test set is the same in all folds. {level}"
    )


def counts(facts: Facts) -> str:
    """Count subjects by partition."""
    splits = facts.splits
    by_fold = "; ".join(
        f"fold {number}: {fold['train']} / {fold['val']}"
        for number, fold in enumerate(splits.by_fold)
    )
    return (
        f"{facts.dataset.used} subjects: {splits.development} for development, {splits.test} for "
        f"testing. Training / validation: {by_fold}."
    )


def digests(facts: Facts) -> str:
    """Give digests of what the results depend on."""
    known = {"dataset.csv": facts.dataset.digest, "splits.csv": facts.splits.digest}
    listed = ", ".join(f"{file} {digest}" for file, digest in known.items() if digest)
    images = facts.dataset.images_digest
    return f"SHA-256 (first 16 digits): {listed}." + (f" Images (DVC): {images}." if images else "")

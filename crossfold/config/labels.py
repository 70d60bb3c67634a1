"""Which label values a structure has in a segmentation."""

from collections.abc import Mapping, Sequence


def label_values(
    structures: Sequence[str], derived_structures: Mapping[str, Sequence[str]]
) -> dict[str, tuple[int, ...]]:
    """Return the label values of structures and of their unions in a segmentation."""
    own = {name: (value,) for value, name in enumerate(structures, start=1)}
    unions = {
        name: tuple(own[part][0] for part in parts) for name, parts in derived_structures.items()
    }
    return own | unions

"""What the names of channels tell: left and right."""

from __future__ import annotations

import re
from collections.abc import Sequence

_SIDES = {
    **dict.fromkeys(("l", "left", "lt", "sin", "sinister", "sinistra"), "left"),
    **dict.fromkeys(("r", "right", "rt", "dex", "dexter", "dextra"), "right"),
}
_WORDS = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+")


def words_of(name: str) -> list[str]:
    """Return the words of a name, in lower case.

    Examples
    --------
    >>> words_of("KidneyLeft"), words_of("femur_r"), words_of("CT2")
    (['kidney', 'left'], ['femur', 'r'], ['ct', '2'])
    """
    return [word.lower() for word in _WORDS.findall(name)]


def side_pairs(structures: Sequence[str]) -> tuple[tuple[tuple[str, str], ...], tuple[str, ...]]:
    """Find structures that are named as the left and the right one of a pair.

    Returns
    -------
    pairs
        In the order of the structures.
    single
        Structures of one side whose counterpart is not among them.

    Examples
    --------
    >>> side_pairs(["femur_r", "femur_l", "rectum", "KidneyLeft"])
    ((('femur_r', 'femur_l'),), ('KidneyLeft',))
    """
    sided: dict[tuple[str, ...], dict[str, str]] = {}
    for name in structures:
        words = words_of(name)
        sides = [_SIDES[word] for word in words if word in _SIDES]
        if len(sides) == 1 and len(words) > 1:
            stem = tuple(word for word in words if word not in _SIDES)
            sided.setdefault(stem, {})[sides[0]] = name
    pairs: list[tuple[str, str]] = []
    single: list[str] = []
    for found in sided.values():
        if len(found) == 2:
            one, other = found.values()
            pairs.append((one, other))
        else:
            single += found.values()
    return tuple(pairs), tuple(single)

"""Words around numbers."""

from __future__ import annotations


def counted(number: int, noun: str) -> str:
    """Write a number and what it counts.

    Examples
    --------
    >>> counted(1, "subject"), counted(3, "subject")
    ('1 subject', '3 subjects')
    """
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"

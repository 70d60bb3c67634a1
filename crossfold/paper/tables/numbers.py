"""Numbers as a reader wants them: no more digits than their confidence interval supports."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np

MINUS, INFINITY, NOTHING, NO_BREAK = "−", "∞", "–", "\u00a0"
_MOST_DECIMALS = 4


def decimals_of(widths: Iterable[float], otherwise: int) -> int:
    """Return how many decimals numbers deserve whose confidence intervals have these widths.

    The typical (median) width is shown with two significant digits: 0.034 gives three decimals,
    0.34 two, and 3.4 one.

    Parameters
    ----------
    widths
        Widths of the intervals; those that are not finite or not positive do not count.
    otherwise
        Decimals where no width counts.
    """
    known = [width for width in widths if math.isfinite(width) and width > 0]
    if not known:
        return otherwise
    return min(max(0, 1 - math.floor(math.log10(float(np.median(known))))), _MOST_DECIMALS)


def number(value: float, decimals: int) -> str:
    """Write a number; a missing one is a dash.

    Examples
    --------
    >>> number(-0.51, 1), number(float("inf"), 2), number(float("nan"), 2), number(-0.001, 2)
    ('−0.5', '∞', '–', '0.00')
    """
    if math.isnan(value):
        return NOTHING
    digits = INFINITY if math.isinf(value) else f"{abs(value):.{decimals}f}"
    is_zero = not any(digit in "123456789∞" for digit in digits)
    return digits if value >= 0 or is_zero else MINUS + digits


def with_interval(value: float, low: float, high: float, decimals: int) -> str:
    """Write an estimate and its interval, alone where there is no interval, for a text.

    Examples
    --------
    >>> with_interval(0.8, 0.75, 0.86, 2)
    '0.80 (0.75 to 0.86)'
    """
    if math.isnan(value) or (math.isnan(low) and math.isnan(high)):
        return number(value, decimals)
    return f"{number(value, decimals)} ({number(low, decimals)} to {number(high, decimals)})"


def in_lines(value: float, low: float, high: float, decimals: int) -> tuple[str, ...]:
    """Write an estimate, and its interval on a line of its own where there is one, for a table.

    Examples
    --------
    >>> in_lines(0.8, 0.75, 0.86, 2), in_lines(0.8, math.nan, math.nan, 2)
    (('0.80', '(0.75, 0.86)'), ('0.80',))
    """
    if math.isnan(value) or (math.isnan(low) and math.isnan(high)):
        return (number(value, decimals),)
    return number(value, decimals), f"({number(low, decimals)}, {number(high, decimals)})"


def with_quartiles(median: float, low: float, high: float, decimals: int) -> str:
    """Write a median and its quartiles.

    Examples
    --------
    >>> with_quartiles(0.8, 0.75, 0.86, 2)
    '0.80 [0.75, 0.86]'
    """
    if math.isnan(median):
        return NOTHING
    return f"{number(median, decimals)} [{number(low, decimals)}, {number(high, decimals)}]"


def p_value(p: float, alpha: float = 0.05) -> str:
    r"""Write a p-value; one next to alpha keeps the digits that tell on which side it is.

    Examples
    --------
    >>> p_value(0.0004), p_value(0.0123), p_value(0.04996), p_value(0.3)
    ('<\xa00.001', '0.012', '0.04996', '0.30')
    """
    if math.isnan(p):
        return NOTHING
    if p < 0.001:
        return f"<{NO_BREAK}0.001"
    for decimals in (2 if p >= 0.1 else 3, 4, 5):
        written = f"{p:.{decimals}f}"
        if (float(written) < alpha) == (p < alpha):
            return written
    return written


def share(part: int, whole: int) -> str:
    r"""Write a count as a percentage.

    Examples
    --------
    >>> share(1, 8)
    '12.5\xa0%'
    """
    return f"{number(100 * part / whole, 1)}{NO_BREAK}%" if whole else NOTHING


def confidence_in_percent(confidence: float) -> str:
    """Write a confidence level.

    Examples
    --------
    >>> confidence_in_percent(0.95)
    '95 %'
    """
    return f"{100 * confidence:g} %"

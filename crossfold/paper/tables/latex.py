"""Tables and text in LaTeX."""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Iterable

from crossfold.paper.tables.layout import Cell, Column, Table

NEEDS = "booktabs, longtable, array and \\usepackage[T1]{fontenc}"

# More lines than this are not sure to fit on a page, so that the table has to break.
MOST_LINES_OF_A_FLOAT = 45
# Letters in a line of the smallest page that is usual, in the size of tables.
_LETTERS_OF_A_LINE = 90
_LONG_WORD = re.compile(r"[^\W\d_]{17,}")
_LETTERS_BETWEEN_BREAKS = 8
# Fonts draw two hyphens in turn as a dash, and two commas as a quotation mark.
_LIGATURE = re.compile(r"([-,])(?=\1)")

_ESCAPES = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "%": r"\%",
    "#": r"\#",
    "_": r"\_\allowbreak{}",
    "/": r"/\allowbreak{}",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    "|": r"\textbar{}",
    "<": r"$<$",
    ">": r"$>$",
    '"': r"\textquotedbl{}",
    "'": r"\textquotesingle{}",
    "`": r"\textasciigrave{}",
    "’": "'",
    "…": r"\ldots{}",
    "−": r"$-$",
    "∞": r"$\infty$",
    "×": r"$\times$",
    "≥": r"$\ge$",
    "≤": r"$\le$",
    "–": "--",
    "—": "---",
    "\u00a0": "~",
    "\u00ad": r"\-",
    "\u200b": "{}",
}
_BREAK, _GAP = "\u00ad", "\u200b"
# Latin letters and signs that LaTeX's T1 fonts lack.
_NOT_IN_T1 = frozenset("ĦħĸĿŀŉŦŧſ")


def escape(text: str) -> str:
    r"""Return text as LaTeX shows it literally, whatever is in it.

    A sign that T1 fonts lack becomes its code point, `[U+4E2D]`, so that the paper compiles and
    its author sees what is missing.

    Examples
    --------
    >>> print(escape("50 % of femur_r"))
    50 \% of femur\_\allowbreak{}r
    """
    prepared = _LIGATURE.sub(rf"\1{_GAP}", _LONG_WORD.sub(_breakable, text))
    return "".join(map(_escaped, prepared))


def _breakable(word: re.Match[str]) -> str:
    letters = word[0]
    step = _LETTERS_BETWEEN_BREAKS
    return _BREAK.join(letters[at : at + step] for at in range(0, len(letters), step))


def _escaped(sign: str) -> str:
    if sign in _ESCAPES:
        return _ESCAPES[sign]
    if sign.isspace() or unicodedata.category(sign) == "Cc":
        return " "
    if sign < "\u0180" and sign not in _NOT_IN_T1:
        return sign
    return f"{{[}}U+{ord(sign):04X}]"


def to_latex(table: Table) -> str:
    """Return a table as LaTeX: a float, or one that breaks over pages if it is long.

    It is as wide as the line; without vertical rules. Its first lines say what it needs.
    """
    is_long = _estimated_lines(table) > MOST_LINES_OF_A_FLOAT
    head = [
        "% Written by Crossfold; edit config.yaml, not this file.",
        f"% Needs {NEEDS}." + (" Stands in one column only." if is_long else ""),
    ]
    return "\n".join([*head, *(_long(table) if is_long else _float(table)), ""])


def _estimated_lines(table: Table) -> int:
    """Estimate the height of the body in lines, where text breaks as on a small page."""
    whole = sum(column.share for column in table.columns)
    widths = [_LETTERS_OF_A_LINE * column.share / whole for column in table.columns]
    return sum(
        max(
            sum(math.ceil(max(len(line), 1) / width) for line in cell.lines)
            for cell, width in zip(cells, widths, strict=True)
        )
        for _, cells in table.rows()
    )


def _float(table: Table) -> list[str]:
    return [
        r"\begin{table}[htbp]",
        rf"\caption{{{escape(table.caption)}}}",
        rf"\label{{{table.label}}}",
        r"\centering\scriptsize\setlength{\tabcolsep}{3pt}",
        rf"\begin{{tabular}}{{{_specification(table.columns)}}}",
        r"\toprule",
        _row(Cell(column.title) for column in table.columns),
        r"\midrule",
        *_body(table),
        r"\bottomrule",
        r"\end{tabular}",
        r"\par\smallskip",
        rf"\parbox{{\linewidth}}{{{_notes(table)}}}",
        r"\end{table}",
    ]


def _long(table: Table) -> list[str]:
    count = len(table.columns)
    return [
        r"\begingroup\scriptsize\setlength{\tabcolsep}{3pt}\setlength{\LTcapwidth}{\linewidth}",
        rf"\begin{{longtable}}{{{_specification(table.columns)}}}",
        rf"\caption{{{escape(table.caption)}}}\label{{{table.label}}}\\",
        r"\toprule",
        _row(Cell(column.title) for column in table.columns),
        r"\midrule",
        r"\endfirsthead",
        r"\toprule",
        _row(Cell(column.title) for column in table.columns),
        r"\midrule",
        r"\endhead",
        rf"\midrule\multicolumn{{{count}}}{{r@{{}}}}{{continued}}\\",
        r"\endfoot",
        r"\bottomrule\addlinespace",
        rf"\multicolumn{{{count}}}{{@{{}}p{{\linewidth}}@{{}}}}{{{_notes(table)}}}\\",
        r"\endlastfoot",
        *_body(table),
        r"\end{longtable}",
        r"\endgroup",
    ]


def _notes(table: Table) -> str:
    return escape(" ".join(table.notes))


def _specification(columns: tuple[Column, ...]) -> str:
    """Columns of fixed shares of the line, in which text breaks before it gets too wide."""
    whole = sum(column.share for column in columns)
    places = {"left": r"\raggedright", "centre": r"\centering"}
    return "".join(
        rf">{{{places[column.align]}\arraybackslash\hspace{{0pt}}}}"
        rf"p{{\dimexpr{math.floor(1000 * column.share / whole) / 1000}\linewidth"
        r"-2\tabcolsep\relax}"
        for column in columns
    )


def _body(table: Table) -> list[str]:
    lines: list[str] = []
    for is_new, cells in table.rows():
        if lines:
            lines.append(r"\addlinespace[6pt]" if is_new else r"\addlinespace[2pt]")
        lines.append(_row(cells))
    if not lines:
        text = escape(table.if_empty)
        lines.append(rf"\multicolumn{{{len(table.columns)}}}{{p{{0.9\linewidth}}}}{{{text}}}\\")
    return lines


def _row(cells: Iterable[Cell]) -> str:
    row = " & ".join(map(_text, cells))
    # LaTeX would take it for an argument of what stands before.
    gap = "{}" if row.startswith("[") else ""
    return rf"{gap}{row} \\"


def _text(cell: Cell) -> str:
    first, *others = map(escape, cell.lines)
    return r"\par ".join([rf"\textbf{{{first}}}" if cell.bold else first, *others])

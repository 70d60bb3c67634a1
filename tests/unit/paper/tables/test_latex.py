from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib as mpl
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossfold.config.figures import FiguresConfig
from crossfold.paper import style
from crossfold.paper.tables import TABLES, write_tables
from crossfold.paper.tables.latex import escape, to_latex
from crossfold.paper.tables.layout import Cell, Column, Table

# Nothing but Debian's texlive-latex-base, -latex-recommended and -fonts-recommended.
PAPER = r"""
\documentclass{article}
\usepackage[T1]{fontenc}
\usepackage{array,booktabs,longtable,graphicx}
\input{short/macros}
\begin{document}
Dice of the bladder was \cfDiceTestBladder{} in \cfNTest{} test subjects of \cfNSubjects{}:
Tables~\ref{tab:Model_1:main}, \ref{tab:Model_1:comparisons}, \ref{tab:Model_1:structures} and
\ref{tab:Model_1:failures}, Figure~\ref{fig:one}. Long ones: Tables~\ref{tab:Long:main}
to~\ref{tab:Long:failures}.
\begin{figure}\includegraphics{figure.pdf}\caption{A figure.}\label{fig:one}\end{figure}
TABLES
\end{document}
"""
HOSTILE = [
    *("50% of [all]", "[a] *b* {c}", "R&D_#1$~^\\", "größter Å", "骨", "--,,``''", "'\"|<>"),
    "left_superior_temporal_gyrus_posterior_division",
    "dorsolateralprefrontalcortexandsurroundings",
]
needs_latex = pytest.mark.skipif(
    shutil.which("pdflatex") is None, reason="no pdflatex: install texlive-latex-recommended"
)


def compile_paper(folder: Path, text: str) -> str:
    """Compile a paper twice, as references need, and return its log."""
    (folder / "paper.tex").write_text(text, encoding="utf-8")
    for _ in range(2):
        command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "paper.tex"]
        done = subprocess.run(command, cwd=folder, capture_output=True, check=False)
        assert done.returncode == 0, done.stdout.decode(errors="replace")[-3000:]
    return (folder / "paper.log").read_text(encoding="utf-8", errors="replace")


def overfull_pt(log: str) -> list[float]:
    return [float(width) for width in re.findall(r"Overfull \\hbox \(([\d.]+)pt too wide\)", log)]


@needs_latex
@pytest.mark.slow
def test_a_paper_with_everything_compiles(
    make_run: Callable, compared_run: Any, tmp_path: Path
) -> None:
    structures = [*HOSTILE, *(f"structure_{number}" for number in range(25 - len(HOSTILE)))]
    long = make_run("Long", structures, subjects=24, others=["Baseline"])
    for name, files in (("short", compared_run), ("long", long)):
        folder = tmp_path / name
        write_tables(files.paths, folder, run=files.run, statistics=files.statistics)
    config = FiguresConfig()
    with mpl.rc_context(style.parameters(config)):
        figure = style.new_figure(config, columns=1, height_mm=40)
        figure.subplots().plot([0, 1])
        figure.savefig(tmp_path / "figure.pdf")
    inputs = "\n".join(rf"\input{{{kind}/{name}}}" for kind in ("short", "long") for name in TABLES)
    log = compile_paper(tmp_path, PAPER.replace("TABLES", inputs))
    assert "undefined" not in log
    assert "multiply defined" not in log
    assert not [width for width in overfull_pt(log) if width > 10]
    assert "Missing character" not in log


@needs_latex
def test_macros_of_hostile_names_compile(make_run: Callable, tmp_path: Path) -> None:
    files = make_run("Long", HOSTILE[:4], subjects=24, others=["Long-", "Long_"])
    write_tables(files.paths, tmp_path, run=files.run, statistics=files.statistics)
    text = (tmp_path / "macros.tex").read_text(encoding="utf-8")
    commands = re.findall(r"^\\newcommand{\\([A-Za-z]+)}", text, flags=re.MULTILINE)
    used = "\n\n".join(rf"\{command}{{}}" for command in commands)
    paper = r"\documentclass{article}\usepackage[T1]{fontenc}\input{macros}\begin{document}"
    compile_paper(tmp_path, f"{paper}{used}\\end{{document}}")
    assert len(commands) == len(set(commands)) == len(text.splitlines()) - 1
    assert commands == sorted(commands)


def small_table(frame: pd.DataFrame) -> Table:
    return Table(
        label="tab:x",
        caption="50 % of them",
        notes=("First.", "Second."),
        frame=frame,
        columns=(
            Column(("Name",), 1, lambda row: row.name, "left"),
            Column(("Value", "(mm)"), 1, lambda row: Cell.of(row.value, "low", bold=row.bold)),
        ),
        groups=("name",),
        if_empty="Nothing to show.",
    )


def test_rows_groups_and_bold() -> None:
    frame = pd.DataFrame({"name": ["[a", "[a", "*b"], "value": ["1", "2", "3"], "bold": [1, 0, 0]})
    text = to_latex(small_table(frame))
    body = text.split(r"\midrule")[1].split(r"\bottomrule")[0].strip().splitlines()
    assert body == [
        r"{}[a & \textbf{1}\par low \\",
        r"\addlinespace[2pt]",
        r" & 2\par low \\",
        r"\addlinespace[6pt]",
        r"*b & 3\par low \\",
    ]
    assert "|" not in text
    assert r"50 \% of them" in text


def test_an_empty_table_says_why() -> None:
    text = to_latex(small_table(pd.DataFrame({"name": [], "value": [], "bold": []})))
    assert "Nothing to show." in text


def test_a_long_table_breaks_over_pages() -> None:
    count = 30
    frame = pd.DataFrame({"name": map(str, range(count)), "value": "1", "bold": False})
    text = to_latex(small_table(frame))
    assert r"\begin{longtable}" in text
    assert r"\endlastfoot" in text


@given(st.text(max_size=30))
def test_no_text_holds_a_sign_that_latex_would_obey(text: str) -> None:
    ours = r"\$(-|<|>|\\[a-z]+)\$|\\[a-zA-Z]+(\{\})?|\\[%$#&_{}-]|\{\[\}|\{\}"
    left = re.sub(ours, "", escape(text))
    assert not set(left) & set('\\{}$&#%_^|"<>\n\r\t')

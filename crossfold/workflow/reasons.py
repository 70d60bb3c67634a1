"""Why Snakemake would run something again, in words of the configuration."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from crossfold.errors import CrossfoldError

_JOB = re.compile(r"^(?:local)?rule (?P<rule>\w+):\n(?P<about>(?:    .*\n)+)", re.M)
_PARAMS = re.compile(
    r"Params have changed since last execution: .*?before: (?P<before>.*) now: (?P<now>.*) ?$"
)
_FOLLOWS = "Input files updated by another job"
_HASH = re.compile(r"[0-9a-f]{16}")
_NOTHING = "<nothing exclusive>"


class Reason(NamedTuple):
    """Why a job would run."""

    rule: str
    output: str
    """The files that it makes, with commas."""
    causes: list[str]
    """What has changed; empty where it only follows from another job."""


def rerun_reasons(
    targets: Sequence[str], configfiles: Sequence[str] = (), root: Path = Path()
) -> list[Reason]:
    """Ask Snakemake what it would run to bring files up to date, and why.

    Parameters
    ----------
    targets
        Files that the workflow makes.
    configfiles
        Files that are laid over config.yaml.
    root
        The checkout.

    Returns
    -------
    list of Reason
        Empty if nothing is to be done.

    Raises
    ------
    CrossfoldError
        If Snakemake cannot plan, with what it says.
    """
    overlays = ["--configfile", *configfiles] if configfiles else []
    options = ("--dry-run", "--cores", "1", "--nolock", "--nocolor")
    done = subprocess.run(
        [sys.executable, "-m", "snakemake", *options, *overlays, "--", *targets],
        cwd=root,
        capture_output=True,
        text=True,
        check=False,
    )
    said = done.stdout + done.stderr
    if done.returncode:
        plan = said.rpartition("Building DAG of jobs...")[2].strip()
        raise CrossfoldError(
            f"Snakemake cannot plan {', '.join(targets)}:\n{plan}",
            remedy="`snakemake --dry-run` says the same; name overlays with --configfile",
        )
    return list(_jobs(said))


def _jobs(said: str) -> Iterator[Reason]:
    for job in _JOB.finditer(said):
        about = dict(re.findall(r"^    (\w+): (.*)$", job["about"], re.M))
        yield Reason(job["rule"], about.get("output", ""), list(_causes(about.get("reason", ""))))


def _causes(reason: str) -> Iterator[str]:
    params = _PARAMS.search(reason)
    for part in reason[: params.start() if params else None].split("; "):
        if part and not part.startswith(_FOLLOWS):
            yield part.replace("Code has changed", "The script has changed")
    if params:
        yield from differences(_values(params["before"]), _values(params["now"]))


def _values(text: str) -> list[Any]:
    """Return the values that Snakemake lists, or the text where it is no list of values."""
    if text.strip() == _NOTHING:
        return []
    try:
        return list(ast.literal_eval(f"[{text}]"))
    except (SyntaxError, ValueError):
        return [text.strip()]


def is_fingerprint(value: Any) -> bool:
    """Whether a parameter of a rule is a hash of code."""
    return isinstance(value, str) and bool(_HASH.fullmatch(value))


def is_software(value: Any) -> bool:
    """Whether a parameter of a rule is a list of packages."""
    return (
        isinstance(value, list)
        and bool(value)
        and all(isinstance(entry, str) and "==" in entry for entry in value)
    )


def differences(before: Sequence[Any], now: Sequence[Any]) -> Iterator[str]:
    """Yield what differs between parameters of a rule, which have no names any more.

    Examples
    --------
    >>> list(differences([{"epochs": 40, "seed": 0}], [{"epochs": 20, "seed": 0}]))
    ['epochs: 40 -> 20']
    """
    if any(map(is_fingerprint, (*before, *now))):
        yield "the code behind it has changed"
    gone, come = _packages(before), _packages(now)
    yield from (f"package {line}" for line in _changes(gone, come))
    old = [value for value in before if not (is_fingerprint(value) or is_software(value))]
    for value in now:
        if is_fingerprint(value) or is_software(value):
            continue
        partner = _alike(value, old)
        if partner is None:
            yield f"new: {value!r}"
        else:
            old.remove(partner)
            yield from _changes(partner, value)
    yield from (f"gone: {value!r}" for value in old)


def _packages(values: Sequence[Any]) -> dict[str, str]:
    listed = (entry.split("==") for value in values if is_software(value) for entry in value)
    return dict(listed)


def _alike(value: Any, others: Sequence[Any]) -> Any:
    """Return the value that most likely had the same name: a mapping with most of its keys."""
    if not isinstance(value, dict):
        return next((other for other in others if type(other) is type(value)), None)
    mappings = [other for other in others if isinstance(other, dict) and {*other} & {*value}]
    return max(mappings, key=lambda other: len({*other} & {*value}), default=None)


def _changes(before: Any, now: Any, key: str = "") -> Iterator[str]:
    if isinstance(before, dict) and isinstance(now, dict):
        for name in dict.fromkeys([*before, *now]):
            if before.get(name) != now.get(name):
                yield from _changes(
                    before.get(name), now.get(name), f"{key}.{name}" if key else name
                )
    else:
        yield f"{key}{key and ': '}{before!r} -> {now!r}"

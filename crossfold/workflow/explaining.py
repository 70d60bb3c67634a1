"""Where a file came from: the chain of files, configuration, code, data, machine and time."""

from __future__ import annotations

import ast
import json
import time
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

from crossfold import paths
from crossfold.errors import CrossfoldError
from crossfold.workflow.provenance import Job, models_with_provenance, read_provenance, seen_here
from crossfold.workflow.reasons import is_fingerprint, is_software, rerun_reasons

_MACHINE = ("processor", "cores", "gpu", "system", "python", "torch")


def explain(file: str, configfiles: Sequence[str] = (), root: Path = Path()) -> Iterator[str]:
    """Yield lines that say where a file came from, and why Snakemake would make it again.

    Parameters
    ----------
    file
        Path of a result, relative to the checkout.
    configfiles
        Files that are laid over config.yaml.
    root
        The checkout.

    Raises
    ------
    CrossfoldError
        If neither Snakemake nor any provenance.json knows the file.
    """
    path = PurePosixPath(file)
    makers = _makers(root)
    # A file in a directory has come as the directory has.
    known = next((str(place) for place in (path, *path.parents) if str(place) in makers), None)
    if known is None:
        raise CrossfoldError(
            f"{path}: nothing is known of how it was made",
            remedy="name a file below results/ or data/ that Snakemake has made or you have pulled",
        )
    yield from _about(str(path), known, makers[known], root)
    yield from ("", "Came from, the nearest first:")
    yield from _chain(known, makers, root)
    yield from ("", *_why(known, configfiles, root))


def _makers(root: Path) -> dict[str, Job]:
    """Return the job of every file that was published, or made here later."""
    makers = {
        output: job
        for model in models_with_provenance(root)
        for job in read_provenance(model, root)
        for output in job.outputs
    }
    for job in seen_here(root):
        for output, ended in job.ended.items():
            if output not in makers or makers[output].ended[output] != ended:
                makers[output] = job
    return makers


def _about(path: str, known: str, job: Job, root: Path) -> Iterator[str]:
    from crossfold.provenance.digests import Digests  # takes time to import

    yield path
    if (root / path).exists():
        with Digests(root) as digests:
            verdict = _verdict(job.outputs[known], digests.of(known))
            yield f"  digest         {digests.of(path)}{verdict}"
    else:
        yield "  is not here"
    yield f"  made by        rule {job.rule}, {_when(job)}"
    values = [_value(text) for text in job.params]
    code = [value for value in values if is_fingerprint(value)]
    script = ", ".join(job.script)
    yield f"  code           {script}{', modules ' if code else ''}{', '.join(code)}"
    for packages in filter(is_software, values):
        yield f"  software       {', '.join(packages)}"
    for value in _configuration(values):
        first, *others = _as_yaml(value)
        yield f"  configuration  {first}"
        yield from (f"                 {line}" for line in others)


def _configuration(values: Sequence[Any]) -> list[Any]:
    """Return what of a rule's parameters is configuration, and in one list what has no names."""
    kept = [value for value in values if not (is_fingerprint(value) or is_software(value))]
    single = [value for value in kept if not isinstance(value, dict | list)]
    named = [value for value in kept if isinstance(value, dict | list)]
    return [value for value in (*named, single) if value]


def _chain(target: str, makers: dict[str, Job], root: Path) -> Iterator[str]:
    """Yield a line for every job before the one of a file, in the order of their distance."""
    level, seen = [makers[target]], [makers[target]]
    sources: dict[str, None] = {}
    while level:
        following = []
        for path in sorted({path for job in level for path in job.inputs}):
            job = makers.get(path)
            if job is None:
                sources[path] = None
            elif job not in seen:
                seen.append(job)
                following.append(job)
        for job in following:
            yield f"  {_names(job)}"
            yield f"      rule {job.rule}, {_when(job)}{_machine(job, root)}"
        level = following
    yield from (f"  {path}: was there" for path in sources)


def _why(file: str, configfiles: Sequence[str], root: Path) -> Iterator[str]:
    reasons = rerun_reasons([file], configfiles, root)
    if not reasons:
        yield "Snakemake takes it as up to date."
        return
    yield f"Snakemake would make it again, with {len(reasons)} jobs, because:"
    for reason in reasons:
        if reason.causes:
            yield f"  rule {reason.rule} ({reason.output})"
            yield from (f"      {cause}" for cause in reason.causes)


def _verdict(published: str | None, now: str) -> str:
    if published is None:
        return ""
    return ", as published" if now == published else ", NOT as published"


def _names(job: Job) -> str:
    first, *others = job.outputs
    return f"{first}{f' and {len(others)} more' if others else ''}"


def _when(job: Job) -> str:
    ended = max(job.ended.values())
    finished = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(ended))
    return f"{finished}, in {ended - job.started:.1f} s"


def _machine(job: Job, root: Path) -> str:
    """Return the machine of a training, which it has written down."""
    name = PurePosixPath(paths.MACHINE).name
    for file in (root / path for path in job.outputs if PurePosixPath(path).name == name):
        if file.exists():
            machine = json.loads(file.read_text(encoding="utf-8"))
            known = [f"{key} {machine[key]}" for key in _MACHINE if machine.get(key)]
            return f"\n      on {', '.join(known)}"
    return ""


def _value(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (SyntaxError, ValueError):
        return text


def _as_yaml(value: Any) -> list[str]:
    text = yaml.safe_dump(value, sort_keys=False, default_flow_style=None, width=80)
    return [line for line in text.splitlines() if line != "..."]

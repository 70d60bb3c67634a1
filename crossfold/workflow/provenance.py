"""How the files of a model were made, in a file that git keeps: results/<model>/provenance.json."""

from __future__ import annotations

import functools
import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from crossfold import paths
from crossfold.errors import CrossfoldError
from crossfold.images import atomic_path
from crossfold.workflow.records import FORMAT, Record, read_records, refuse_while_running

if TYPE_CHECKING:
    from crossfold.provenance.digests import Digests

PROVENANCE_FORMAT = 1

Digest = Callable[[str], str | None]

_SCRIPT = "scripts/{rule}.py"
_REMEMBERED = ".snakemake/crossfold/{model}.sha256"


class Job(NamedTuple):
    """A job that made files of a model or of its dataset."""

    rule: str
    outputs: dict[str, str | None]
    """Digest of every file; None where nobody who recorded the provenance had it."""
    ended: dict[str, float]
    """When every file was finished, in seconds since the epoch."""
    inputs: dict[str, str | None]
    """Digest of every file that was read, likewise."""
    repeated: list[str]
    """Files among the inputs that the rule names more than once."""
    script: dict[str, str | None]
    """Digest of the script of the rule."""
    log: list[str]
    params: list[str]
    """What else the job depends on, as Snakemake writes it."""
    started: float

    @property
    def consumed(self) -> dict[str, str | None]:
        """All that the job depends on and that is a file."""
        return self.inputs | self.script


def record(model: str, root: Path = Path(), *, inside_a_job: bool = False) -> Path:
    """Write down how the files of a model were made; the same files give the same bytes.

    Parameters
    ----------
    model
        Name of a model that has run here.
    root
        The checkout.
    inside_a_job
        Whether the Snakemake that runs here waits for this, and has made the model.

    Returns
    -------
    pathlib.Path
        results/<model>/provenance.json.

    Raises
    ------
    CrossfoldError
        If Snakemake runs, or remembers nothing of the model.
    """
    if not inside_a_job:
        refuse_while_running(root)
    known = dict(read_records(root))
    here = (f"{paths.MODEL.format(model=model)}/", f"{paths.MODEL.format(model=model)}@")
    made = {path: entry for path, entry in known.items() if path.startswith(here)}
    if not made:
        raise CrossfoldError(
            f"{here[0]}: Snakemake has no record of any file",
            remedy=f"run `snakemake {paths.REPORT.format(run=model)}`, or pull and restore first",
        )
    datasets = tuple({folder for entry in made.values() for folder in _datasets(entry["input"])})
    made |= {path: entry for path, entry in known.items() if path.startswith(datasets)}
    from crossfold.provenance.digests import Digests  # takes time to import

    with Digests(root) as digests:
        jobs = _jobs(made, looked_up(digests, _published(model, made, root)))
    file = root / paths.PROVENANCE.format(model=model)
    about = {
        "format": PROVENANCE_FORMAT,
        "snakemake_record_format": FORMAT,
        "model": model,
        "jobs": [job._asdict() for job in jobs],
    }
    with atomic_path(file) as temporary:
        temporary.write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
    remember_published(model, root)
    return file


def remember_published(model: str, root: Path = Path()) -> None:
    """Keep in mind that Snakemake's records are those of a model's provenance, or newer."""
    memory = root / _REMEMBERED.format(model=model)
    memory.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(memory) as temporary:
        temporary.write_text(_identity(model, root), encoding="utf-8")


def is_remembered(model: str, root: Path = Path()) -> bool:
    """Whether a model's provenance was written or restored here, and is still the same."""
    try:
        known = (root / _REMEMBERED.format(model=model)).read_text(encoding="utf-8")
    except FileNotFoundError:
        return False
    return known == _identity(model, root)


def _identity(model: str, root: Path) -> str:
    return hashlib.sha256((root / paths.PROVENANCE.format(model=model)).read_bytes()).hexdigest()


def read_provenance(model: str, root: Path = Path()) -> list[Job]:
    """Return the jobs that made a model, the earliest first.

    Raises
    ------
    CrossfoldError
        If its provenance.json is missing, unreadable or of another form.
    """
    file = root / paths.PROVENANCE.format(model=model)
    try:
        about = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CrossfoldError(
            f"{file}: is missing, so nothing is known of how {model} was made",
            remedy=f"publish {model} first, or check its name",
        ) from None
    except json.JSONDecodeError as error:
        raise CrossfoldError(f"{file}: {error}", remedy=f"git checkout -- {file}") from error
    form = (about["format"], about["snakemake_record_format"])
    if form != (PROVENANCE_FORMAT, FORMAT):
        raise CrossfoldError(
            f"{file}: has form {form}, not {(PROVENANCE_FORMAT, FORMAT)}: of another version",
            remedy="use the version of Crossfold that it was published with",
        )
    return [Job(**job) for job in about["jobs"]]


def seen_here(root: Path = Path()) -> list[Job]:
    """Return the jobs that Snakemake itself remembers, without digests."""
    return _jobs(dict(read_records(root)), _unknown)


def models_with_provenance(root: Path = Path()) -> list[str]:
    """Return the models of which it is known how they were made."""
    return sorted(file.parent.name for file in root.glob(paths.PROVENANCE.format(model="*")))


def _datasets(files: Iterable[str]) -> Iterator[str]:
    """Yield the folders of the datasets that files belong to."""
    above = paths.DATASET.partition("{")[0]
    for path in files:
        if path.startswith(above):
            yield f"{above}{path.removeprefix(above).partition('/')[0]}/"


def _unknown(path: str) -> None:  # noqa: ARG001 - takes the place of what `looked_up` returns
    return None


def looked_up(digests: Digests, missing: Mapping[str, str] | None = None) -> Digest:
    """Return what gives the digest of a file, looking once, and that of `missing` where it is not.

    None is the digest of a file that is nowhere, or of a directory with links to nothing.
    """

    @functools.cache
    def digest(path: str) -> str | None:
        try:
            return digests.of(path)
        except FileNotFoundError:
            return (missing or {}).get(path)

    return digest


def _published(model: str, made: dict[str, Record], root: Path) -> dict[str, str]:
    """Return the digests of what was published before and is the same: it need not be here."""
    if not (root / paths.PROVENANCE.format(model=model)).exists():
        return {}
    return {
        path: digest
        for job in read_provenance(model, root)
        for path, digest in job.outputs.items()
        if digest is not None and path in made and made[path]["endtime"] == job.ended[path]
    }


def _jobs(made: dict[str, Record], digest: Digest) -> list[Job]:
    """Put the outputs of one job together: what Snakemake remembers is about single files."""
    groups: dict[tuple[Any, ...], list[str]] = {}
    for path, entry in made.items():
        # The log tells jobs apart that read the same, such as the folds of a training.
        same = (entry["rule"], *entry["log"], *entry["input"], None, *entry["params"])
        groups.setdefault(same, []).append(path)
    jobs = []
    for outputs in map(sorted, groups.values()):
        first = made[outputs[0]]
        script = _SCRIPT.format(rule=first["rule"])
        jobs.append(
            Job(
                rule=first["rule"],
                outputs={path: digest(path) for path in outputs},
                ended={path: made[path]["endtime"] for path in outputs},
                inputs={path: digest(path) for path in first["input"]},
                repeated=sorted((Counter(first["input"]) - Counter({*first["input"]})).elements()),
                script={script: digest(script)},
                log=first["log"],
                params=first["params"],
                started=min(made[path]["starttime"] for path in outputs),
            )
        )
    return sorted(jobs, key=lambda job: (job.started, *job.outputs))

"""Bring back what a job has made: every file whole, or none of them."""

import dataclasses
import json
import os
import shutil
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from snakemake_interface_common.exceptions import WorkflowError

from snakemake_executor_plugin_azureml.digests import DigestCache
from snakemake_executor_plugin_azureml.packing import Manifest, StoredFile, Tree
from snakemake_executor_plugin_azureml.runner import is_below, job_path
from snakemake_executor_plugin_azureml.store import Store

DOWNLOADS_AT_ONCE = 8


@dataclass(frozen=True, kw_only=True)
class Result:
    """What became of a job, as its runner wrote it down.

    `exit_code` is -1 if the command was not started; `error` is what went wrong around it. `signal`
    is what ended the command, if one did. `products` are outputs (only those of a command that
    succeeded), logs and benchmarks; `printed` is the digest of what the command printed. Times are
    UTC in ISO 8601.
    """

    exit_code: int
    error: str = ""
    signal: str = ""
    products: Tree = field(default_factory=Tree)
    printed: str = ""
    runner_started: str = ""
    command_started: str = ""
    durations_s: Mapping[str, float] = field(default_factory=dict)
    host: Mapping[str, Any] = field(default_factory=dict)

    @property
    def succeeded(self) -> bool:
        """Whether the command succeeded and everything that it made is in the store."""
        return self.exit_code == 0 and not self.error

    @classmethod
    def from_json(cls, text: str | bytes) -> "Result":
        """Return the result that the runner wrote."""
        fields = json.loads(text)
        if "products" in fields:
            fields["products"] = Tree.from_fields(fields["products"])
        return cls(**fields)


def read_result(store: Store, name: str) -> Result | None:
    """Return the result of a job, or None if its runner could not write one.

    Raises
    ------
    WorkflowError
        If there is something else in its place.
    """
    path = job_path(name, "result.json")
    text = store.read(path)
    try:
        return None if text is None else Result.from_json(text)
    except (ValueError, TypeError, KeyError) as error:
        raise WorkflowError(f"{path} in the store cannot be read: {error!r}") from error


def fetch(
    store: Store,
    result: Result,
    manifest: Manifest,
    *,
    root: Path = Path(),
    digests: DigestCache | None = None,
) -> int:
    """Download the products of a job beside their places; when all are whole, put them there.

    All get the same time stamp, so that none of a group's files is newer than what was made of it.

    Returns
    -------
    int
        Bytes received.

    Raises
    ------
    WorkflowError
        If a file is missing or damaged, or is none that the job declares. Nothing has changed then.
    """
    arrivals = [
        Arrival.of(product, result.products, root) for product in _outermost(manifest, result)
    ]
    _refuse_strays(result.products, manifest)
    try:
        with ThreadPoolExecutor(DOWNLOADS_AT_ONCE) as pool:
            downloads = [download for arrival in arrivals for download in arrival.begin()]
            list(pool.map(lambda item: _download(store, *item), downloads))
        now_ns = time.time_ns()
        for arrival in arrivals:
            arrival.stamp(now_ns)
        for arrival in arrivals:
            arrival.put_in_place()
    finally:
        for arrival in arrivals:
            _remove(arrival.part)
    if digests is not None:
        for file in result.products.files:
            digests.remember(root / file.path, file.digest)
        digests.save()
    return sum(file.size for file, _ in downloads)


@dataclass(frozen=True)
class Arrival:
    """A product on its way: a file, or a directory with all that is in it."""

    place: Path
    part: Path
    tree: Tree
    """Paths relative to the product; the file itself has the path "."."""

    @classmethod
    def of(cls, product: str, products: Tree, root: Path) -> "Arrival":
        """Pick what belongs to one product."""

        def belongs(path: str) -> bool:
            return path == product or is_below(path, product)

        tree = Tree(
            tuple(
                dataclasses.replace(file, path=os.path.relpath(file.path, product))
                for file in products.files
                if belongs(file.path)
            ),
            tuple(os.path.relpath(path, product) for path in filter(belongs, products.directories)),
            {
                os.path.relpath(path, product): target
                for path, target in products.links.items()
                if belongs(path)
            },
        )
        place = root / product
        return cls(place, place.with_name(place.name + ".part"), tree)

    def begin(self) -> Iterator[tuple[StoredFile, Path]]:
        """Prepare the folders; yield every file with where to download it."""
        _remove(self.part)
        self.part.parent.mkdir(parents=True, exist_ok=True)
        for directory in self.tree.directories:
            (self.part / directory).mkdir(parents=True, exist_ok=True)
        for file in self.tree.files:
            yield file, self.part / file.path
        for path, target in self.tree.links.items():
            (self.part / path).symlink_to(target)

    def stamp(self, time_ns: int) -> None:
        """Give everything the same time, when nothing more is put into the folders."""
        names = [file.path for file in self.tree.files]
        for name in (*names, *self.tree.links, *self.tree.directories):
            os.utime(self.part / name, ns=(time_ns, time_ns), follow_symlinks=False)

    def put_in_place(self) -> None:
        """Replace what is there."""
        if self.tree.directories or (self.place.is_dir() and not self.place.is_symlink()):
            former = self.place.with_name(self.place.name + ".former.part")
            _remove(former)
            if os.path.lexists(self.place):
                self.place.rename(former)
            self.part.rename(self.place)
            _remove(former)
        else:
            os.replace(self.part, self.place)


def _download(store: Store, file: StoredFile, target: Path) -> None:
    store.download(file.digest, target)
    target.chmod(file.mode & 0o777)


def _outermost(manifest: Manifest, result: Result) -> list[str]:
    """Return the products that came, without logs in a directory that came as a whole."""
    came = {*result.products.directories, *(file.path for file in result.products.files)}
    products = [product for product in dict.fromkeys(manifest.products) if product in came]
    return [
        product for product in products if not any(is_below(product, other) for other in products)
    ]


def _refuse_strays(products: Tree, manifest: Manifest) -> None:
    """Refuse paths that the job does not declare, however they came into its result."""
    targets = {
        path: os.path.normpath(Path(path).parent / target)
        for path, target in products.links.items()
    }
    paths = (*(file.path for file in products.files), *products.directories, *targets)
    for path in paths:
        tops = [
            product for product in manifest.products if path == product or is_below(path, product)
        ]
        leads_out = path in targets and not any(is_below(targets[path], top) for top in tops)
        if not tops or leads_out or os.path.normpath(path) != path:
            raise WorkflowError(f"The result of the job names {path}, which is none of its files.")


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)

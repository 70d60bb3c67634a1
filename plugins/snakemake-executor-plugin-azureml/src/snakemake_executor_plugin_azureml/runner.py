"""What runs inside a job: `python runner.py <store folder> <job name>`.

A single file that needs Python 3.11 and nothing else: it is sent to the store with the files of the
job, and started from the folder that the store is mounted as. It holds no credential and makes no
connection. It reads jobs/<name>/manifest.json and, at the very end, writes jobs/<name>/result.json;
`Manifest` and `Result` say what is in them.
"""

# So that an older Python gets as far as saying that it is too old.
from __future__ import annotations

import argparse
import contextlib
import datetime
import hashlib
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import tarfile
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

# Copies wait for the network behind the mount, not for a processor.
COPIES_AT_ONCE = 16
CHUNK_BYTES = 1 << 20
# Snakemake's own note in a directory; it is about the machine that it is on.
TIMESTAMP_FILE = ".snakemake_timestamp"
# As sysexits.h has it: an error inside the software, here in what surrounds the command.
EXIT_NOT_RUN = 70


class RunnerError(Exception):
    """Something that keeps a job from starting."""


def blob_path(digest: str) -> str:
    """Return where the store keeps the content of this SHA-256."""
    return f"blobs/{digest[:2]}/{digest}"


def job_path(name: str, file: str) -> str:
    """Return where the store keeps `manifest.json` or `result.json` of a job."""
    return f"jobs/{name}/{file}"


@dataclass
class Found:
    """What lies at some paths, before anything is read."""

    files: dict[str, Path] = field(default_factory=dict)
    directories: list[str] = field(default_factory=list)
    links: dict[str, str] = field(default_factory=dict)
    unusable: list[str] = field(default_factory=list)
    """Links that lead nowhere or in a circle."""


def find(paths: Iterable[str], root: Path) -> Found:
    """Look up paths, and everything below those that are directories.

    A symbolic link stays one if it leads to a place in the same directory; any other is followed.
    What does not exist is left out, and so are pipes, sockets and Snakemake's time stamps.
    """
    found = Found()
    for path in dict.fromkeys(paths):
        place = root / path
        if place.is_dir():
            _find_below(path, root, found, top=path, above=())
        elif place.is_file():
            found.files[path] = place
        elif place.is_symlink():
            found.unusable.append(path)
    return found


def _find_below(
    folder: str, root: Path, found: Found, *, top: str, above: tuple[Path, ...]
) -> None:
    real = (root / folder).resolve()
    if real in above:
        found.unusable.append(folder)
        return
    found.directories.append(folder)
    for place in sorted((root / folder).iterdir()):
        path = f"{folder}/{place.name}"
        target = str(place.readlink()) if place.is_symlink() else ""
        if target and is_below(os.path.normpath(f"{folder}/{target}"), top) and target[0] != "/":
            found.links[path] = target
        elif place.is_dir():
            _find_below(path, root, found, top=top, above=(*above, real))
        elif place.is_file() and place.name != TIMESTAMP_FILE:
            found.files[path] = place
        elif target:
            found.unusable.append(path)


def is_below(path: str, folder: str) -> bool:
    """Whether a path is inside a folder; both relative and normalised."""
    return path.startswith(f"{folder}/")


def sha256(path: Path) -> str:
    """Return the digest of a file's content."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def take(store: Path, digest: str, target: Path, mode: int = 0o600) -> None:
    """Copy a file out of the store, checking its content on the way."""
    target.parent.mkdir(parents=True, exist_ok=True)
    target.unlink(missing_ok=True)
    content = hashlib.sha256()
    blob = store / blob_path(digest)
    if not blob.is_file():
        raise RunnerError(f"{target.name} is missing from the store: {blob_path(digest)}")
    with blob.open("rb") as source, target.open("wb") as copy:
        while chunk := source.read(CHUNK_BYTES):
            content.update(chunk)
            copy.write(chunk)
    if content.hexdigest() != digest:
        raise RunnerError(f"{target.name} is damaged in the store: delete {blob_path(digest)}")
    target.chmod(mode)


def give(store: Path, path: str, source: Path) -> dict[str, Any]:
    """Copy a file into the store unless its content is there; return what describes it."""
    digest, status = sha256(source), source.stat()
    blob = store / blob_path(digest)
    if not (blob.is_file() and blob.stat().st_size == status.st_size):
        write_whole(blob, lambda part: shutil.copyfile(source, part))
    mode = status.st_mode & 0o777
    return {"path": path, "digest": digest, "size": status.st_size, "mode": mode}


def write_whole(target: Path, write: Callable[[Path], object]) -> None:
    """Write a file beside its place, then rename it."""
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f"{target.name}.{uuid.uuid4().hex}.part")
    try:
        write(part)
        try:
            os.replace(part, target)
        except OSError:
            # Some mounts cannot rename. Readers notice a file cut short by its size and digest.
            write(target)
    finally:
        part.unlink(missing_ok=True)


def link(path: Path, target: str | Path) -> None:
    """Make a symbolic link, also where the sources brought one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    path.symlink_to(target)


class Forwarding:
    """Passes SIGTERM and SIGINT on to the command and to all that it started.

    Until the command is started, these signals end the runner as they end any other program.
    """

    def __init__(self, grace_s: float) -> None:
        self.grace_s = grace_s
        self.received = ""
        self._group = 0

    @contextlib.contextmanager
    def to(self, start: Callable[[], subprocess.Popen[bytes]]) -> Iterator[subprocess.Popen[bytes]]:
        """Start a process that leads its own session; at the end, leave nothing of it behind."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._receive)
        process = start()
        self._group = process.pid
        if self.received:
            self._forward()
        try:
            yield process
        finally:
            self._kill(signal.SIGKILL)
            self._group = 0

    def _receive(self, number: int, _frame: object) -> None:
        self.received = signal.Signals(number).name
        self._forward()

    def _forward(self) -> None:
        self._kill(signal.Signals[self.received])
        timer = threading.Timer(self.grace_s, self._kill, [signal.SIGKILL])
        timer.daemon = True
        timer.start()

    def _kill(self, number: int) -> None:
        if self._group:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._group, number)


class Job:
    """One job: what the store says about it, and the folder that it runs in."""

    def __init__(self, store: Path, name: str, work: Path, grace_s: float) -> None:
        self.store = store
        self.name = name
        self.work = work
        self.forwarding = Forwarding(grace_s)
        self.durations_s: dict[str, float] = {}
        # A job on several nodes has a runner on each; the first one speaks for all.
        self.is_first = os.environ.get("RANK", "0") == "0"

    def run(self) -> dict[str, Any]:
        """Restore, run, hand over; the result, written last, says that all else is there."""
        result: dict[str, Any] = {"runner_started": utc_now(), "exit_code": -1, "error": ""}
        try:
            self._start_clean()
            manifest = json.loads(self._of_job("manifest.json").read_text(encoding="utf-8"))
            # Paths may lead out of the working directory; they must not lead out of `work`.
            folder = self.work.joinpath(*["below"] * manifest["depth"])
            self._restore(manifest, folder)
            with self._timed("command"):
                result["command_started"] = utc_now()
                result["exit_code"] = self._run(manifest, folder)
            if self.is_first:
                result |= self._hand_over(manifest, folder, succeeded=result["exit_code"] == 0)
        except (RunnerError, OSError, tarfile.TarError) as error:
            result["error"] = str(error)
        result |= {"signal": self.forwarding.received, "durations_s": self.durations_s}
        result["host"] = host_facts()
        if self.is_first:
            text = json.dumps(result, indent=1)
            write_whole(
                self._of_job("result.json"), lambda part: part.write_text(text, encoding="utf-8")
            )
        return result

    def _of_job(self, file: str) -> Path:
        return self.store / job_path(self.name, file)

    def _start_clean(self) -> None:
        """Forget what an earlier start of this job, ended by a preemption, has left."""
        if self.is_first:
            self._of_job("result.json").unlink(missing_ok=True)
        if self.work.exists():
            shutil.rmtree(self.work)
        self.work.mkdir(parents=True)

    def _restore(self, manifest: Mapping[str, Any], folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        with self._timed("sources"):
            archive = self.work / "sources.tar"
            take(self.store, manifest["sources"], archive)
            with tarfile.open(archive) as sources:
                # Early releases of 3.11 lack the filter; the digest says whose archive it is.
                safely: Any = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}
                sources.extractall(folder, **safely)
            archive.unlink()
        with self._timed("inputs"):
            for directory in manifest["inputs"]["directories"]:
                (folder / directory).mkdir(parents=True, exist_ok=True)
            files = manifest["inputs"]["files"]
            in_parallel(
                lambda file: take(self.store, file["digest"], folder / file["path"], file["mode"]),
                files,
            )
            for path, target in manifest["inputs"]["links"].items():
                link(folder / path, target)
            for path, target in manifest["mounts"].items():
                (self.store / target).mkdir(parents=True, exist_ok=True)
                link(folder / path, self.store / target)
        megabytes = sum(file["size"] for file in files) / 1e6
        say(f"{len(files)} files ({megabytes:.1f} MB) in {self.durations_s['inputs']:.1f} s")

    def _run(self, manifest: Mapping[str, Any], folder: Path) -> int:
        def start() -> subprocess.Popen[bytes]:
            return subprocess.Popen(
                [shutil.which("bash") or "sh", "-c", manifest["command"]],
                cwd=folder,
                env=os.environ | manifest["environment"],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

        with (self.work / "printed.log").open("wb") as log, self.forwarding.to(start) as process:
            copies = (process.stdout, sys.stdout.buffer, log)
            reader = threading.Thread(target=tee, args=copies, daemon=True)
            reader.start()
            exit_code = process.wait()
            # A shell dies of a signal at once, while what it started may still be saving.
            reader.join(self.forwarding.grace_s)
        return exit_code if exit_code >= 0 else 128 - exit_code

    def _hand_over(
        self, manifest: Mapping[str, Any], folder: Path, *, succeeded: bool
    ) -> dict[str, Any]:
        with self._timed("outputs"):
            outputs = manifest["outputs"] if succeeded else []
            found = find((*outputs, *manifest["logs"], *manifest["benchmarks"]), folder)
            for path in found.unusable:
                say(f"left out {path}: a link that leads nowhere or in a circle")
            printed = give(self.store, "", self.work / "printed.log")["digest"]
            files = in_parallel(lambda item: give(self.store, *item), found.files.items())
        say(f"handed over {len(files)} files in {self.durations_s['outputs']:.1f} s")
        products = {"files": files, "directories": found.directories, "links": found.links}
        return {"products": products, "printed": printed}

    @contextlib.contextmanager
    def _timed(self, phase: str) -> Iterator[None]:
        started = time.perf_counter()
        yield
        self.durations_s[phase] = round(time.perf_counter() - started, 3)


def in_parallel(function: Callable[[Any], Any], items: Iterable[Any]) -> list[Any]:
    """Return the results in order; after the first exception, begin no further item."""
    with ThreadPoolExecutor(COPIES_AT_ONCE) as pool:
        return list(pool.map(function, items))


def tee(stream: IO[bytes], *copies: IO[bytes]) -> None:
    """Pass on what comes as soon as it comes."""
    while chunk := os.read(stream.fileno(), CHUNK_BYTES):
        for copy in copies:
            copy.write(chunk)
            copy.flush()


def host_facts() -> dict[str, Any]:
    """Return processor, cores, GPUs and Python of this machine."""
    gpus: list[str] = []
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        query = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
        answer = subprocess.run(query, capture_output=True, text=True, check=True, timeout=20)
        gpus = answer.stdout.splitlines()
    processor = platform.processor()
    with contextlib.suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
        processor = models[0] if models else processor
    cores = os.cpu_count()
    return {"cpu": processor, "cores": cores, "gpus": gpus, "python": platform.python_version()}


def utc_now() -> str:
    """Return the time in ISO 8601."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")


def say(message: str) -> None:
    """Print a line that cannot be taken for one of the command's."""
    print(f"[runner] {message}", flush=True)


def main() -> int:
    """Run a job; return the exit code of its command, or 70 for an error around it."""
    parser = argparse.ArgumentParser(description="Run a job whose files are in the store.")
    parser.add_argument("store", type=Path, help="folder that the store is mounted as")
    parser.add_argument("name", help="name of the job")
    parser.add_argument("--work", type=Path, default=Path("work"), help="emptied, then run in")
    parser.add_argument("--grace-s", type=float, default=30, help="from a signal to SIGKILL")
    arguments = parser.parse_args()
    store, work = arguments.store.absolute(), arguments.work.absolute()
    result = Job(store, arguments.name, work, arguments.grace_s).run()
    if result["error"]:
        say(result["error"])
        return EXIT_NOT_RUN
    return int(result["exit_code"])


if __name__ == "__main__":
    if sys.version_info < (3, 11):  # noqa: UP036 (the environment of a job is somebody else's)
        sys.exit("The environment of a job needs Python 3.11 or newer.")
    sys.exit(main())

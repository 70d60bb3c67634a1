"""Check on your own workspace what an emulator cannot prove: `make azureml-smoke`.

    python azureml/smoke.py --azureml-compute cpu-cluster

Runs three short jobs on one node, one after the other, and says one line per point: PASS, FAIL or
SKIP, what was checked, what was seen. Settings are those of azureml/profile.yaml unless given here.
At the end, or when interrupted, jobs are cancelled and all files in the datastore removed; the
jobs stay in the history of the experiment `crossfold_smoke`, and the environment stays registered.
The exit code is 1 if a point failed. docs/azureml.md says what each of them is for.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import importlib.metadata
import json
import logging
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import yaml
from smoke_session import EXPERIMENT, Outages, Session, Skipped, Unexpected
from snakemake_executor_plugin_azureml import ExecutorSettings
from snakemake_executor_plugin_azureml.client import JobNotFound, connect
from snakemake_executor_plugin_azureml.client.errors import describe
from snakemake_executor_plugin_azureml.client.retrying import Patience
from snakemake_executor_plugin_azureml.credentials import find_credential
from snakemake_executor_plugin_azureml.fetching import fetch, read_result
from snakemake_executor_plugin_azureml.jobs import TERMINAL, WAITING, JobInfo, parse_environment
from snakemake_executor_plugin_azureml.packing import stage
from snakemake_executor_plugin_azureml.workspace import find_workspace
from snakemake_interface_common.exceptions import WorkflowError

PROFILE = Path(__file__).with_name("profile.yaml")
SETTINGS = (
    "sdk",
    "login",
    "subscription_id",
    "resource_group",
    "workspace_name",
    "compute",
    "environment",
    "shm_size",
    "tier",
    "datastore",
    "prefix",
    "identity_client_id",
)
"""Those of the executor that matter here."""

LOOK_UPS = 50
# Until a job that is to end is over; beyond it costs too much.
ENDING_S = 300.0


def check_storage(session: Session) -> str:
    """Login, workspace and datastore: write and read a file."""
    store = session.store
    store.write("hello.txt", session.key.encode())
    if store.read("hello.txt") != session.key.encode():
        raise Unexpected("what was read is not what was written")
    container = session.client.container(session.options.datastore)
    return f"{container.container_name} on {container.primary_hostname}"


def check_upload(session: Session) -> str:
    """Sending files, and sending them again."""
    name = session.spec("probe", session.package).name if session.environment else "probe"
    started = time.monotonic()
    first = stage(session.store, name, session.package)
    seconds = time.monotonic() - started
    second = session.store.upload(session.package.files)
    if first.files != len(session.package.files) or second.files:
        raise Unexpected(f"{first.files} files were sent, then {second.files} again")
    megabytes = first.bytes / 1e6
    return f"{first.files} files, {megabytes:.1f} MB in {seconds:.1f} s; then {second.bytes} bytes"


def check_environment(session: Session) -> str:
    """Registering the environment, and registering it again."""
    text = session.options.environment
    if not text:
        raise Unexpected(
            "none is set: --azureml-environment, or azureml-environment in the profile"
        )
    parsed = parse_environment(text, lambda path: _beside_profile(path).read_text(encoding="utf-8"))
    if isinstance(parsed, str):
        session.environment = parsed
        return f"{parsed} is used as it is"
    session.environment = session.client.ensure_environment(parsed)
    if session.client.ensure_environment(parsed) != session.environment:
        raise Unexpected("another version the second time")
    return session.environment


def check_submission(session: Session) -> str:
    """Submitting a job, and submitting it again under its name."""
    spec = session.spec("probe", session.package, tags=session.tags)
    stage(session.store, spec.name, session.package)
    session.probe = session.start(spec)
    again = session.client.submit(spec)
    if again.name != session.probe.name:
        raise Unexpected(f"there are two jobs: {session.probe.name} and {again.name}")
    return f"one job {again.name} ({again.status}), {again.url}"


def check_tags(session: Session) -> str:
    """Finding the job by its tag."""
    probe = session.running_probe()
    found = list(session.client.list(tags={f"smoke-{session.key}": "yes"}, experiment=EXPERIMENT))
    if [info.name for info in found] != [probe.name]:
        raise Unexpected(f"the list has {len(found)} jobs: the executor asks one by one instead")
    if not session.tags.items() <= found[0].tags.items():
        raise Unexpected(f"tags have changed on the way: {dict(found[0].tags)}")
    return "the list has it alone, with its tags whole"


def check_start(session: Session) -> str:
    """The way of the job to a node; the first one waits for its image to be built."""
    probe = session.running_probe()
    started = time.monotonic()
    seen = [probe.status]

    def is_running(info: JobInfo) -> bool:
        if info.status != seen[-1]:
            seen.append(info.status)
        return info.status not in WAITING

    session.wait(probe.name, is_running, 60 * session.options.patience_min)
    return f"{' → '.join(seen)} in {time.monotonic() - started:.0f} s"


def check_log(session: Session) -> str:
    """Reading the log while the job runs."""
    name = session.running_probe().name
    started = time.monotonic()
    session.wait_for_line(name, "probe:")
    return f"its lines after {time.monotonic() - started:.0f} s"


def check_state(session: Session) -> str:
    """State in the storage while the job runs: what a preempted training continues from."""
    name, path = session.running_probe().name, f"{session.mounted}/state.txt"
    while (content := session.store.read(path)) in (None, b"", b"old"):
        if session.client.get(name).status in TERMINAL:
            raise Unexpected("not before the job was over: a preempted training starts afresh")
        time.sleep(session.options.poll_s)
    return f"there at most {max(0.0, time.time() - float(content)):.0f} s after it was written"


def check_polling(session: Session) -> str:
    """Asking often."""
    name = session.running_probe().name
    before, started = session.outages.count, time.monotonic()
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: session.client.get(name), range(LOOK_UPS)))
    seconds = time.monotonic() - started
    throttled = "throttled, and waited" if session.outages.count > before else "not throttled"
    return f"{LOOK_UPS} look-ups in {seconds:.1f} s, {throttled}"


def check_result(session: Session) -> str:
    """Bringing back what the job has made."""
    name = session.running_probe().name
    info = session.wait(name, lambda info: info.status in TERMINAL, 600 + session.options.watch_s)
    if info.status != "Completed":
        end = " | ".join(session.client.log_tail(name, 5))
        raise Unexpected(f"the job has {info.status.lower()}: {end}; {info.url}")
    result = session.wait_for_result(name)
    received = fetch(session.store, result, session.package.manifest, root=session.folder)
    there, back = (session.folder / name / "large.bin" for name in ("in", "out"))
    if back.read_bytes() != there.read_bytes():
        raise Unexpected("a file came back changed")
    if not (session.folder / "out" / "empty").is_dir():
        raise Unexpected("an empty folder is lost")
    session.result = result
    inputs_s, outputs_s = (result.durations_s[phase] for phase in ("inputs", "outputs"))
    return f"{received / 1e6:.1f} MB; in the job, {inputs_s:.1f} s to read and {outputs_s:.1f} s"


def check_mount(session: Session) -> str:
    """Writing, appending, renaming and deleting in the mounted folder."""
    trials = _facts(session)["mount"]
    failed = [f"{trial}: {error}" for trial, error in trials.items() if error]
    if failed:
        raise Unexpected("; ".join(failed))
    left = session.store.read(f"{session.mounted}/deleted.txt")
    part = session.store.read(f"{session.mounted}/state.txt.part")
    if left is not None or part is not None:
        raise Unexpected("what was deleted or renamed is still in the storage")
    if session.store.read(f"{session.mounted}/written.txt") != b"first, second":
        raise Unexpected("what was appended is not in the storage")
    return ", ".join(trials).replace("_", " ")


def check_software(session: Session) -> str:
    """Python and Snakemake of the environment."""
    facts, here = _facts(session), importlib.metadata.version("snakemake")
    gpus = ", ".join(session.probe_result().host.get("gpus", [])) or "no GPU"
    packages = ("python", "snakemake", "torch")
    seen = ", ".join(f"{name} {facts[name] or 'missing'}" for name in packages)
    if facts["snakemake"] != here:
        raise Unexpected(f"{seen}; here it is snakemake {here}")
    return f"{seen}, {gpus}"


def check_cancelling(session: Session) -> str:
    """Cancelling a job that runs."""
    name = session.start_sleeper("cancel").name
    session.wait_for_command(name)
    session.wait_for_line(name, "sleeping")
    started = time.monotonic()
    session.client.cancel(name)
    info = session.wait(name, lambda info: info.status in TERMINAL, ENDING_S)
    if info.status != "Canceled":
        raise Unexpected(f"it is {info.status}")
    seconds = time.monotonic() - started
    result = read_result(session.store, name)
    told = f"by {result.signal}" if result is not None and result.signal else "without a signal"
    return f"Canceled after {seconds:.0f} s, the command ended {told}"


def check_time_limit(session: Session) -> str:
    """The time limit that `runtime` of a rule becomes."""
    limit_s = session.options.time_limit_s
    name = session.start_sleeper("limit", timeout_s=limit_s).name
    session.wait_for_command(name)
    started = time.monotonic()
    info = session.wait(name, lambda info: info.status in TERMINAL, limit_s + ENDING_S)
    if info.status == "Completed":
        raise Unexpected("it ended well")
    return f"{info.status} after {time.monotonic() - started:.0f} s, limit {limit_s} s"


def check_low_priority(session: Session) -> str:
    """Asking serverless compute for a node of low priority; cancelled at once."""
    if session.options.sdk == "v1":
        raise Skipped("azureml-core knows no serverless compute")
    if session.options.compute:
        raise Skipped(f"{session.options.compute} has the tier that it was made with")
    info = session.start_sleeper("spot", tier="low_priority")
    session.client.cancel(info.name)
    return f"accepted ({info.status}) and cancelled"


def check_preemption(_session: Session) -> str:
    """What becomes of a job whose node is taken away."""
    raise Skipped(
        "nobody can order one; expected are Queued and Running again, under the same name, and "
        "'continues after epoch' in the log of train_fold"
    )


CHECKS: Mapping[str, Callable[[Session], str]] = {
    "storage": check_storage,
    "environment": check_environment,
    "upload twice": check_upload,
    "submit twice": check_submission,
    "list by tag": check_tags,
    "start": check_start,
    "log while running": check_log,
    "state while running": check_state,
    "polling": check_polling,
    "result": check_result,
    "mount": check_mount,
    "software": check_software,
    "cancel": check_cancelling,
    "time limit": check_time_limit,
    "low priority": check_low_priority,
    "preemption": check_preemption,
}


def _facts(session: Session) -> dict[str, Any]:
    """What the probe wrote down."""
    session.probe_result()
    return json.loads((session.folder / "out" / "facts.json").read_text(encoding="utf-8"))


def _beside_profile(path: str) -> Path:
    """A file that the profile names, which Snakemake looks for in the repository."""
    return PROFILE.parents[1] / path


def run_checks(session: Session) -> bool:
    """Check one point after the other; return whether none failed."""
    passed = True
    for point, check in CHECKS.items():
        try:
            verdict, seen = "PASS", check(session)
        except Skipped as reason:
            verdict, seen = "SKIP", str(reason)
        except Exception as error:
            verdict, seen, passed = "FAIL", describe(error), False
        print(f"{verdict}  {point}: {' '.join(seen.split())}", flush=True)
    return passed


def clean_up(session: Session) -> None:
    """Cancel what still runs and remove what was sent or written."""
    for name in session.submitted:
        with contextlib.suppress(JobNotFound):
            if session.client.get(name).status not in TERMINAL:
                session.client.cancel(name)
                session.wait(name, lambda info: info.status in TERMINAL, ENDING_S)
    container = session.client.container(session.options.datastore)
    names = [blob.name for blob in container.list_blobs(name_starts_with=f"{session.prefix}/")]
    # In accounts with a hierarchy, folders are blobs that can be removed when they are empty.
    for name in sorted(names, reverse=True):
        container.delete_blob(name)


@contextlib.contextmanager
def open_session(options: argparse.Namespace) -> Iterator[Session]:
    """Connect, and leave nothing behind."""
    workspace = find_workspace(
        subscription_id=options.subscription_id,
        resource_group=options.resource_group,
        workspace_name=options.workspace_name,
    )
    outages = Outages()
    logger = logging.getLogger("smoke")
    logger.addHandler(outages)
    client = connect(
        options.sdk,
        workspace,
        credential=find_credential(options.login),
        patience=Patience(total_s=300, logger=logger),
    )
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        session = Session(options=options, client=client, outages=outages, folder=Path(folder))
        try:
            yield session
        finally:
            try:
                clean_up(session)
            except Exception as error:
                print(
                    f"Not cleaned up: {describe(error)}\nCancel smoke-…-{session.key} in the "
                    f"portal and delete {session.prefix} in datastore {options.datastore}.",
                    file=sys.stderr,
                )


def read_options(arguments: list[str] | None = None) -> argparse.Namespace:
    """Command line over profile over the executor's own defaults."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    profile = yaml.safe_load(PROFILE.read_text(encoding="utf-8"))
    for setting in dataclasses.fields(ExecutorSettings):
        if setting.name in SETTINGS:
            option = f"azureml-{setting.name.replace('_', '-')}"
            parser.add_argument(
                f"--{option}",
                dest=setting.name,
                default=profile.get(option, setting.default),
                choices=setting.metadata.get("choices"),
                help=setting.metadata["help"],
            )
    parser.add_argument("--patience-min", type=float, default=60, help="minutes for a job to start")
    parser.add_argument("--watch-s", type=float, default=90, help="seconds that the first job runs")
    parser.add_argument("--time-limit-s", type=int, default=60, help="time limit that is tried")
    parser.add_argument("--poll-s", type=float, default=3, help="seconds between questions")
    return parser.parse_args(arguments)


def main() -> int:
    """Run the program."""
    try:
        with open_session(read_options()) as session:
            return 0 if run_checks(session) else 1
    except WorkflowError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())

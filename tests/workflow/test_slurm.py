"""The pipeline with its GPU rules as batch jobs of a SLURM that runs on this machine."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.workflow.checkout import TINY, Checkout, copy_checkout
from tests.workflow.slurm_cluster import BatchJob, SlurmCluster, SlurmMissingError

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        find_spec("snakemake_executor_plugin_slurm") is None,
        reason="no executor for SLURM: run make setup-slurm",
    ),
]

METRICS = "results/Tiny/ensemble_metrics.csv"
SAME = (
    METRICS,
    "results/Tiny/folds/0/checkpoints/epoch_040.safetensors",
    "results/Tiny/folds/1/checkpoints/epoch_040.safetensors",
    "results/Tiny/folds/0/segmentations/test/phantom_002.nii.gz",
    "results/Tiny/ensemble/posteriors/phantom_005.nii.gz",
)
OVERLAY = ("--configfile", "tiny.yaml")
# Looks more often: these jobs take seconds.
REMOTE = ("--profile", "slurm", "--slurm-init-seconds-before-status-checks", "1", *OVERLAY)


@pytest.fixture(scope="module")
def cluster() -> Iterator[SlurmCluster]:
    try:
        slurm = SlurmCluster()
    except SlurmMissingError as missing:
        pytest.skip(str(missing))
    yield slurm
    slurm.stop()


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """What the same commands give without a cluster."""
    checkout = copy_checkout(tmp_path_factory.mktemp("local") / "checkout")
    shutil.copy2(TINY, checkout.folder)
    done = checkout.snakemake(*OVERLAY, "--", METRICS)
    assert done.code == 0, done.errors
    return checkout


@pytest.fixture
def checkout(tmp_path: Path, local: Checkout, cluster: SlurmCluster) -> Checkout:
    """A clone in which everything before the training has been done."""
    folder = tmp_path / "checkout"
    shutil.copytree(local.folder, folder, ignore=shutil.ignore_patterns(".state"))
    return replace(local, folder=folder, variables={**local.variables, **cluster.environment})


def newest(cluster: SlurmCluster, known: list[BatchJob]) -> list[BatchJob]:
    before = {job.id for job in known}
    return [job for job in cluster.jobs() if job.id not in before]


def has_state(checkout: Checkout, fold: int) -> bool:
    return any((checkout.folder / ".state" / "Tiny" / f"fold_{fold}").glob("*/state.pt"))


def training_job(cluster: SlurmCluster, fold: int) -> BatchJob | None:
    """The job that trains a fold now."""
    comment = f"rule_train_fold_wildcards_Tiny_{fold}"
    jobs = (job for job in cluster.jobs() if job.comment == comment and job.state == "RUNNING")
    return next(jobs, None)


@contextmanager
def started(checkout: Checkout) -> Iterator[subprocess.Popen[str]]:
    """Snakemake, while it trains again."""
    with subprocess.Popen(
        checkout.command(*REMOTE, "--forcerun", "train_fold", "--", METRICS),
        cwd=checkout.folder,
        env=checkout.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def test_folds_that_lose_their_node_give_the_results_of_one_machine(
    checkout: Checkout, cluster: SlurmCluster, local: Checkout
) -> None:
    """Fold 0 is cancelled, and retried by Snakemake; fold 1 loses its node, and SLURM retries."""
    known = cluster.jobs()
    with started(checkout) as process:
        for fold, command in enumerate((["scancel"], ["scontrol", "requeue"])):
            cluster.wait_until(lambda fold=fold: has_state(checkout, fold), f"{fold} is trained")
            job = training_job(cluster, fold)
            assert job, cluster.jobs()
            cluster.run(*command, job.id)
        printed = process.communicate(timeout=240)[0]
    assert process.returncode == 0, printed
    jobs = newest(cluster, known)
    prefix = "rule_{}_fold_wildcards_Tiny_{}".format
    # Whatever is one of the localrules, as the ensemble and its metrics, ran here.
    assert sorted((job.comment, job.state, job.restarts) for job in jobs) == [
        (prefix("predict", 0), "COMPLETED", 0),
        (prefix("predict", 1), "COMPLETED", 0),
        (prefix("train", 0), "CANCELLED", 0),
        (prefix("train", 0), "COMPLETED", 0),
        (prefix("train", 1), "COMPLETED", 1),
    ], printed
    assert {(job.gpus, job.cpus, job.memory) for job in jobs} == {("gres:gpu:1", "1", "8000M")}
    for fold in range(2):
        machine = (checkout.folder / f"results/Tiny/folds/{fold}/machine.json").read_text()
        assert json.loads(machine)["continued_after_epoch"] > 0
    for name in SAME:
        assert (checkout.folder / name).read_bytes() == (local.folder / name).read_bytes(), name
    # The nodes have made nothing that this machine would make again.
    again = checkout.snakemake(*OVERLAY, "--", METRICS)
    assert "Nothing to be done" in again.output + again.errors


def test_an_interrupt_cancels_the_jobs(checkout: Checkout, cluster: SlurmCluster) -> None:
    known = cluster.jobs()
    with started(checkout) as process:
        cluster.wait_until(lambda: training_job(cluster, 0), "a fold is trained")
        process.send_signal(signal.SIGINT)
        printed = process.communicate(timeout=60)[0]
    assert process.returncode != 0, printed
    cluster.wait_until(lambda: not cluster.run("squeue", "--noheader"), "no job is left", 20)
    assert "COMPLETED" not in {job.state for job in newest(cluster, known)}
    # It is not locked, and what was not trained to its end is trained again.
    planned = checkout.snakemake(*OVERLAY, "-n", "--rerun-incomplete", "--", METRICS)
    assert planned.jobs["train_fold"] == 2, planned.errors


def test_a_dry_run_needs_no_cluster(local: Checkout) -> None:
    done = local.snakemake("--profile", "slurm", *OVERLAY, "-n", "--forceall", "--", METRICS)
    assert done.code == 0, done.errors
    assert done.jobs["train_fold"] == 2

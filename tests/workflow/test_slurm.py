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

import pandas as pd
import pytest

from tests.workflow.checkout import METRICS, SEARCH, Checkout, search_of, without_search
from tests.workflow.slurm_cluster import BatchJob, SlurmCluster, SlurmMissingError

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        find_spec("snakemake_executor_plugin_slurm") is None,
        reason="no executor for SLURM: run make setup-slurm",
    ),
]

SAME = (
    METRICS,
    "results/Tiny/folds/0/checkpoints/epoch_040.safetensors",
    "results/Tiny/folds/1/checkpoints/epoch_040.safetensors",
    "results/Tiny/folds/0/segmentations/test/phantom_002.nii.gz",
    "results/Tiny/ensemble/posteriors/phantom_005.nii.gz",
)
OVERLAY = ("--configfile", "tiny.yaml")
AGAIN = ("--forcerun", "train_fold", "--", METRICS)
# What Snakemake's executor tells SLURM of a job.
TRAINING = "rule_train_fold_wildcards_Tiny_{}"
TRIAL = "rule_train_trial_wildcards_Tiny_{}_0"
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


@pytest.fixture
def checkout(tmp_path: Path, local: Checkout, cluster: SlurmCluster) -> Checkout:
    """A clone in which everything before the training has been done."""
    folder = tmp_path / "checkout"
    shutil.copytree(local.folder, folder, ignore=shutil.ignore_patterns(".state"))
    return replace(local, folder=folder, variables={**local.variables, **cluster.environment})


def newest(cluster: SlurmCluster, known: list[BatchJob]) -> list[BatchJob]:
    before = {job.id for job in known}
    return [job for job in cluster.jobs() if job.id not in before]


def running_job(cluster: SlurmCluster, comment: str) -> BatchJob | None:
    """The job that does something now."""
    jobs = (job for job in cluster.jobs() if job.comment == comment and job.state == "RUNNING")
    return next(jobs, None)


@contextmanager
def started(checkout: Checkout, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Snakemake, while it runs."""
    with subprocess.Popen(
        checkout.command(*REMOTE, *arguments),
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
    with started(checkout, *AGAIN) as process:
        lose = {0: ["scancel"], 1: ["scontrol", "requeue"]}

        def under_way() -> list[int]:
            return [fold for fold in lose if checkout.running_states(f"Tiny/fold_{fold}")]

        while lose:  # whichever comes first: a fold is done in seconds
            cluster.wait_until(under_way, "a fold is trained")
            for fold in under_way():
                job = running_job(cluster, TRAINING.format(fold))
                assert job, cluster.jobs()
                cluster.run(*lose.pop(fold), job.id)
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
    with started(checkout, *AGAIN) as process:
        cluster.wait_until(lambda: running_job(cluster, TRAINING.format(0)), "a fold is trained")
        process.send_signal(signal.SIGINT)
        printed = process.communicate(timeout=60)[0]
    assert process.returncode != 0, printed
    cluster.wait_until(lambda: not cluster.run("squeue", "--noheader"), "no job is left", 20)
    assert "COMPLETED" not in {job.state for job in newest(cluster, known)}
    # It is not locked, and what was not trained to its end is trained again.
    planned = checkout.snakemake(*OVERLAY, "-n", "--rerun-incomplete", "--", METRICS)
    assert planned.jobs["train_fold"] == 2, planned.errors


def test_a_search_on_nodes_without_gpus_is_that_of_one_machine(
    checkout: Checkout, cluster: SlurmCluster, local: Checkout
) -> None:
    """Trials are batch jobs; one is cancelled, and continued by the next."""
    without_search(checkout)
    overlay = checkout.folder / "tiny.yaml"
    fewer = overlay.read_text(encoding="utf-8").replace("trials: 3", "trials: 2")
    overlay.write_text(fewer, encoding="utf-8")
    known = cluster.jobs()
    without_gpus = ("--config", "request_gpus=false", "--default-resources")
    with started(checkout, *without_gpus, "slurm_partition=plain", "--", SEARCH) as process:
        cluster.wait_until(
            lambda: checkout.running_states("Tiny/search/trial_0"), "a trial is trained"
        )
        job = running_job(cluster, TRIAL.format(0))
        assert job, cluster.jobs()
        cluster.run("scancel", job.id)
        printed = process.communicate(timeout=240)[0]
    assert process.returncode == 0, printed
    jobs = newest(cluster, known)
    # What a round tries and what came of it was found out here.
    assert sorted((job.comment, job.state) for job in jobs) == [
        (TRIAL.format(0), "CANCELLED"),
        (TRIAL.format(0), "COMPLETED"),
        (TRIAL.format(1), "COMPLETED"),
    ], printed
    # The other node would have been asked for GPUs, and this one would have refused.
    assert {job.gpus for job in jobs} == {"N/A"}
    log = (checkout.folder / "logs/train_trial/Tiny_0_0.log").read_text(encoding="utf-8")
    assert "fold 0 continues after epoch" in log
    # A search with fewer trials is the beginning of one with more.
    pd.testing.assert_frame_equal(search_of(checkout), search_of(local)[:2])


def test_a_dry_run_needs_no_cluster(local: Checkout, tmp_path: Path) -> None:
    on_processors = tmp_path / "processors.yaml"
    on_processors.write_text("models: {Tiny: {training: {device: cpu}}}", encoding="utf-8")
    for overlay, gpus in ((OVERLAY, "gpu=1,"), ((*OVERLAY, str(on_processors)), "gpu=0,")):
        plan = ("-n", "--forceall", "--", METRICS)
        done = local.snakemake("--profile", "slurm", *overlay, *plan)
        assert done.code == 0, done.errors
        assert done.jobs["train_fold"] == 2
        assert done.output.count(gpus) == 4  # two folds are trained and predict

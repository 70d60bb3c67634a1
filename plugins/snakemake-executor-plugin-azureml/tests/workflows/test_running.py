"""What comes back from jobs that run."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from conftest import Project

pytestmark = pytest.mark.slow

SIMPLE = """
    rule all:
        input: "results/all.txt"
    rule make:
        input: "data/{name}.txt"
        output: "results/{name}.txt"
        log: "logs/{name}.log"
        benchmark: "benchmarks/{name}.tsv"
        resources: gpu=1, mem_mb=100, runtime=10
        shell: "cat {input} > {output}; echo made {wildcards.name} > {log}; pwd"
    rule join:
        input: expand("results/{name}.txt", name=["a", "b"])
        output: "results/all.txt"
        localrule: True
        shell: "cat {input} > {output}"
"""


@pytest.mark.parametrize("sdk", ["v2", "v1"])
def test_files_logs_and_benchmarks_are_where_a_local_run_puts_them(
    project: Project, sdk: str
) -> None:
    project.write("Snakefile", SIMPLE)
    for name in "ab":
        project.write(f"data/{name}.txt", name)
    project.run("results/all.txt", "--azureml-sdk", sdk)
    assert project.read("results/all.txt") == "ab"
    assert project.read("logs/a.log") == "made a\n"
    assert project.read("benchmarks/b.tsv").startswith("s\t")
    assert len(project.jobs()) == 2
    assert "Nothing to be done" in project.run_locally("results/all.txt")


def test_nothing_is_sent_twice_and_no_secret_at_all(project: Project) -> None:
    project.write("Snakefile", SIMPLE)
    project.write("data/a.txt", "a")
    emulator = project.azureml
    secret = {"AZURE_CLIENT_SECRET": "s3cret-Of-The-Principal"}
    project.run("results/a.txt", "--verbose", **secret)
    assert emulator.requests(method="PUT", service="blob", path="/blobs/")
    emulator.forget_requests()
    project.run("results/a.txt", "--verbose", "--force", **secret)
    assert not emulator.requests(method="PUT", service="blob", path="/blobs/")
    written = [path.read_bytes() for path in project.folder.rglob("*") if path.is_file()]
    written += [project.said().encode(), *emulator.blobs().values()]
    written += [str(vars(job)).encode() for job in emulator.jobs()]
    token = emulator.environment["AZUREML_EMULATOR_TOKEN"].encode()
    for text in written:
        for hidden in (b"sig=", b"s3cret", b"Bearer ", token):
            assert hidden not in text


def test_jobs_can_be_told_apart_in_the_portal(project: Project) -> None:
    project.write("Snakefile", SIMPLE)
    project.write("data/a.txt", "a")
    project.commit()
    project.run("results/a.txt", "--azureml-compute", "gpu-cluster")
    (job,) = project.jobs()
    assert re.fullmatch("make-a-[0-9a-f]{10}-1", job.name)
    assert job.experiment == "my_branch_2"
    assert (job.compute, job.timeout_s) == ("gpu-cluster", 600)
    wanted = {"rule": "make", "name": "a", "wildcards": "name=a", "attempt": "1", "gpu": "1"}
    assert wanted.items() <= job.tags.items()
    assert re.fullmatch("[0-9a-f]{40}", job.tags["git_commit"])


def test_directories_checkpoints_and_braces_arrive(project: Project) -> None:
    project.write(
        "Snakefile",
        """
        checkpoint split:
            input: "data"
            output: directory("parts")
            shell: "mkdir -p {output}/empty {output}/below && cp -r data/* {output}/ && "
                   "echo '${{{{inputs.x}}}}' > {output}/below/braces"
        def parts(wildcards):
            names = glob_wildcards(checkpoints.split.get().output[0] + "/{name}.txt").name
            return expand("sizes/{name}", name=names)
        rule size:
            input: "parts"
            output: "sizes/{name}"
            shell: "test -d parts/empty && wc -c < parts/{wildcards.name}.txt > {output}"
        rule all:
            input: parts
            output: "all"
            default_target: True
            localrule: True
            shell: "cat {input} > {output}"
        """,
    )
    for name in "ab":
        project.write(f"data/{name}.txt", name)
    (project.folder / "data/none").mkdir()
    project.run()
    assert project.read("all").split() == ["1", "1"]
    assert (project.folder / "parts/empty").is_dir()
    assert project.read("parts/below/braces") == "${{inputs.x}}\n"


def test_a_group_is_one_job(project: Project) -> None:
    project.write(
        "Snakefile",
        """
        rule all:
            input: expand("predictions/{fold}", fold=range(2))
        rule train:
            output: model=temp("models/{fold}"), curve="curves/{fold}"
            log: "logs/train-{fold}.log"
            group: "fold"
            shell: "echo {wildcards.fold} > {output.model}; touch {output.curve}; echo t > {log}"
        rule predict:
            input: "models/{fold}"
            output: "predictions/{fold}"
            group: "fold"
            shell: "cp {input} {output}"
        """,
    )
    project.run()
    assert project.read("predictions/1") == "1\n"
    assert project.read("logs/train-0.log") == "t\n"
    assert not (project.folder / "models/0").exists()
    assert sorted(job.name.rpartition("-")[0][:-11] for job in project.jobs()) == [
        "train-predict-0",
        "train-predict-1",
    ]
    assert "Nothing to be done" in project.run_locally()


def test_a_failure_is_explained_and_tried_again_with_more(project: Project) -> None:
    project.write(
        "Snakefile",
        """
        rule fit:
            output: "model"
            log: "logs/fit.log"
            benchmark: "benchmarks/fit.tsv"
            resources: mem_mb=lambda wildcards, attempt: 1000 * attempt
            shell: "echo at {resources.mem_mb} | tee {log}; echo no luck >&2; "
                   "touch {output}; test {resources.mem_mb} -gt {config[enough]}"
        """,
    )
    assert project.run("--retries", "1", "--config", "enough=1500").count("Submitted") == 2
    assert [job.tags["mem_mb"] for job in project.jobs()] == ["1000", "2000"]
    (project.folder / "model").unlink()
    said = project.run("--retries", "1", "--config", "enough=5000", expect=1)
    job = project.jobs()[-1]
    for text in (said, project.read("logs/fit.log")):
        assert f"{job.name} failed with exit code 1" in text
        assert "Portal: https://" in text
        assert "no luck" in text
    assert project.read("logs/fit.log").startswith("at 2000\n")
    assert not (project.folder / "model").exists()
    assert f".snakemake/azureml/logs/{job.name}.log" in said


def test_folders_outlive_jobs_and_data_is_found_in_the_cloud(project: Project) -> None:
    project.azureml.put_blob("images/scan.txt", b"scan")
    project.write(
        "Snakefile",
        """
        rule count:
            output: "{name}"
            resources:
                azureml_mounts=".state, data/images="
                    "azureml://datastores/workspaceblobstore/paths/images/"
            shell: "cat data/images/scan.txt >> .state/seen; cp .state/seen {output}"
        """,
    )
    project.run("first")
    project.run("second")
    assert project.read("second") == "scanscan"
    assert not (project.folder / "data").exists()


def test_nothing_is_submitted_where_something_is_missing(project: Project) -> None:
    project.write("Snakefile", SIMPLE)
    project.write("data/a.txt", "a")
    assert "results/a.txt" in project.run("results/a.txt", "-n", AZUREML_WORKSPACE_NAME="")
    said = project.run("results/a.txt", expect=1, AZUREML_WORKSPACE_NAME="")
    assert "workspace_name missing" in said
    assert 'File "' not in said
    said = project.run("results/a.txt", "--azureml-environment", "envs/x.yaml", expect=1)
    assert "envs/x.yaml cannot be read" in said
    assert "Traceback" not in said
    secret = "DefaultEndpointsProtocol=https;AccountKey=c2VjcmV0LXNlY3JldA==;"
    said = project.run("results/a.txt", "--envvars", "STORE", expect=1, STORE=secret)
    assert "STORE (envvars: or --envvars) holds a secret" in said
    assert "c2VjcmV0" not in said
    assert not project.jobs()

import json
import os
import tarfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from azure.storage.blob import ContainerClient
from snakemake_executor_plugin_azureml import runner
from snakemake_executor_plugin_azureml.digests import DigestCache
from snakemake_executor_plugin_azureml.packing import (
    Manifest,
    Package,
    Sources,
    pack_job,
    pack_sources,
    parse_mounts,
    stage,
)
from snakemake_executor_plugin_azureml.store import Store
from snakemake_interface_common.exceptions import WorkflowError


class File(str):
    """What Snakemake makes of a path in a rule."""

    __slots__ = ("flags", "is_storage")

    def __new__(cls, path: str, *flags: str, is_storage: bool = False) -> "File":
        file = super().__new__(cls, path)
        file.flags = dict.fromkeys(flags, True)
        file.is_storage = is_storage
        return file


def make_job(**fields: Any) -> Any:
    defaults = {"name": "train", "input": [], "output": [], "log": [], "benchmark": None}
    return SimpleNamespace(**defaults | fields, is_group=lambda: False)


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "checkout"
    (folder / "scripts" / "__pycache__").mkdir(parents=True)
    (folder / "Snakefile").write_text("rule all:")
    (folder / "scripts" / "train.py").write_text("train()")
    (folder / "scripts" / "train.py").chmod(0o775)
    (folder / "scripts" / "__pycache__" / "train.pyc").touch()
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def digests(tmp_path: Path) -> DigestCache:
    return DigestCache(tmp_path / "digests.json")


@pytest.fixture
def sources(checkout: Path, tmp_path: Path, digests: DigestCache) -> Sources:
    return pack_sources(["Snakefile"], tmp_path / "sources.tar", digests)


@pytest.fixture
def pack(sources: Sources, digests: DigestCache) -> Callable[..., Package]:
    def pack(job: Any, **options: Any) -> Package:
        return pack_job(job, command="snakemake", sources=sources, digests=digests, **options)

    return pack


ALL = [
    "scripts/train.py",
    "Snakefile",
    "./Snakefile",
    "scripts/__pycache__/train.pyc",
    "deleted.py",
]


def test_the_archive_depends_on_content_only(
    checkout: Path, tmp_path: Path, digests: DigestCache
) -> None:
    first = pack_sources(ALL, tmp_path / "a.tar", digests)
    os.utime("Snakefile", (1, 1))
    Path("scripts/train.py").chmod(0o711)
    second = pack_sources(reversed(ALL), tmp_path / "b.tar", digests)
    assert first.archive.digest == second.archive.digest
    Path("Snakefile").write_text("rule all: ")
    third = pack_sources(ALL, tmp_path / "b.tar", digests)
    assert third.archive.digest != first.archive.digest


def test_the_archive_holds_the_sources_that_are_there(
    checkout: Path, tmp_path: Path, digests: DigestCache
) -> None:
    pack_sources(ALL, tmp_path / "sources.tar", digests)
    with tarfile.open(tmp_path / "sources.tar") as archive:
        members = archive.getmembers()
    assert [(member.name, oct(member.mode), member.mtime, member.uid) for member in members] == [
        ("Snakefile", "0o644", 0, 0),
        ("scripts/train.py", "0o755", 0, 0),
    ]


def test_links_among_the_sources_stay_links_and_others_become_files(
    checkout: Path, tmp_path: Path, digests: DigestCache
) -> None:
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared" / "rules.smk").write_text("rule shared:")
    Path("start").symlink_to("Snakefile")
    Path("shared").symlink_to("../shared")
    Path("lost").symlink_to("../nowhere")
    pack_sources(["start", "shared", "lost"], tmp_path / "sources.tar", digests)
    with tarfile.open(tmp_path / "sources.tar") as archive:
        members = {member.name: member for member in archive.getmembers()}
    assert members.keys() == {"start", "shared/rules.smk"}
    assert members["start"].linkname == "Snakefile"
    assert members["shared/rules.smk"].isreg()


def test_sources_above_the_working_directory_travel_as_inputs(
    checkout: Path, tmp_path: Path, digests: DigestCache
) -> None:
    (tmp_path / "lab").mkdir()
    (tmp_path / "lab" / "config.yaml").write_text("epochs: 3")
    sources = pack_sources(["../lab/config.yaml"], tmp_path / "sources.tar", digests)
    package = pack_job(make_job(), command="snakemake", sources=sources, digests=digests)
    assert [file.path for file in package.manifest.inputs.files] == ["../lab/config.yaml"]
    assert package.manifest.depth == 1


def test_a_directory_travels_whole(checkout: Path, pack: Callable[..., Package]) -> None:
    Path("data/images/empty").mkdir(parents=True)
    Path("data/images/1.nii").write_bytes(b"voxels")
    Path("data/images/1.nii").chmod(0o640)
    Path("data/images/.snakemake_timestamp").touch()
    Path("data/images/first").symlink_to("1.nii")
    Path("cache").mkdir()
    Path("cache/ab12").write_bytes(b"voxels")
    Path("data/images/2.nii").symlink_to("../../cache/ab12")  # as DVC links to its cache
    tree = pack(make_job(input=[File("data/images")])).manifest.inputs
    assert [(file.path, file.size) for file in tree.files] == [
        ("data/images/1.nii", 6),
        ("data/images/2.nii", 6),
    ]
    assert tree.files[0].mode == 0o640
    assert tree.directories == ("data/images", "data/images/empty")
    assert tree.links == {"data/images/first": "1.nii"}


def test_every_file_of_a_job_is_in_its_package(
    checkout: Path, pack: Callable[..., Package], sources: Sources
) -> None:
    Path("splits.csv").write_text("subject,fold")
    job = make_job(
        input=[File("splits.csv"), File("az://lab/scan.nii", is_storage=True)],
        output=[File("model.bin"), File("az://lab/model.bin", is_storage=True)],
        log=[File("logs/train.log")],
        benchmark=File("benchmarks/train.tsv"),
    )
    package = pack(job, environment={"OMP_NUM_THREADS": "1"}, mounts={".state": "persistent/x"})
    manifest = package.manifest
    assert [file.path for file in manifest.inputs.files] == ["splits.csv"]
    assert manifest.products == ("model.bin", "logs/train.log", "benchmarks/train.tsv")
    assert {file.path for file in package.files} == {
        sources.archive.path,
        Path("splits.csv"),
        Path(runner.__file__),
    }
    assert Manifest.from_json(manifest.to_json()) == manifest
    assert json.loads(manifest.to_json())["environment"] == {"OMP_NUM_THREADS": "1"}


def test_a_group_is_packed_as_one_job(checkout: Path, pack: Callable[..., Package]) -> None:
    Path("splits.csv").touch()
    Path("labels.csv").touch()
    train = make_job(output=[File("model.bin")], log=[File("train.log")])
    predict = make_job(output=[File("masks")], benchmark=File("predict.tsv"))

    def group(jobs: list[Any], inputs: list[str]) -> Any:
        # Snakemake leaves what one job of the group makes for another out of its `output`.
        fields = {"name": "fold", "input": [*map(File, inputs)], "output": [File("masks")]}
        return SimpleNamespace(**fields, jobs=jobs, is_group=lambda: True)

    package = pack(group([train, predict], ["splits.csv", "labels.csv"]))
    assert package.manifest.outputs == ("masks", "model.bin")
    assert package.manifest.logs == ("train.log",)
    assert package.manifest.benchmarks == ("predict.tsv",)
    other = pack(group([predict, train], ["labels.csv", "splits.csv"]))
    assert other.manifest.fingerprint == package.manifest.fingerprint


def test_an_output_that_is_updated_is_an_input_too(
    checkout: Path, pack: Callable[..., Package]
) -> None:
    Path("table.csv").write_text("a")
    job = make_job(output=[File("table.csv", "update"), File("new.csv", "update")])
    assert [file.path for file in pack(job).manifest.inputs.files] == ["table.csv"]


def test_the_fingerprint_changes_with_an_input(
    checkout: Path, pack: Callable[..., Package]
) -> None:
    job = make_job(input=[File("splits.csv")])
    fingerprints = set()
    for content in ("a", "b", "a"):
        Path("splits.csv").write_text(content)
        fingerprints.add(pack(job).manifest.fingerprint)
    assert len(fingerprints) == 2


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("/etc/hostname", "/etc/hostname, an input of train, has an absolute path"),
        ("missing.csv", r"missing\.csv, an input of train, does not exist"),
        ("images", "images/lost, an input of train, is a link that leads nowhere"),
        ("lost", "lost, an input of train, is a link that leads nowhere"),
    ],
)
def test_an_input_that_would_not_arrive_is_refused(
    checkout: Path, pack: Callable[..., Package], path: str, message: str
) -> None:
    Path("images").mkdir()
    Path("images/lost").symlink_to("../nowhere")
    Path("lost").symlink_to("nowhere")
    with pytest.raises(WorkflowError, match=message):
        pack(make_job(input=[File(path)]))


def test_the_manifest_comes_after_its_files(
    checkout: Path,
    pack: Callable[..., Package],
    container: ContainerClient,
    requests_made: list[str],
) -> None:
    package = pack(make_job())
    store = Store(container, "smk")
    transfer = stage(store, "train-1", package)
    assert (transfer.files, transfer.present) == (2, 0)
    assert requests_made[-1].startswith("PUT")
    assert requests_made[-1].endswith("/smk/jobs/train-1/manifest.json")
    text = store.read("jobs/train-1/manifest.json")
    assert text is not None
    assert Manifest.from_json(text) == package.manifest
    assert package.command("${{outputs.store}}", "train-1") == (
        f'python "${{{{outputs.store}}}}/blobs/{package.runner.digest[:2]}/{package.runner.digest}"'
        ' "${{outputs.store}}" train-1'
    )


def test_mounts_are_kept_by_workflow() -> None:
    assert parse_mounts("state_dir=.state, cache/./weights,", "prostate") == {
        ".state": "persistent/prostate/.state",
        "cache/weights": "persistent/prostate/cache/weights",
    }
    assert parse_mounts("", "prostate") == {}


@pytest.mark.parametrize("path", ["/data", "../data", "a/../..", "."])
def test_a_mount_outside_of_the_working_directory_is_refused(path: str) -> None:
    with pytest.raises(WorkflowError, match="outside of the working directory"):
        parse_mounts(path, "prostate")

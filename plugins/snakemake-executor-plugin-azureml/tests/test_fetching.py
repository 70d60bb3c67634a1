import dataclasses
import hashlib
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from azure.storage.blob import ContainerClient
from snakemake_executor_plugin_azureml import runner
from snakemake_executor_plugin_azureml.digests import DigestCache
from snakemake_executor_plugin_azureml.fetching import Result, fetch, read_result
from snakemake_executor_plugin_azureml.packing import (
    Manifest,
    StoredFile,
    Tree,
    pack_job,
    pack_sources,
    stage,
)
from snakemake_executor_plugin_azureml.runner import blob_path
from snakemake_executor_plugin_azureml.store import Store
from snakemake_interface_common.exceptions import WorkflowError

MANIFEST = Manifest(
    command="", sources="", outputs=("model.bin", "out/masks"), logs=("out/masks/1.log", "t.log")
)


class Made:
    """What a job left in the store."""

    def __init__(self, container: ContainerClient) -> None:
        self.container = container
        self.store = Store(container, "smk")

    def file(self, path: str, content: bytes, mode: int = 0o644) -> StoredFile:
        digest = hashlib.sha256(content).hexdigest()
        self.container.upload_blob(f"smk/{blob_path(digest)}", content, overwrite=True)
        return StoredFile(path, digest, len(content), mode)

    def result(self) -> Result:
        files = (
            self.file("model.bin", b"weights", 0o750),
            self.file("out/masks/1.nii", b"mask"),
            self.file("out/masks/1.log", b"made"),
            self.file("t.log", b""),
        )
        directories = ("out/masks", "out/masks/none")
        links = {"out/masks/none/last": "../1.nii"}
        return Result(exit_code=0, products=Tree(files, directories, links))


@pytest.fixture
def made(container: ContainerClient) -> Made:
    return Made(container)


def listing(root: Path) -> dict[str, bytes | str | None]:
    return {
        str(path.relative_to(root)): (
            str(path.readlink())
            if path.is_symlink()
            else path.read_bytes()
            if path.is_file()
            else None
        )
        for path in sorted(root.rglob("*"))
    }


WHOLE = {
    "model.bin": b"weights",
    "out": None,
    "out/masks": None,
    "out/masks/1.log": b"made",
    "out/masks/1.nii": b"mask",
    "out/masks/none": None,
    "out/masks/none/last": "../1.nii",
    "t.log": b"",
}


def test_everything_arrives_as_it_was_made(tmp_path: Path, made: Made) -> None:
    assert fetch(made.store, made.result(), MANIFEST, root=tmp_path) == len(b"weightsmaskmade")
    assert listing(tmp_path) == WHOLE
    assert stat.S_IMODE((tmp_path / "model.bin").stat().st_mode) == 0o750


def test_what_is_there_is_replaced(tmp_path: Path, made: Made) -> None:
    (tmp_path / "out" / "masks").mkdir(parents=True)
    (tmp_path / "out" / "masks" / "0.nii").write_bytes(b"of an earlier run")
    (tmp_path / "out" / "masks.part").mkdir()  # of a run that was killed
    (tmp_path / "out" / "masks.part" / "0.nii").touch()
    (tmp_path / "model.bin.part").mkdir()
    (tmp_path / "elsewhere").write_bytes(b"not ours")
    (tmp_path / "model.bin").symlink_to("elsewhere")
    fetch(made.store, made.result(), MANIFEST, root=tmp_path)
    assert listing(tmp_path) == WHOLE | {"elsewhere": b"not ours"}


@pytest.mark.parametrize("kind", ["file", "link to a directory"])
def test_a_directory_takes_the_place_of_something_else(
    tmp_path: Path, made: Made, kind: str
) -> None:
    (tmp_path / "out").mkdir()
    if kind == "file":
        (tmp_path / "out" / "masks").touch()
    else:
        (tmp_path / "kept").mkdir()
        (tmp_path / "out" / "masks").symlink_to("../kept")
    fetch(made.store, made.result(), MANIFEST, root=tmp_path)
    assert listing(tmp_path).items() >= WHOLE.items()


@pytest.mark.parametrize("damage", [b"WEIGHTS", None])
def test_nothing_is_replaced_if_one_file_is_not_whole(
    tmp_path: Path, made: Made, damage: bytes | None
) -> None:
    result = made.result()
    (tmp_path / "out" / "masks").mkdir(parents=True)
    (tmp_path / "out" / "masks" / "0.nii").write_bytes(b"of an earlier run")
    before = listing(tmp_path)
    blob = made.container.get_blob_client(f"smk/{blob_path(result.products.files[0].digest)}")
    if damage is None:
        blob.delete_blob()
    else:
        blob.upload_blob(damage, overwrite=True)
    with pytest.raises(WorkflowError, match="in the store"):
        fetch(made.store, result, MANIFEST, root=tmp_path)
    assert listing(tmp_path) == before


def test_all_products_have_the_same_time(tmp_path: Path, made: Made) -> None:
    fetch(made.store, made.result(), MANIFEST, root=tmp_path)
    times = {
        path.stat(follow_symlinks=False).st_mtime_ns
        for path in (tmp_path / "out" / "masks", *tmp_path.rglob("*"))
        if path != tmp_path / "out"
    }
    assert len(times) == 1


def test_what_arrived_is_known_and_costs_no_upload(
    tmp_path: Path, made: Made, requests_made: list[str]
) -> None:
    digests = DigestCache(tmp_path / "digests.json")
    result = made.result()
    fetch(made.store, result, MANIFEST, root=tmp_path, digests=digests)
    requests_made.clear()
    files = digests.hash([tmp_path / file.path for file in result.products.files])
    assert [file.digest for file in files] == [file.digest for file in result.products.files]
    assert made.store.upload(files).bytes == 0
    assert requests_made == []


@pytest.mark.parametrize(
    "path", [".bashrc", "../model.bin", "out/masks/../../.bashrc", "/etc/passwd", "out"]
)
@pytest.mark.parametrize("kind", ["files", "directories", "links"])
def test_a_path_that_the_job_does_not_declare_is_refused(
    tmp_path: Path, made: Made, path: str, kind: str
) -> None:
    stray = {
        "files": (made.file(path, b"stray"),),
        "directories": (path,),
        "links": {path: "model.bin"},
    }[kind]
    result = Result(exit_code=0, products=dataclasses.replace(Tree(), **{kind: stray}))
    with pytest.raises(WorkflowError, match="which is none of its files"):
        fetch(made.store, result, MANIFEST, root=tmp_path)
    assert listing(tmp_path) == {}


@pytest.mark.parametrize("target", ["/etc", "../../..", "../../model.bin"])
def test_a_link_that_leads_out_is_refused(tmp_path: Path, made: Made, target: str) -> None:
    tree = Tree(directories=("out/masks",), links={"out/masks/link": target})
    with pytest.raises(WorkflowError, match="out/masks/link, which is none of its files"):
        fetch(made.store, Result(exit_code=0, products=tree), MANIFEST, root=tmp_path)


def test_a_job_without_a_result_has_none(made: Made) -> None:
    assert read_result(made.store, "train-1") is None


@pytest.mark.parametrize("text", [b"", b"[]", b'{"exit_code": 0, "products": {}}', b"{}"])
def test_an_unreadable_result_is_an_error_of_the_job(made: Made, text: bytes) -> None:
    made.store.write("jobs/train-1/result.json", text)
    with pytest.raises(WorkflowError, match=r"jobs/train-1/result\.json in the store cannot be"):
        read_result(made.store, "train-1")


class Mount:
    """The container as a folder, as a job sees it."""

    def __init__(self, container: ContainerClient, folder: Path) -> None:
        self.container = container
        self.folder = folder

    def run(self, command: str) -> int:
        for blob in self.container.list_blobs():
            path = self.folder / blob.name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(self.container.download_blob(blob.name).readall())
        node = self.folder / "node"
        node.mkdir(exist_ok=True)
        job = command.replace("python ", f"{sys.executable} ", 1)
        exit_code = subprocess.run(["sh", "-c", job], cwd=node, check=False).returncode
        for path in (self.folder / "smk").rglob("*"):
            if path.is_file():
                name = str(path.relative_to(self.folder))
                self.container.upload_blob(name, path.read_bytes(), overwrite=True)
        return exit_code


def make_job(name: str, inputs: list[str], outputs: list[str]) -> Any:
    fields = {"name": name, "input": inputs, "output": outputs, "log": [f"{name}.log"]}
    return SimpleNamespace(**fields, benchmark=None, is_group=lambda: False)


@pytest.fixture
def submit(
    tmp_path: Path, connect: Callable[[], ContainerClient], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., tuple[Result, Any]]:
    """Pack, run and fetch a job; return its result and what its upload came to."""
    folder = tmp_path / "checkout"
    folder.mkdir()
    monkeypatch.chdir(folder)
    Path("Snakefile").write_text("rule all:")
    store = Store(connect(), "smk")
    digests = DigestCache(Path(".snakemake/azureml/digests.json"))

    def submit(job: Any, command: str) -> tuple[Result, Any]:
        sources = pack_sources(["Snakefile"], Path(".snakemake/azureml/sources.tar"), digests)
        package = pack_job(job, command=command, sources=sources, digests=digests)
        transfer = stage(store, job.name, package)
        mount = Mount(connect(), tmp_path / "mount")
        mount.run(package.command(str(tmp_path / "mount" / "smk"), job.name))
        result = read_result(store, job.name)
        assert result is not None
        fetch(store, result, package.manifest, digests=digests)
        return result, transfer

    return submit


def test_two_jobs_hand_files_on(submit: Callable[..., tuple[Result, Any]]) -> None:
    Path("images/empty").mkdir(parents=True)
    Path("images/1.nii").write_bytes(b"voxels")
    train = make_job("train", ["images"], ["fold"])
    script = "mkdir -p fold/none && cat images/1.nii > fold/model.bin && echo ok > train.log"
    result, transfer = submit(train, f"test -d images/empty && {script}")
    assert result.succeeded
    assert transfer.files == 3  # image, sources, runner
    assert Path("fold/model.bin").read_bytes() == b"voxels"
    assert Path("fold/none").is_dir()
    assert Path("train.log").read_text() == "ok\n"
    predict = make_job("predict", ["fold", "images"], ["mask.nii"])
    result, transfer = submit(predict, "test -d fold/none && cat fold/model.bin > mask.nii")
    assert result.succeeded
    assert (transfer.files, transfer.bytes) == (0, 0)
    assert Path("mask.nii").read_bytes() == b"voxels"


def test_a_failed_job_brings_its_log_and_what_it_printed(
    submit: Callable[..., tuple[Result, Any]], connect: Callable[[], ContainerClient]
) -> None:
    command = "echo half > model.bin; echo diverged > train.log; echo at epoch 3; exit 4"
    result, _ = submit(make_job("train", [], ["model.bin"]), command)
    assert (result.exit_code, result.succeeded) == (4, False)
    assert Path("train.log").read_text() == "diverged\n"
    assert not Path("model.bin").exists()
    assert Store(connect(), "smk").read(blob_path(result.printed)) == b"at epoch 3\n"


def test_a_job_whose_input_was_lost_says_which(
    submit: Callable[..., tuple[Result, Any]], connect: Callable[[], ContainerClient]
) -> None:
    Path("splits.csv").write_text("a")
    submit(make_job("first", ["splits.csv"], []), "true")
    digest = runner.sha256(Path("splits.csv"))
    connect().upload_blob(f"smk/{blob_path(digest)}", b"b", overwrite=True)
    result, _ = submit(make_job("second", ["splits.csv"], []), "true")
    assert not result.succeeded
    assert result.exit_code == -1
    assert result.error.startswith("splits.csv is damaged in the store")

"""A checkout with a small finished model, in a repository of git and DVC; nothing was computed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import yaml

from crossfold import paths
from crossfold.config.models import ModelConfig
from crossfold.publishing import publish as publishing
from crossfold.publishing.publish import Published, publish
from crossfold.workflow.provenance import PROVENANCE_FORMAT
from crossfold.workflow.records import FORMAT
from tests.repositories import IDENTITY

REPOSITORY = Path(__file__).parents[2]
CONFIG = """
datasets: {toy_data: {source: phantom, subjects: 2, seed: 7}}
models:
  ToyBase: {abstract: true, images: [ct], structures: [organ]}
  Toy: {base: ToyBase, dataset: toy_data, splits: {folds: 2}, publish: {left_out: [posteriors]}}
"""
MODEL = ModelConfig(
    dataset="toy_data",
    images=("ct",),
    structures=("organ",),
    splits={"folds": 2},
    publish={"left_out": ["posteriors"]},
)
LARGE = 3_000_000
"""Bytes of a checkpoint."""


@dataclass(frozen=True)
class Toy:
    """The checkout."""

    folder: Path

    @property
    def head(self) -> str:
        return self.git("rev-parse", "HEAD")

    @property
    def objects(self) -> Path:
        return self.folder / "demo" / "files" / "md5"

    def git(self, *arguments: str) -> str:
        done = subprocess.run(
            ["git", *arguments], cwd=self.folder, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def dvc(self, *arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "dvc", *arguments],
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def write(self, path: str, content: str | bytes) -> Path:
        file = self.folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
        return file

    def publish(self, **options: object) -> Published:
        return publish("Toy", root=self.folder, **options)  # type: ignore[arg-type]

    def clone(self, name: str = "clone") -> Toy:
        target = self.folder.with_name(name)
        self.git("clone", "--quiet", str(self.folder), str(target))
        return Toy(target)

    def object_of(self, path: str) -> Path:
        """The object in the remote that holds a published file."""
        published = json.loads((self.folder / paths.MANIFEST.format(model="Toy")).read_text())
        known = {file: entry["md5"] for file, entry in published["files"].items()}
        stage = yaml.safe_load((self.folder / "dvc.lock").read_text())["stages"]["Toy"]
        known |= {output["path"]: output["md5"] for output in stage["outs"]}
        digest = known[path]
        return self.objects / digest[:2] / digest[2:]


def make_toy(folder: Path) -> Toy:
    """Make the checkout."""
    folder.mkdir()
    toy = Toy(folder)
    toy.git("init", "--quiet", "--initial-branch", "main")
    for name in (".gitignore", ".gitattributes", ".dvcignore", ".dvc/config", ".dvc/.gitignore"):
        (folder / name).parent.mkdir(exist_ok=True)
        shutil.copy(REPOSITORY / name, folder / name)
    toy.write("config.yaml", CONFIG)
    toy.write("locks/core.txt", "numpy==2.4\n")
    toy.git("add", "--all")
    toy.git("commit", "--quiet", "--message", "Start")
    toy.write("data/toy_data/dataset.csv", "subject,channel,filePath\na,ct,images/a.nii.gz\n")
    toy.write("data/toy_data/images/a.nii.gz", b"image of a\r\n" * 1000)
    write_results(toy)
    return toy


def write_results(toy: Toy, dice: float = 0.8) -> None:
    """Write everything that a finished model has; other numbers come of another training."""
    config = json.dumps(MODEL.model_dump(mode="json", by_alias=True))
    toy.write("results/Toy/config.json", config)
    toy.write("results/Toy/metrics.json", json.dumps({"val": {"organ": {"dice": dice}}}))
    toy.write(
        "results/Toy/metrics.csv", f"split,fold,subject,structure,dice\r\nval,0,a,organ,{dice}\r\n"
    )
    toy.write("results/Toy/report.html", f"<p>{dice}</p>")
    for fold in range(2):
        place = f"results/Toy/folds/{fold}"
        toy.write(
            f"{place}/checkpoints/epoch_001.safetensors", f"{fold} {dice} ".encode() * (LARGE // 8)
        )
        toy.write(f"{place}/checkpoints/.snakemake_timestamp", "")
        for subject in "abc":
            toy.write(f"{place}/segmentations/val/{subject}.nii.gz", f"{subject} {fold} {dice}")
        toy.write(f"{place}/posteriors/val/a.nii.gz", f"{fold}")
        toy.write(f"{place}/machine.json", json.dumps({"processor": "made up"}))


def without_snakemake(replace: Callable[[object, str, object], None]) -> None:
    """Make publishing believe that Snakemake has nothing to do, and remembers nothing."""

    def record(model: str, root: Path = Path(), **_: object) -> None:
        about = {"format": PROVENANCE_FORMAT, "snakemake_record_format": FORMAT, "jobs": []}
        (root / paths.PROVENANCE.format(model=model)).write_text(json.dumps(about))

    replace(publishing, "planned_jobs", lambda *_, **__: {})
    replace(publishing, "make", lambda *_, **__: None)
    replace(publishing, "record", record)


def start(toy: Toy, moment: str, *command: str) -> subprocess.Popen[str]:
    """Start `crossfold` in a process of its own, which ends at a moment of `dying.MOMENTS`."""
    return subprocess.Popen(
        [sys.executable, "-m", "tests.publishing.dying", str(toy.folder), moment, *command],
        cwd=REPOSITORY,
        env=os.environ | IDENTITY,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )

"""Real git repositories with DVC, in the folder of a test."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
from dvc.repo import Repo

IDENTITY = {
    f"GIT_{role}_{key}": value
    for role in ("AUTHOR", "COMMITTER")
    for key, value in (("NAME", "Test"), ("EMAIL", "test@example.org"))
}


@dataclass(frozen=True)
class DataRepository:
    """A repository with DVC, whose remote storage is a folder beside it."""

    folder: Path

    @property
    def storage(self) -> Path:
        return self.folder.with_name(f"{self.folder.name}_storage")

    @property
    def head(self) -> str:
        return self.git("rev-parse", "HEAD")

    def git(self, *arguments: str) -> str:
        done = subprocess.run(
            ["git", "-C", os.fspath(self.folder), *arguments],
            env=os.environ | IDENTITY,
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout.strip()

    def commit(self, message: str, *paths: str) -> None:
        self.git("add", "--all", *(paths or (".",)))
        self.git("commit", "--quiet", "--message", message)

    def push(self) -> None:
        with Repo(os.fspath(self.folder)) as repository:
            repository.push(all_commits=True)

    def forget_cache(self) -> None:
        shutil.rmtree(self.folder / ".dvc" / "cache")

    def write_dataset(self, name: str, *values: float) -> Path:
        """Write a dataset with an image of 4 voxels along each side for each value."""
        folder = self.folder / "data" / name
        rows = ["subject,channel,filePath"]
        for number, value in enumerate(values):
            image = folder / "images" / f"case_{number}" / "ct.nii.gz"
            image.parent.mkdir(parents=True, exist_ok=True)
            array = np.full((4, 4, 4), value, np.float32)
            nib.save(nib.Nifti1Image(array, np.eye(4)), image)
            rows.append(f"case_{number},ct,images/case_{number}/ct.nii.gz")
        (folder / "dataset.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
        return folder


def make_repository(folder: Path) -> DataRepository:
    """Make an empty repository that ignores images and results, as Crossfold's own does."""
    folder.mkdir(parents=True)
    made = DataRepository(folder)
    made.git("init", "--quiet", "--initial-branch", "main")
    with Repo.init(os.fspath(folder)) as repository, repository.config.edit() as settings:
        settings["cache"]["type"] = ["copy"]
        settings["core"]["analytics"] = False
        settings["core"]["autostage"] = False
    (folder / ".gitignore").write_text("/results/\n/data/*/images/\n/data/*@*/\n")
    name_remote(made, made.storage)
    return made


def name_remote(repository: DataRepository, storage: Path) -> None:
    """Name remote storage, and commit that."""
    with Repo(os.fspath(repository.folder)) as dvc, dvc.config.edit() as settings:
        settings["remote"]["storage"] = {"url": os.fspath(storage)}
        settings["core"]["remote"] = "storage"
    repository.commit("Name remote storage")

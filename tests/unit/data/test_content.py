from __future__ import annotations

import json
from pathlib import Path

import pytest

from crossfold.data.content import write_content


def test_a_dataset_is_known_by_what_dvc_calls_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    images = Path("data/x/images")
    (images / "sub").mkdir(parents=True)
    for number in (1, 2, 3):
        (images / f"{number}.txt").write_text(f"{number}\n")
    (images / "sub/9.txt").write_text("9\n")
    csv = Path("data/x/dataset.csv")
    csv.write_text("a,b\n")
    write_content(Path("results/M/dataset.json"), dataset="x", csv=csv, images=images)
    assert json.loads(Path("results/M/dataset.json").read_text()) == {
        "dataset": "x",
        # What `dvc add` (3.67.1) wrote for these files.
        "images": "a4c7cb99209af6c6f4e5cd10d5bb4b48.dir",
        "files": 4,
        "dataset_csv": "f69f5b72bc79a92dc70c63c9aa142e36",
    }

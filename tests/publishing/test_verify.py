from __future__ import annotations

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest

from crossfold.__main__ import main
from crossfold.errors import CrossfoldError
from crossfold.provenance.digests import Digests
from crossfold.provenance.manifest import Verdict, read_manifest, verify
from crossfold.publishing.reproduce import compare, reproduce
from tests.publishing.toy import Toy, write_results

SEGMENTATION = "results/Toy/folds/1/segmentations/val/b.nii.gz"
CHECKPOINT = "results/Toy/folds/0/checkpoints/epoch_001.safetensors"
LEFT_OUT = "results/Toy/folds/0/posteriors/val/a.nii.gz"


@pytest.fixture
def published(toy: Toy) -> Toy:
    toy.publish()
    return toy


def verdict(toy: Toy) -> Verdict:
    with Digests(toy.folder) as digests:
        return verify(read_manifest("Toy", toy.folder), digests, toy.folder)


def found(toy: Toy) -> dict[str, str]:
    return {one.path: one.kind for one in verdict(toy).differences}


def test_nothing_differs_after_publishing(published: Toy) -> None:
    published.write("results/Toy/report.html", "the report is not listed: it shows the verdict")
    published.write("results/Toy/folds/0/segmentations/.snakemake_timestamp", "")
    assert verdict(published).as_published
    assert "as published from" in verdict(published).summary


def test_altered_missing_and_new_files_are_named(published: Toy) -> None:
    published.write(SEGMENTATION, "altered")
    (published.folder / CHECKPOINT).unlink()
    published.write("results/Toy/folds/1/segmentations/val/new.nii.gz", "new")
    published.write("data/toy_data/images/a.nii.gz", "altered")
    assert found(published) == {
        SEGMENTATION: "altered",
        CHECKPOINT: "missing",
        "results/Toy/folds/1/segmentations/val/new.nii.gz": "not published",
        "data/toy_data/images/a.nii.gz": "altered",
    }
    assert "NOT as published" in verdict(published).summary
    assert "2 altered, 1 missing, 1 not published" in verdict(published).summary


def test_what_was_left_out_may_be_missing_but_not_altered(published: Toy) -> None:
    published.write(LEFT_OUT, "altered")
    assert found(published) == {LEFT_OUT: "altered"}
    (published.folder / LEFT_OUT).unlink()
    assert verdict(published).as_published


def test_a_file_of_another_published_commit_is_recognised(published: Toy) -> None:
    earlier = (published.folder / SEGMENTATION).read_bytes()
    commit = published.head
    write_results(published, dice=0.9)
    published.publish()
    published.write(SEGMENTATION, earlier)
    (difference,) = verdict(published).differences
    assert (difference.path, difference.kind) == (SEGMENTATION, "other commit")
    assert commit[:10] in difference.detail


def test_results_of_another_configuration_are_recognised(published: Toy) -> None:
    config = json.loads((published.folder / "results/Toy/config.json").read_text())
    config["training"]["learning_rate"] = 0.5
    published.write("results/Toy/config.json", json.dumps(config))
    published.write(SEGMENTATION, "made again")
    assert set(found(published).values()) == {"other configuration"}
    assert "training.learning_rate" in str(verdict(published).differences[0])


@pytest.mark.parametrize("content", ["", "{", '{"format": 99}', '{"format": 1}', "[]"])
def test_a_damaged_manifest_is_said(published: Toy, content: str) -> None:
    published.write("results/Toy/MANIFEST.json", content)
    with pytest.raises(CrossfoldError, match="not readable as a manifest"):
        read_manifest("Toy", published.folder)
    assert not published.publish().manifest.dirty  # publishing again mends it


def test_the_command_ends_with_an_error_if_anything_differs(
    published: Toy, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(published.folder)
    assert main(["verify"]) == 0
    published.write(SEGMENTATION, "altered")
    assert main(["verify", "Toy"]) == 1
    assert f"{SEGMENTATION}: altered" in capsys.readouterr().out
    with pytest.raises(SystemExit, match="Other is not published"):
        main(["verify", "Other"])


METRICS = "split,fold,subject,structure,dice\nval,0,a,organ,{}\nval,1,b,organ,{}\n"
TRAINING = "epoch,phase,metric,value,lr,seconds\n1,train,loss,{},0.1,{}\n"


@pytest.fixture
def remade(published: Toy, tmp_path: Path) -> Path:
    """Another folder in which the model was made again, to the byte but for times."""
    published.write("results/Toy/metrics.csv", METRICS.format(0.8, 0.7))
    published.write("results/Toy/folds/0/training.csv", TRAINING.format(0.5, 17))
    published.publish()
    shutil.copytree(published.folder / "results", tmp_path / "remade" / "results")
    folder = tmp_path / "remade"
    (folder / "results/Toy/folds/0/training.csv").write_text(TRAINING.format(0.5, 99))
    (folder / "results/Toy/folds/0/machine.json").write_text('{"processor": "another"}')
    shutil.rmtree(folder / "results/Toy/folds/1/posteriors")  # not made again
    return folder


def test_the_same_bytes_are_identical_whatever_the_time_they_took(
    published: Toy, remade: Path
) -> None:
    made = compare(read_manifest("Toy", published.folder), published.folder, remade)
    assert (made.outcome, made.differing) == ("identical", ())
    assert CHECKPOINT in made.identical


@pytest.mark.parametrize(
    ("dice", "outcome"),
    [((0.806, 0.703), "within tolerance"), ((0.816, 0.703), "different")],
)
def test_other_bytes_are_judged_by_their_dice(
    published: Toy, remade: Path, dice: tuple[float, float], outcome: str
) -> None:
    (remade / "results/Toy/metrics.csv").write_text(METRICS.format(*dice))
    (remade / CHECKPOINT).write_text("other weights")
    made = compare(read_manifest("Toy", published.folder), published.folder, remade)
    assert set(made.differing) == {CHECKPOINT, "results/Toy/metrics.csv"}
    assert made.outcome == outcome
    (row,) = made.table.to_dict("records")
    assert row["published"] == pytest.approx(0.75)
    assert row["difference"] == pytest.approx(sum(dice) / 2 - 0.75)
    assert row["largest_of_a_subject"] == pytest.approx(dice[0] - 0.8)


def test_a_subject_that_is_missing_is_a_difference(published: Toy, remade: Path) -> None:
    rows = METRICS.format(0.8, 0.7).splitlines()
    (remade / "results/Toy/metrics.csv").write_text("\n".join(rows[:2]) + "\n")
    made = compare(read_manifest("Toy", published.folder), published.folder, remade)
    assert made.outcome == "different"
    assert pd.isna(made.table["largest_of_a_subject"]).sum() == 0


def test_nothing_is_reproduced_over_other_files_or_without_its_code(
    published: Toy, tmp_path: Path
) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    with pytest.raises(CrossfoldError, match="full is not empty"):
        reproduce("Toy", tmp_path / "full", root=published.folder)
    published.write("results/Toy/metrics.csv", METRICS.format(0, 0))
    with pytest.raises(CrossfoldError, match=r"metrics\.csv is not as published"):
        reproduce("Toy", tmp_path / "empty", root=published.folder)
    published.write("config.yaml", "# edited\n" + (published.folder / "config.yaml").read_text())
    published.publish(allow_uncommitted=True)
    with pytest.raises(CrossfoldError, match="uncommitted changes"):
        reproduce("Toy", tmp_path / "empty", root=published.folder)

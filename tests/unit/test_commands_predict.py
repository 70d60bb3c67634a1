from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image as Picture

from crossfold.__main__ import main
from crossfold.errors import CrossfoldError
from crossfold.prediction import predicting
from crossfold.prediction.bundle import Bundle, sha256
from crossfold.prediction.conditions import alone_in
from crossfold.prediction.inputs import Subject, find_subjects
from crossfold.prediction.predicting import Options, Prediction
from crossfold.registry.bundles import BundleFiles
from crossfold.registry.facts import Facts
from crossfold.registry.folder import FolderRegistry
from tests.unit.prediction.random_bundle import SHAPE, ct, save, write_random_bundle

FILES = {
    "disagreement.nii.gz",
    "overlay.png",
    "posteriors.nii.gz",
    "prediction.json",
    "segmentation.nii.gz",
    "uncertainty.nii.gz",
    "volumes.csv",
}

Command = Callable[..., int | None]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_random_bundle(tmp_path_factory.mktemp("bundle") / "model")


@pytest.fixture
def predict(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    """Run the command in an empty folder, with one thread."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: object, of: Path = model) -> int | None:
        command = ["predict", "--model", of, "--threads", 1, "--output", "out", *arguments]
        return main([str(argument) for argument in command])

    return run


def summary() -> pd.DataFrame:
    return pd.read_csv("out/predictions.csv", dtype=str, keep_default_na=False)


def test_an_image_becomes_a_folder(predict: Command, capsys: pytest.CaptureFixture[str]) -> None:
    image = save(Path("ct.nii.gz"), ct())
    assert predict("--image", image) == 0
    assert {file.name for file in Path("out/ct").iterdir()} == FILES
    assert {file.name for file in Path("out").iterdir()} == {"ct", "predictions.csv", "volumes.csv"}
    source = nib.load(image)
    segmentation = nib.load("out/ct/segmentation.nii.gz")
    labels = np.asarray(segmentation.dataobj)
    np.testing.assert_array_equal(segmentation.affine, source.affine)
    assert nib.load("out/ct/posteriors.nii.gz").shape == (*SHAPE, 2)
    volumes = pd.read_csv("out/volumes.csv").set_index("structure")
    assert [*volumes.index] == ["bladder", "prostate", "both"]
    assert volumes.loc["bladder", "volume_ml"] == pytest.approx((labels == 1).sum() * 0.012)
    entropy = nib.load("out/ct/uncertainty.nii.gz").get_fdata()
    if (labels == 1).any():
        mean = volumes.loc["bladder", "mean_uncertainty"]
        assert mean == pytest.approx(entropy[labels == 1].mean(), abs=1e-5)
    about = json.loads(Path("out/ct/prediction.json").read_text())
    assert about["bundle"]["name"] == "Random"
    assert about["folds"] == [0, 1]
    assert 0.01 < about["peak_memory_gb"] < 100
    width, height = Picture.open("out/ct/overlay.png").size
    assert width > height > 100
    assert "peak memory" in capsys.readouterr().out


def test_what_is_whole_is_skipped_and_what_has_changed_is_not(predict: Command) -> None:
    image = save(Path("ct.nii.gz"), ct())
    predict("--image", image, "--no-posteriors")
    assert not Path("out/ct/posteriors.nii.gz").exists()
    states = []
    for arguments in ([], [], ["--folds", "1"], ["--folds", "1"]):
        predict("--image", image, *arguments)
        states += [*summary()["state"]]
    assert states == ["predicted", "there already", "predicted", "there already"]
    Path("out/ct/uncertainty.nii.gz").unlink()
    save(image, ct(seed=1))
    predict("--image", image)
    assert [*summary()["state"]] == ["predicted"]


def test_an_image_of_the_same_name_replaces_no_other(predict: Command) -> None:
    image = save(Path("case01/ct.nii.gz"), ct())
    other = save(Path("case02/ct.nii.gz"), ct(seed=1))
    predict("--image", image)
    made = Path("out/ct/prediction.json").read_bytes()
    assert predict("--image", other) == 1
    assert "is the prediction of another image" in summary()["reason"][0]
    assert Path("out/ct/prediction.json").read_bytes() == made
    # The same one, which has only been moved.
    assert predict("--image", image.rename("ct.nii.gz")) == 0
    assert [*summary()["state"]] == ["there already"]


def test_an_earlier_prediction_of_what_is_refused_now_counts_no_more(predict: Command) -> None:
    save(Path("images/a.nii.gz"), ct())
    b = save(Path("images/b.nii.gz"), ct(seed=1))
    predict("--image", "images")
    save(b, np.full_like(ct(), np.nan))
    assert predict("--image", "images") == 1
    assert [*summary()["state"]] == ["there already", "refused"]
    assert "of an earlier run, and not in volumes.csv" in summary()["reason"][1]
    assert {*pd.read_csv("out/volumes.csv")["subject"]} == {"a"}


def test_a_registered_model_is_named_with_its_version(predict: Command, model: Path) -> None:
    facts = Facts(name="Prostate", description="", tags={})
    FolderRegistry(Path("registry")).register(BundleFiles.read(model), facts)
    image = save(Path("ct.nii.gz"), ct())
    found = {}
    for reference in ("Prostate:1", "Prostate", model):
        output = Path("out") / Path(reference).name
        assert predict("--image", image, "--output", output, of=reference) == 0
        about = json.loads((output / "ct/prediction.json").read_text())
        found[reference] = about["model"], about["registered"], about["bundle"]["digest"]
    version, digest = {"name": "Prostate", "version": 1}, Bundle.read(model).digest
    assert found == {
        "Prostate:1": ("Prostate:1", version, digest),
        "Prostate": ("Prostate", version, digest),
        model: (str(model), None, digest),
    }
    # However it is called, it is the same model.
    predict("--image", image, "--output", "out/Prostate", of="Prostate:1")
    assert pd.read_csv("out/Prostate/predictions.csv")["state"][0] == "there already"
    # Wherever its registry is.
    Path("registry").rename("lab")
    assert predict("--image", image, "--registry", "lab", of="Prostate:1") == 0
    Path("lab.yaml").write_text("registry: {path: lab}", encoding="utf-8")
    assert predict("--image", image, "--configfile", "lab.yaml", of="Prostate:1") == 0


def bad_images(folder: Path) -> dict[str, str]:
    """Write an image for each thing that can be wrong with one; return what is said of it."""
    save(folder / "air.nii.gz", np.zeros(SHAPE, np.float32))
    save(folder / "flat.nii.gz", ct()[:, :, 0])
    save(folder / "four.nii.gz", np.stack([ct(), ct()], axis=-1))
    save(folder / "nan.nii.gz", np.where(ct() > 0, np.nan, ct()))
    save(folder / "units.nii.gz", ct() + 1024)
    (folder / "empty.nii.gz").touch()
    (folder / "text.nii.gz").write_text("no image")
    whole = save(folder / "torn.nii.gz", ct()).read_bytes()
    (folder / "torn.nii.gz").write_bytes(whole[: len(whole) // 2])
    return {
        "air": "every voxel of ct is 0",
        "empty": "the file is empty",
        "flat": "2-D",
        "four": "4-D",
        "nan": "NaN",
        "text": "not readable",
        "torn": "damaged or truncated",
        "units": "offset of 1024",
    }


def test_what_is_refused_keeps_nobody_waiting(
    predict: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    told = bad_images(Path("images"))
    save(Path("images/good.nii.gz"), ct())
    save(Path("images/late.nii.gz"), ct(seed=2))
    assert predict("--image", "images") == 1
    table = summary().set_index("subject")
    assert {*table.index[table["state"] == "predicted"]} == {"good", "late"}
    printed = capsys.readouterr().out
    for subject, reason in told.items():
        assert table.loc[subject, "state"] == "refused"
        assert reason in table.loc[subject, "reason"]
        assert f"Refused: {subject}: " in printed
    folders = {path.name for path in Path("out").iterdir() if path.is_dir()}
    assert folders == {"good", "late"}
    assert {*pd.read_csv("out/volumes.csv")["subject"]} == {"good", "late"}


def test_a_series_is_written_back_as_dicom(predict: Command) -> None:
    pydicom = pytest.importorskip("pydicom")
    from tests.dicom_series import write_series

    files = write_series(Path("series"), ct(), spacing_mm=(2.0, 2.0, 3.0))
    save(Path("series/old.nii.gz"), ct())
    with pytest.raises(SystemExit, match=r"holds a DICOM series, and NIfTI as well \(old"):
        predict("--image", "series")
    Path("series/old.nii.gz").unlink()
    assert predict("--image", "series") == 0
    found = {file.name for file in Path("out/series").iterdir()}
    assert found == FILES | {"segmentation.dcm", "structures.dcm"}
    for name, modality in (("segmentation.dcm", "SEG"), ("structures.dcm", "RTSTRUCT")):
        assert pydicom.dcmread(Path("out/series", name)).Modality == modality
    files[4].unlink()
    assert predict("--image", "series", "--output", "torn") == 1
    reason = pd.read_csv("torn/predictions.csv")["reason"][0]
    assert "missing" in reason
    assert not Path("torn/series").exists()


def test_a_check_can_be_accepted(predict: Command) -> None:
    image = save(Path("ct.nii.gz"), ct() + 1024)
    assert predict("--image", image) == 1
    assert predict("--image", image, "--accept", "intensity") == 0
    about = json.loads(Path("out/ct/prediction.json").read_text())
    assert [finding["check"] for finding in about["findings"]] == ["intensity"]
    with pytest.raises(SystemExit, match="no such check"):
        predict("--image", image, "--accept", "colour")


def test_a_huge_image_is_refused_before_it_is_read(
    predict: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """9 GB of zeros, of which a sparse file has none on disk."""
    header = nib.Nifti1Header()
    header.set_data_shape((2000, 2000, 600))
    header.set_data_dtype(np.float32)
    header.set_sform(np.diag([2, 2, 3, 1]), 1)
    header["magic"], header["vox_offset"] = b"n+1", 352
    with Path("huge.nii").open("wb") as file:
        header.write_to(file)
        file.truncate(352 + 2000 * 2000 * 600 * 4)
    monkeypatch.setattr(predicting, "machine_gb", lambda: 8.0)
    for arguments in (["--memory", 4], []):
        assert predict("--image", "huge.nii", *arguments) == 1
        assert "2000 x 2000 x 600 voxels takes" in summary()["reason"][0]
        assert summary()["remedy"][0].startswith("allow --memory ")


@pytest.mark.parametrize("arguments", [["--memory", 4], ["--threads", 2]])
def test_a_budget_or_threads_change_no_byte(predict: Command, arguments: list[object]) -> None:
    save(Path("images/ct.nii.gz"), ct())
    predict("--image", "images")
    expected = {name: Path("out/ct", name).read_bytes() for name in FILES - {"prediction.json"}}
    predict("--image", "images", *arguments, "--output", "other")
    found = {name: Path("other/ct", name).read_bytes() for name in expected}
    assert found == expected


def test_a_mask_and_channels_by_name(predict: Command, tmp_path: Path) -> None:
    model = write_random_bundle(
        tmp_path / "two",
        channels=("ct", "pet"),
        preprocessing={
            "spacing_mm": "median",
            "normalisation": {"method": "z_score"},
            "mask": "body",
        },
    )
    one, other = save(Path("a.nii.gz"), ct()), save(Path("b.nii.gz"), ct(seed=3))
    body = save(Path("body.nii.gz"), (ct() > -900).astype(np.uint8))
    assert predict("--image", one, "--image", other, "--mask", body, of=model) == 0
    named = ["--image", f"pet={other}", "--image", f"ct={one}", "--image", f"body={body}"]
    assert predict(*named, of=model) == 0
    assert [*summary()["state"]] == ["there already"]
    assert not nib.load("out/a/segmentation.nii.gz").get_fdata()[0, 0, 0]
    for arguments, told in [
        (["--image", one], "1 images, but the model reads 3: ct, pet, body"),
        (["--image", f"mr={one}"], "no channel `mr`"),
        (["--image", "ct=none.nii.gz", "--image", other, "--mask", body], "no such file"),
    ]:
        with pytest.raises(SystemExit, match=told):
            predict(*arguments, of=model)


def test_a_mask_may_be_some_labels_of_a_map(predict: Command, tmp_path: Path) -> None:
    model = write_random_bundle(
        tmp_path / "masked",
        preprocessing={
            "spacing_mm": "median",
            "normalisation": {"method": "z_score"},
            "mask": "body",
        },
    )
    image, half = save(Path("set/a.nii.gz"), ct()), np.zeros(SHAPE, dtype=np.uint8)
    half[: SHAPE[0] // 2] = 1
    save(Path("set/labels.nii.gz"), 3 - half)  # 2 in one half, 3 in the other
    mask = save(Path("half.nii.gz"), 255 * half)
    rows = ["subject,channel,filePath,label", "a,ct,a.nii.gz,", "a,body,labels.nii.gz,2"]
    Path("set/dataset.csv").write_text("\n".join(rows) + "\n")
    assert predict("--image", "set", of=model) == 0
    assert predict("--image", image, "--mask", mask, "--output", "alone", of=model) == 0
    found, expected = (
        nib.load(f"{output}/a/posteriors.nii.gz").get_fdata() for output in ("out", "alone")
    )
    assert np.array_equal(found, expected)
    assert expected.any()
    assert not expected[SHAPE[0] // 2 + 2 :].any()


def test_one_folder_is_for_one_command_at_a_time(predict: Command) -> None:
    image = save(Path("ct.nii.gz"), ct())
    with alone_in(Path("out")), pytest.raises(SystemExit, match="another command is predicting"):
        predict("--image", image)
    assert predict("--image", image) == 0


def test_a_dataset_is_read_no_further_than_its_folder(predict: Command) -> None:
    outside = save(Path("elsewhere/secret.nii.gz"), ct())
    save(Path("set/images/a.nii.gz"), ct())
    save(Path("set/images/volumes.nii.gz"), np.stack([ct(), ct(seed=4)], axis=-1))
    Path("set/link.nii.gz").symlink_to(outside.absolute())
    rows = ["subject,channel,filePath,volume", "a,ct,images/a.nii.gz,"]
    rows += ["b,ct,images/volumes.nii.gz,1", "up,ct,../elsewhere/secret.nii.gz,"]
    rows += ["link,ct,link.nii.gz,", f"whole,ct,{outside.absolute()},", "none,mr,images/a.nii.gz,"]
    Path("set/dataset.csv").write_text("\n".join(rows) + "\n")
    assert predict("--image", "set/dataset.csv") == 1
    table = summary().set_index("subject")
    assert {*table.index[table["state"] == "predicted"]} == {"a", "b"}
    for subject in ("up", "link", "whole"):
        assert "lies outside of set" in table.loc[subject, "reason"]
    assert "0 rows for ct" in table.loc["none", "reason"]
    assert predict("--image", "set", "--within", ".") == 1
    assert [*summary()["state"]].count("refused") == 1
    assert predict("--image", outside, "--within", "set") == 1
    # What was imported under a name may be links to where it came from.
    Path("data").mkdir()
    Path("set").rename("data/pelvis")
    predict("--image", "pelvis", "--output", "named")
    named = pd.read_csv("named/predictions.csv").set_index("subject")["state"]
    assert named["link"] == "predicted"


def test_nothing_else_is_replaced(predict: Command) -> None:
    image = save(Path("ct.nii.gz"), ct())
    mine = Path("out/ct/thesis.txt")
    mine.parent.mkdir(parents=True)
    mine.write_text("years")
    assert predict("--image", image) == 1
    assert "is no prediction" in summary()["reason"][0]
    assert mine.read_text() == "years"


def test_an_interruption_leaves_nothing_half_written(model: Path, tmp_path: Path) -> None:
    for subject in ("a", "b"):
        save(tmp_path / f"images/{subject}.nii.gz", ct())
    bundle, output = Bundle.read(model), tmp_path / "out"

    def interrupt(path: Path, **_: object) -> None:
        if "b" in path.parent.name:
            raise KeyboardInterrupt

    subjects = find_subjects([str(tmp_path / "images")], ["ct"], mask=None)
    prediction = Prediction(bundle, output, options=Options(threads=1), draw=interrupt)
    with pytest.raises(KeyboardInterrupt):
        prediction.run(subjects)
    assert [path.name for path in output.iterdir()] == ["a"]
    again = Prediction(bundle, output, options=Options(threads=1)).run(subjects)
    assert [*again["state"]] == ["there already", "predicted"]


FULL_DISK = """
import resource, sys
from crossfold.__main__ import main
resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))
main(sys.argv[1:])
"""


def test_a_full_disk_says_how_much_is_needed(model: Path, tmp_path: Path) -> None:
    image = save(tmp_path / "ct.nii.gz", ct())
    arguments = ["predict", "--model", model, "--image", image, "--output", tmp_path / "out"]
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "MPLCONFIGDIR": str(tmp_path)},
    )
    assert done.returncode == 1
    assert "no room to write to" in done.stderr
    assert [*(tmp_path / "out").iterdir()] == []


def test_two_files_of_one_name_are_refused(tmp_path: Path, model: Path) -> None:
    for name in ("a.nii", "a.nii.gz"):
        save(tmp_path / name, ct())
    subjects = find_subjects([str(tmp_path)], ["ct"], mask=None)
    with pytest.raises(CrossfoldError, match="two subjects are called a"):
        Prediction(Bundle.read(model), tmp_path / "out", options=Options()).run(subjects)


def test_a_machine_without_memory_is_told_of_the_budget(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def exhausted(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(predicting, "check_voxels", exhausted)
    image = save(tmp_path / "ct.nii.gz", ct())
    subjects = find_subjects([str(image)], ["ct"], mask=None)
    done = Prediction(Bundle.read(model), tmp_path / "out", options=Options()).run(subjects)
    assert "--memory" in done["remedy"][0]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--device", "tpu"], "--device: 'tpu' is no device"),
        (["--device", "meta"], "--device: there is no meta here"),
        (["--device", "cuda:99"], "--device: "),
        (["--folds", "9"], "has no member 9"),
        (["--accept", "dimensions"], "no such check that can be accepted"),
        (["--output", "ct.nii.gz"], "--output ct.nii.gz: cannot be written to"),
        (["--output", "ct.nii.gz/below"], "cannot be written to"),
    ],
)
def test_what_suits_no_image_stops_the_command(
    predict: Command, arguments: list[str], told: str
) -> None:
    image = save(Path("ct.nii.gz"), ct())
    with pytest.raises(SystemExit, match=told):
        predict("--image", image, *arguments)
    assert not list(Path().glob("out/*"))


@pytest.mark.parametrize(
    ("option", "value"),
    [
        *(("--threads", value) for value in ("0", "-3", "x")),
        *(("--memory", value) for value in ("0", "nan", "inf", "much")),
        *(("--folds", value) for value in ("a", "")),
    ],
)
def test_what_is_no_number_is_refused(
    predict: Command, capsys: pytest.CaptureFixture[str], option: str, value: str
) -> None:
    with pytest.raises(SystemExit):
        predict("--image", "ct.nii.gz", f"{option}={value}")
    assert f"argument {option}: `{value}`" in capsys.readouterr().err


def test_weights_that_cannot_be_read_stop_the_command(predict: Command, tmp_path: Path) -> None:
    """Their hashes are right: they were damaged before they were written down."""
    broken = write_random_bundle(tmp_path / "broken")
    weights, hashes = broken / "models/fold_1.safetensors", broken / "hashes.json"
    weights.write_bytes(b"no weights")
    listed = json.loads(hashes.read_text())
    listed["files"]["models/fold_1.safetensors"] = sha256(weights)
    hashes.write_text(json.dumps(listed))
    save(Path("images/a.nii.gz"), ct())
    save(Path("images/b.nii.gz"), ct())
    with pytest.raises(SystemExit, match="make the bundle again"):
        predict("--image", "images", of=broken)


def test_warnings_are_said_once_for_each_check(
    predict: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    for subject in "abc":
        save(Path(f"images/{subject}.nii.gz"), ct()[:, :, :6])
    save(Path("images/d.nii.gz"), ct())
    assert predict("--image", "images") == 0
    printed = capsys.readouterr().out
    assert printed.count("Warning: ") == 1
    assert "Warning: a: field_of_view: 18 mm along superior (training: 36 mm) (and 2 m" in printed
    about = json.loads(Path("out/a/prediction.json").read_text())
    assert about["device"] in {"cpu", "cuda"}


def test_a_table_is_no_subject(predict: Command) -> None:
    save(Path("ct.nii.gz"), ct())
    Path("dataset.csv").write_text("subject,channel,filePath\nvolumes.csv,ct,ct.nii.gz\n")
    assert predict("--image", "dataset.csv") == 1
    assert "one of the tables" in summary()["reason"][0]
    assert [path.name for path in Path("out").iterdir()] == ["predictions.csv"]


def test_a_file_that_cannot_be_read_is_named(
    predict: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(Path("images/a.nii.gz"), ct())
    save(Path("images/b.nii.gz"), ct())
    read = predicting.read_channels

    def denied(subject: Subject, first: str) -> object:
        if subject.name == "a":
            raise PermissionError(errno.EACCES, "Permission denied", "images/a.nii.gz")
        return read(subject, first)

    monkeypatch.setattr(predicting, "read_channels", denied)
    assert predict("--image", "images") == 1
    assert [*summary()["state"]] == ["refused", "predicted"]
    assert "images/a.nii.gz: Permission denied" in summary()["reason"][0]


def test_torch_without_memory_is_told_of_the_budget(
    predict: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    def exhausted(*_: object) -> None:
        torch.empty(2**60)

    monkeypatch.setattr(predicting, "check_voxels", exhausted)
    save(Path("ct.nii.gz"), ct())
    assert predict("--image", "ct.nii.gz") == 1
    assert "the memory of this machine does not suffice" in summary()["reason"][0]

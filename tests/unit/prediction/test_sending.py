from __future__ import annotations

import gzip
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from crossfold.__main__ import main
from crossfold.errors import CrossfoldError
from crossfold.images import read_image
from crossfold.prediction.bundle import Bundle
from crossfold.prediction.inputs import find_subjects
from crossfold.prediction.predicting import Options
from crossfold.prediction.sending import REQUEST, Parcel, Request, predict_sent, predict_there
from tests.unit.prediction.random_bundle import ct, save, write_random_bundle

OUTPUT = Path("out")


@pytest.fixture
def request_of_three(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Request:
    """A request given in a folder of its own; model and one image are elsewhere."""
    model = write_random_bundle(tmp_path / "elsewhere/model", folds=1)
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.chdir(home)
    save(Path("images/near.nii"), ct())
    save(Path("images/nan.nii.gz"), np.where(ct() > 0, np.nan, ct()))
    Path("images/far.nii.gz").symlink_to(save(tmp_path / "far.nii.gz", ct(seed=1)))
    return Request(
        bundle=model,
        subjects=find_subjects(["images"], ["ct"], mask=None),
        options=Options(threads=1, accepted=["spacing"]),
        reference="Random:2",
        registered={"name": "Random", "version": 2},
    )


def send(request: Request) -> Path:
    parcel = Parcel(OUTPUT)
    for subject in request.subjects:
        parcel.add(subject, check=never)
    return parcel.close(request)


def never(*_: Any, **__: Any) -> None:
    raise AssertionError


def run_job(sent: Path) -> None:
    predict_sent(Request.read(sent / REQUEST), sent / "predicted")


def test_a_name_is_not_sent_in_the_suffix(request_of_three: Request, tmp_path: Path) -> None:
    image = tmp_path / "elsewhere/MUELLER.HANS.nii.gz"
    image.parent.mkdir(exist_ok=True)
    shutil.copyfile("images/far.nii.gz", image)
    subjects = find_subjects([str(image)], ["ct"], mask=None)
    sent = send(replace(request_of_three, subjects=subjects))
    assert Request.read(sent / REQUEST).files == ["out/.sent/images/0000_ct.nii.gz"]


def test_what_lies_elsewhere_is_copied_and_nothing_else(request_of_three: Request) -> None:
    sent = send(request_of_three)
    assert sent == Path("out/.sent")
    request = Request.read(sent / REQUEST)
    assert request.bundle == sent / "model"
    assert Bundle.read(request.bundle).digest == Bundle.read(request_of_three.bundle).digest
    assert request.files == ["out/.sent/images/0000_ct.nii.gz", *sorted(
        ["images/nan.nii.gz", "images/near.nii"]
    )]  # fmt: skip
    far = read_image(Path("images/far.nii.gz")).array
    np.testing.assert_array_equal(read_image(request.files[0]).array, far)
    assert (request.options, request.registered) == (
        request_of_three.options,
        request_of_three.registered,
    )
    before = (sent / REQUEST).read_bytes()
    assert (send(request_of_three) / REQUEST).read_bytes() == before


def test_jobs_cannot_write_elsewhere(request_of_three: Request, tmp_path: Path) -> None:
    with pytest.raises(CrossfoldError, match="lies outside of this folder"):
        predict_there(request_of_three, tmp_path / "out", submit=never, draw=never)


def test_each_image_is_where_it_would_be_if_it_was_predicted_here(
    request_of_three: Request,
) -> None:
    request = request_of_three
    made: list[Path] = []

    def submit(sent: Path) -> None:
        run_job(sent)
        made.append(sent)

    def draw(path: Path, *, image: Any, segmentation: Any, structures: Any) -> None:
        assert image.array.shape == segmentation.shape
        path.write_text(", ".join(structures))

    def predict() -> list[str]:
        summary = predict_there(request, OUTPUT, submit=submit, draw=draw)
        return [*summary["state"]]

    assert predict() == ["predicted", "refused", "predicted"]
    assert not made[0].exists()
    assert (OUTPUT / "far/overlay.png").read_text() == "bladder, prostate"
    assert {path.name for path in OUTPUT.iterdir()} == {
        *("far", "near", "predictions.csv", "volumes.csv")
    }
    (OUTPUT / "far/overlay.png").write_text("another size")
    (OUTPUT / "far/old.txt").touch()
    assert predict() == ["predicted", "refused", "there already"]
    assert not (OUTPUT / "far/old.txt").exists()
    assert len(made) == 2


def test_nothing_is_sent_where_all_is_refused(request_of_three: Request) -> None:
    flat = save(Path("flat.nii.gz"), ct()[:, :, 0])
    subjects = find_subjects([str(flat)], ["ct"], mask=None)
    request = replace(request_of_three, subjects=subjects)

    summary = predict_there(request, OUTPUT, submit=never, draw=never)
    assert [*summary["state"]] == ["refused"]
    assert "2-D" in summary["reason"][0]


@pytest.fixture
def request_of_series(request_of_three: Request, tmp_path: Path) -> Request:
    """Oblique, with names of a patient in headers and folder."""
    pytest.importorskip("highdicom")
    from tests.dicom_series import OBLIQUE, write_series

    folder = tmp_path / "Mueller_4711"
    write_series(folder, ct(), spacing_mm=(2.0, 2.0, 3.1), orientation=OBLIQUE)
    return replace(request_of_three, subjects=find_subjects([str(folder)], ["ct"], mask=None))


def draw(path: Path, *, image: Any, segmentation: Any, structures: Any) -> None:
    path.write_bytes(image.array.tobytes() + image.affine.tobytes() + segmentation.tobytes())


def test_a_series_is_predicted_as_here_and_nothing_of_its_headers_is_sent(
    request_of_series: Request,
) -> None:
    def submit(sent: Path) -> None:
        files = [file for file in sent.rglob("*") if file.is_file() and "model" not in file.parts]
        assert {file.name for file in files} == {"request.json", "0000_ct.nii.gz"}
        for file in files:
            opened = gzip.open if file.suffix == ".gz" else open
            with opened(file, "rb") as content:
                found = content.read()
            for secret in (b"Mueller", b"ller^", b"4711", b"19400102", b"DICM", b"2.25."):
                assert secret not in found
        run_job(sent)

    there = predict_there(request_of_series, OUTPUT, submit=submit, draw=draw)
    assert [*there["state"]] == ["predicted"]
    bundle = Bundle.read(request_of_series.bundle)
    here = request_of_series.prediction(bundle, Path("here"), draw=draw)
    assert [*here.run(request_of_series.subjects)["state"]] == ["predicted"]
    expected, found = Path("here/Mueller_4711"), OUTPUT / "Mueller_4711"
    names = {file.name for file in expected.iterdir()}
    assert {"segmentation.dcm", "structures.dcm"} < names
    assert {file.name for file in found.iterdir()} == names
    for name in names - {"prediction.json"}:
        assert (found / name).read_bytes() == (expected / name).read_bytes(), name
    again = predict_there(request_of_series, Path("here"), submit=never, draw=never)
    assert [*again["state"]] == ["there already"]
    assert request_of_series.prediction(bundle, OUTPUT).begin(*request_of_series.subjects) is None


def test_a_series_that_does_not_fit_is_not_sent(request_of_series: Request) -> None:
    (source,) = request_of_series.subjects[0].channels.values()
    sorted(source.path.iterdir())[3].unlink()
    summary = predict_there(request_of_series, OUTPUT, submit=never, draw=never)
    assert "missing slices: 1" in summary["reason"][0]
    write_series_again(source.path, lambda header: delattr(header, "FrameOfReferenceUID"))
    summary = predict_there(request_of_series, OUTPUT, submit=never, draw=never)
    assert "FrameOfReferenceUID is missing" in summary["reason"][0]
    assert not (OUTPUT / ".sent").exists()


def test_a_series_that_changes_meanwhile_gets_no_contours(request_of_series: Request) -> None:
    (source,) = request_of_series.subjects[0].channels.values()

    def submit(sent: Path) -> None:
        run_job(sent)
        write_series_again(source.path)

    summary = predict_there(request_of_series, OUTPUT, submit=submit, draw=draw)
    assert [*summary["state"]] == ["refused"]
    assert "has changed since it was sent" in summary["reason"][0]
    assert {path.name for path in OUTPUT.iterdir()} == {"predictions.csv"}


def write_series_again(folder: Path, change: Any = None) -> None:
    from tests.dicom_series import write_series

    write_series(folder, ct(), spacing_mm=(2.0, 2.0, 3.1), series="another", change=change)


def test_the_command_needs_the_folder_of_the_pipeline(request_of_three: Request) -> None:
    command = ["predict", "--model", str(request_of_three.bundle), "--azureml"]
    with pytest.raises(SystemExit, match=r"there is no azureml/predict\.smk here"):
        main([*command, "--image", "images/near.nii"])
    for file in ("azureml/predict.smk", "azureml/profile.yaml"):
        Path(file).parent.mkdir(exist_ok=True)
        Path(file).touch()
    with pytest.raises(SystemExit, match="has no member 7"):
        main([*command, "--folds", "7", "--image", "images/near.nii"])

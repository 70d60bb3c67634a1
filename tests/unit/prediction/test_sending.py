from __future__ import annotations

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
from crossfold.prediction.sending import REQUEST, Request, predict_sent, predict_there, send
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


def test_what_lies_elsewhere_is_copied_and_nothing_else(request_of_three: Request) -> None:
    sent = send(request_of_three, OUTPUT)
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
    assert (send(request_of_three, OUTPUT) / REQUEST).read_bytes() == before


def test_jobs_cannot_write_elsewhere(request_of_three: Request, tmp_path: Path) -> None:
    with pytest.raises(CrossfoldError, match="lies outside of this folder"):
        send(request_of_three, tmp_path / "out")


def test_each_image_is_where_it_would_be_if_it_was_predicted_here(
    request_of_three: Request,
) -> None:
    request = request_of_three
    made: list[Path] = []

    def submit(sent: Path) -> None:
        predict_sent(Request.read(sent / REQUEST), sent / "predicted")
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
    kept: dict[str, Any] = {**vars(request_of_three), "subjects": subjects}
    request = Request(**kept)

    def never(*_: Any, **__: Any) -> None:
        raise AssertionError

    summary = predict_there(request, OUTPUT, submit=never, draw=never)
    assert [*summary["state"]] == ["refused"]
    assert "2-D" in summary["reason"][0]


def test_dicom_stays_here(request_of_three: Request, tmp_path: Path) -> None:
    pytest.importorskip("pydicom")
    from tests.dicom_series import write_series

    write_series(tmp_path / "series", ct(), spacing_mm=(2.0, 2.0, 3.0))
    command = ["predict", "--model", str(request_of_three.bundle), "--azureml"]
    with pytest.raises(SystemExit, match=r"there is no azureml/predict\.smk here"):
        main([*command, "--image", str(tmp_path / "series")])
    for file in ("azureml/predict.smk", "azureml/profile.yaml"):
        Path(file).parent.mkdir(exist_ok=True)
        Path(file).touch()
    assert main([*command, "--image", str(tmp_path / "series")]) == 1
    table = Path("predictions/Random/predictions.csv").read_text()
    assert "DICOM, which jobs on a cluster do not read" in table
    with pytest.raises(SystemExit, match="has no member 7"):
        main([*command, "--folds", "7", "--image", "images/near.nii"])

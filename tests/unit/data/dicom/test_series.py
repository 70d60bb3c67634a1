from __future__ import annotations

import contextlib
import io
import shutil
from functools import partial
from pathlib import Path

import numpy as np
import pydicom
import pytest
from nibabel.affines import apply_affine
from PIL import Image as Picture
from pydicom import uid
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.pixels.decoders.base import get_decoder

from crossfold.data.dicom import is_dicom, read_series
from crossfold.errors import CrossfoldError
from crossfold.images import read_image, write_image
from tests.dicom_series import identifier, write_enhanced_series, write_series

ZEROS = np.zeros((4, 3, 5))


def test_a_series_keeps_its_values_and_every_voxel_its_place(
    folder: Path, hounsfield: np.ndarray
) -> None:
    series = read_series(folder)
    assert series.image.array.dtype == np.float32
    assert np.array_equal(series.image.array, hounsfield)
    assert np.allclose(series.image.spacing_mm, (2, 3, 4))
    header = series.datasets[6]
    row, column = np.array(header.ImageOrientationPatient).reshape(2, 3)
    place = np.array(header.ImagePositionPatient) + 10 * 2 * row + 20 * 3 * column
    assert np.allclose(apply_affine(series.image.affine, (10, 20, 6)), place * [-1, -1, 1])
    assert "PixelData" not in header


def test_it_can_be_written_as_nifti(folder: Path, hounsfield: np.ndarray, tmp_path: Path) -> None:
    series = read_series(folder)
    write_image(tmp_path / "ct.nii.gz", series.image.array, series.image)
    again = read_image(tmp_path / "ct.nii.gz")
    assert np.array_equal(again.array, hounsfield)
    assert np.allclose(again.affine, series.image.affine, atol=1e-4)


def test_an_enhanced_series_is_one_file(hounsfield: np.ndarray, tmp_path: Path) -> None:
    write_enhanced_series(tmp_path / "ct.dcm", hounsfield)
    series = read_series(tmp_path)
    assert np.array_equal(series.image.array, hounsfield)
    assert len(series.datasets) == 1
    assert np.allclose(series.image.spacing_mm, (2, 3, 4))


@pytest.mark.parametrize("syntax", [uid.RLELossless, uid.JPEGLSLossless])
def test_compressed_slices_are_decoded(
    syntax: uid.UID, hounsfield: np.ndarray, tmp_path: Path
) -> None:
    write_series(tmp_path, hounsfield, compress=syntax)
    assert np.array_equal(read_series(tmp_path).image.array, hounsfield)


def encapsulated(frame: bytes, syntax: uid.UID, dataset: Dataset) -> None:
    dataset.PixelData = encapsulate([frame])
    dataset["PixelData"].is_undefined_length = True
    dataset.file_meta.TransferSyntaxUID = syntax


def test_jpeg_2000_is_decoded(hounsfield: np.ndarray, tmp_path: Path) -> None:
    def compress(dataset: Dataset) -> None:
        frame = io.BytesIO()
        picture = Picture.fromarray(dataset.pixel_array)
        picture.save(frame, "JPEG2000", irreversible=False, no_jp2=True)
        encapsulated(frame.getvalue(), uid.JPEG2000Lossless, dataset)

    write_series(tmp_path, hounsfield, change=compress)
    assert np.array_equal(read_series(tmp_path).image.array, hounsfield)


@pytest.mark.parametrize(
    ("syntax", "remedy"),
    [
        (uid.JPEGLosslessSV1, "pip install python-gdcm; or decompress it"),
        (uid.HTJ2KLossless, "pip install pylibjpeg pylibjpeg-openjpeg; or decompress it"),
        (uid.HEVCMP51, "decompress it (gdcmconv --raw), or export it uncompressed"),
    ],
)
def test_what_a_compression_needs_is_named(syntax: uid.UID, remedy: str, tmp_path: Path) -> None:
    with contextlib.suppress(NotImplementedError):
        if get_decoder(syntax).is_available:
            pytest.skip("installed here")
    write_series(tmp_path, ZEROS, change=partial(encapsulated, bytes(64), syntax))
    with pytest.raises(CrossfoldError, match="which nothing here decodes") as raised:
        read_series(tmp_path)
    assert syntax.name in raised.value.message
    assert raised.value.remedy.startswith(remedy)


def test_what_is_dicom(folder: Path, tmp_path: Path) -> None:
    assert is_dicom(folder)
    assert is_dicom(folder.parent)
    assert is_dicom(next(folder.iterdir()))
    (tmp_path / "image.nii.gz").write_bytes(b"nothing")
    assert not is_dicom(tmp_path)
    assert not is_dicom(tmp_path / "missing")


def test_localizers_and_copies_are_passed_over(tmp_path: Path) -> None:
    write_series(tmp_path / "ct", ZEROS)
    shutil.copy(tmp_path / "ct/000.dcm", tmp_path / "ct/again.dcm")
    write_series(
        tmp_path / "scout",
        ZEROS[..., :1],
        change=lambda dataset: setattr(dataset, "ImageType", ["ORIGINAL", "PRIMARY", "LOCALIZER"]),
    )
    assert read_series(tmp_path).image.array.shape == ZEROS.shape


def capture(dataset: Dataset) -> None:
    """Make a secondary capture of a slice."""
    dataset.SOPClassUID, dataset.Modality = uid.SecondaryCaptureImageStorage, "OT"
    dataset.SOPInstanceUID = identifier("capture")
    dataset.ImageType = ["DERIVED", "SECONDARY"]
    del dataset.ImagePositionPatient, dataset.PixelSpacing


@pytest.mark.parametrize("series", ["", "same"])
def test_pictures_of_a_series_are_passed_over(series: str, tmp_path: Path) -> None:
    write_series(tmp_path / "ct", ZEROS, series="same")
    write_series(tmp_path / "shot", ZEROS[..., :1], series=series, change=capture)
    assert read_series(tmp_path).image.array.shape == ZEROS.shape
    with pytest.raises(CrossfoldError, match=r"no series of CT.* there is OT Pelvis \(000\.dcm\)"):
        read_series(tmp_path / "shot")
    with pytest.raises(CrossfoldError, match=r"000\.dcm is no slice .* but OT DERIVED SECONDARY"):
        read_series(tmp_path / "shot/000.dcm")


def test_files_that_are_no_dicom_are_passed_over(tmp_path: Path) -> None:
    write_series(tmp_path, ZEROS)
    (tmp_path / "._000.dcm").write_bytes(b"\0\5\x16\7" + bytes(300))
    (tmp_path / "DICOMDIR").write_bytes(bytes(128) + b"DICM" + bytes(300))
    (tmp_path / "empty.dcm").touch()
    (tmp_path / "folder.dcm").mkdir()
    (tmp_path / "readme.txt").write_text("scanned on Monday")
    assert read_series(tmp_path).image.array.shape == ZEROS.shape


def test_enhanced_files_of_one_frame_each_are_a_series(
    hounsfield: np.ndarray, tmp_path: Path
) -> None:
    for z in range(hounsfield.shape[2]):
        path = write_enhanced_series(tmp_path / f"{z}.dcm", hounsfield[..., z : z + 1])
        dataset = pydicom.dcmread(path)
        dataset.SeriesInstanceUID = dataset.FrameOfReferenceUID = "1.2.3"
        place = dataset.PerFrameFunctionalGroupsSequence[0].PlanePositionSequence[0]
        place.ImagePositionPatient = [0, 0, 4 * z]
        dataset.save_as(path)
    assert np.array_equal(read_series(tmp_path).image.array, hounsfield)


def only(number: int, **values: object):
    """Change one slice, counted from 1."""

    def change(dataset: Dataset) -> None:
        if dataset.InstanceNumber == number:
            for keyword, value in values.items():
                setattr(dataset, keyword, value)

    return change


def without(keyword: str):
    return lambda dataset: delattr(dataset, keyword)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (only(3, ImagePositionPatient=[-50, -40, 39.2]), "not evenly spaced"),
        (only(3, ImagePositionPatient=[-50, -40, 34]), "lie on another one"),
        (only(5, ImagePositionPatient=[-50, -40, 54]), "missing slices: 2, the first between"),
        (only(2, ImageOrientationPatient=[1, 0, 0, 0, 0, -1]), "mixed .* ImageOrientationPatient"),
        (only(2, PixelSpacing=[1, 1]), "mixed series: .* PixelSpacing"),
        (only(2, FrameOfReferenceUID="1.2.3"), "mixed series: .* FrameOfReferenceUID"),
        (without("PixelSpacing"), "PixelSpacing is missing"),
        (without("ImagePositionPatient"), "ImagePositionPatient is missing"),
        (without("RescaleSlope"), "without RescaleSlope"),
        (without("PixelData"), "pixels cannot be read .* no pixel data"),
        (without("Rows"), "has no rows and columns"),
        (without("SeriesInstanceUID"), "damaged .* no SeriesInstanceUID"),
        (without("SOPClassUID"), "damaged .* does not say what it is"),
        (only(2, SOPInstanceUID=identifier("one"), Rows=4), "differ in Rows"),
        (lambda dataset: setattr(dataset, "SOPInstanceUID", "1.2.3"), "have one SOPInstanceUID"),
        (only(4, ImagePositionPatient=[-50, float("nan"), 42]), "ImagePositionPatient is missing"),
        (only(4, RescaleSlope=float("inf")), "rescale slope and intercept are inf"),
        (only(4, NumberOfFrames=2, PixelData=bytes(48)), "2 slices, and places for 1"),
    ],
)
def test_what_is_no_volume_is_refused(change, message: str, tmp_path: Path) -> None:
    write_series(tmp_path, ZEROS, change=change)
    with pytest.raises(CrossfoldError, match=message):
        read_series(tmp_path)


def test_a_missing_slice_is_named(tmp_path: Path) -> None:
    paths = write_series(tmp_path, ZEROS)
    paths[2].unlink()
    with pytest.raises(CrossfoldError, match=r"1, the first between 007.dcm and 021.dcm, 8.00 mm"):
        read_series(tmp_path)


def test_a_gantry_tilt_is_refused(tmp_path: Path) -> None:
    write_series(tmp_path, ZEROS, shear_mm=1.0)
    with pytest.raises(CrossfoldError, match=r"gantry tilt of 14.0 degrees"):
        read_series(tmp_path)


def test_two_series_are_refused_and_named(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_series(tmp_path / name, ZEROS)
    with pytest.raises(CrossfoldError, match=r"2 series: CT Pelvis \(5 files\), CT Pelvis"):
        read_series(tmp_path)
    with pytest.raises(CrossfoldError, match=r"mixed series: .* SeriesInstanceUIDs"):
        read_series(sorted(tmp_path.rglob("*.dcm")))


def test_no_series_and_a_single_slice_are_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(CrossfoldError, match="no DICOM file"):
        read_series(tmp_path / "empty")
    write_series(tmp_path / "single", ZEROS[..., :1])
    with pytest.raises(CrossfoldError, match="a single slice"):
        read_series(tmp_path / "single")


def test_a_truncated_file_is_named(tmp_path: Path) -> None:
    path = write_series(tmp_path, ZEROS)[1]
    whole = path.read_bytes()
    path.write_bytes(whole[:-20])
    with pytest.raises(CrossfoldError, match=r"007.dcm: its pixels cannot be read"):
        read_series(tmp_path)
    for size in (132, 200, 600):
        path.write_bytes(whole[:size])
        with pytest.raises(CrossfoldError, match=r"007.dcm: damaged or truncated"):
            read_series(tmp_path)


@pytest.mark.filterwarnings("ignore::UserWarning:pydicom")
def test_a_damaged_slice_is_read_or_refused_but_never_raises_anything_else(tmp_path: Path) -> None:
    files = write_series(tmp_path / "ct", np.zeros((4, 4, 3)))
    whole, random = files[1].read_bytes(), np.random.default_rng(0)
    header = whole.index(b"\xe0\x7f\x10\x00")  # PixelData
    refused = 0
    for _ in range(150):
        damaged = bytearray(whole)
        for place in random.integers(132, header, size=3):
            damaged[place] = random.integers(256)
        files[1].write_bytes(damaged)
        try:
            read_series(tmp_path / "ct")
        except CrossfoldError:
            refused += 1
    assert refused > 50

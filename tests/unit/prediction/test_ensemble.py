from __future__ import annotations

from pathlib import Path
from typing import Literal

import nibabel as nib
import numpy as np
import pytest
from scipy.special import entr

from crossfold.errors import CrossfoldError
from crossfold.images import Image, read_labels, read_posterior, write_posterior
from crossfold.paths import subject_file
from crossfold.prediction.ensemble import EnsembleFolders, ensemble_folds, normalised_entropy

LIKE = Image(np.zeros((3, 1, 1)), np.diag([-2.0, 1.0, 3.0, 1.0]), nib.Nifti1Header())


def write_member(folder: Path, values: list[list[int]]) -> Path:
    array = np.array(values, dtype=np.uint8).reshape(3, 1, 1, 2)
    write_posterior(subject_file(folder, "P 1"), array, LIKE)
    return folder


def run(members: list[Path], folder: Path, subjects: tuple[str, ...] = ("P 1",)) -> None:
    ensemble_folds(
        members,
        subjects=subjects,
        labels={"a": (1,), "b": (2,)},
        folders=EnsembleFolders(
            *(
                folder / name
                for name in ("posteriors", "segmentations", "uncertainty", "disagreement")
            )
        ),
    )


def test_posteriors_are_averaged_before_the_argmax(tmp_path: Path) -> None:
    members = [
        write_member(tmp_path / "0", [[255, 0], [120, 0], [0, 0]]),
        write_member(tmp_path / "1", [[255, 0], [120, 0], [0, 255]]),
        write_member(tmp_path / "2", [[255, 0], [160, 0], [0, 254]]),
    ]
    run(members, tmp_path)
    mean = read_posterior(tmp_path / "posteriors" / "P 1.nii.gz")
    # 120 + 120 + 160 = 400, of 765: two of three members say background, their mean does not.
    assert mean.array.reshape(3, 2).tolist() == [[255, 0], [133, 0], [0, 170]]
    segmentation = read_labels(tmp_path / "segmentations" / "P 1.nii.gz")
    assert segmentation.array.ravel().tolist() == [1, 1, 2]
    np.testing.assert_array_equal(segmentation.affine, LIKE.affine)
    uncertainty = read_posterior(tmp_path / "uncertainty" / "P 1.nii.gz").array.ravel() / 255
    share = 400 / 765
    entropy = -(share * np.log(share) + (1 - share) * np.log(1 - share)) / np.log(3)
    assert uncertainty[:2] == pytest.approx([0, entropy], abs=1 / 255)
    disagreement = read_posterior(tmp_path / "disagreement" / "P 1.nii.gz").array.ravel()
    assert disagreement.tolist() == [0, 170, 85]


def test_uncertainty_is_1_where_all_classes_are_equal() -> None:
    posterior = np.full((1, 1, 1, 2), 85, dtype=np.uint8)
    assert normalised_entropy(posterior, 255).item() == 255


@pytest.mark.parametrize(
    ("dtype", "whole"), [(np.uint8, 255), (np.uint16, 3 * 255), (np.uint16, 65_280)]
)
@pytest.mark.parametrize("order", ["C", "F"])
def test_uncertainty_is_the_entropy_of_all_classes(
    dtype: type[np.unsignedinteger], whole: int, order: Literal["C", "F"]
) -> None:
    random = np.random.default_rng(whole)
    shares = random.dirichlet([0.2] * 4, (5, 4, 3))
    posterior = np.asarray(np.rint(shares[..., 1:] * whole), dtype=dtype, order=order)
    posterior[0, 0] = [[whole, 0, 0], [0, 0, 0], [whole, 1, 0]]  # the last: rounded to more than 1
    classes = np.concatenate([whole - posterior.sum(-1, keepdims=True, dtype=int), posterior], -1)
    wanted = entr(np.maximum(classes, 0) / whole).sum(-1) / np.log(4)
    found = normalised_entropy(posterior, whole)
    assert found[0, 0, :2].tolist() == [0, 0]
    np.testing.assert_allclose(found, wanted * 255, atol=0.6)


def test_a_missing_member_is_named_and_nothing_is_left(tmp_path: Path) -> None:
    member = write_member(tmp_path / "0", [[255, 0], [120, 0], [0, 0]])
    with pytest.raises(CrossfoldError, match=r"1.P 1\.nii\.gz: no such file"):
        run([member, tmp_path / "1"], tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0"]


def test_without_a_test_subject_there_is_no_ensemble(tmp_path: Path) -> None:
    with pytest.raises(CrossfoldError, match=r"splits\.test: there is no test subject"):
        run([tmp_path], tmp_path, subjects=())

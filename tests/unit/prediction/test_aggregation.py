from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.transforms import MeanEnsemble, VoteEnsemble
from numpy.typing import NDArray

from crossfold.config.prediction import Aggregation
from crossfold.images import Image, write_posterior
from crossfold.prediction.aggregation import Aggregate, aggregate
from crossfold.prediction.postprocessing import segment

METHODS: tuple[Aggregation, ...] = ("average", "log_average", "majority_vote", "staple")
LIKE = Image(np.empty(0), np.diag([-2.0, 1.0, 3.0, 1.0]), nib.Nifti1Header())


def combine(folder: Path, members: NDArray[np.uint8], method: Aggregation) -> Aggregate:
    """Aggregate members (member, voxel, structure) through files, as a run does."""
    files = [folder / f"{number}.nii.gz" for number in range(len(members))]
    for file, member in zip(files, members, strict=True):
        write_posterior(file, member[:, None, None], LIKE)
    return aggregate(files, method)


def shares(found: Aggregate) -> NDArray[np.float64]:
    return found.posterior[:, 0, 0] / found.whole


def likeliest(found: Aggregate) -> list[int]:
    return segment(found.posterior, whole=found.whole, labels={}).ravel().tolist()


def random_members(seed: int, n_members: int = 3, voxels: int = 40) -> NDArray[np.uint8]:
    """Posteriors of three structures whose sum leaves room for the background."""
    drawn = np.random.default_rng(seed).dirichlet([0.3] * 4, (n_members, voxels))
    return np.floor(255 * drawn[..., 1:]).astype(np.uint8)


def test_the_average_is_that_of_monai(tmp_path: Path) -> None:
    members = random_members(0)
    expected = MeanEnsemble()(torch.from_numpy(members / 255.0))
    np.testing.assert_allclose(shares(combine(tmp_path, members, "average")), expected, atol=1e-6)


def test_votes_are_those_of_monai_and_so_are_ties(tmp_path: Path) -> None:
    members = random_members(1, n_members=4)
    found = combine(tmp_path, members, "majority_vote")
    labels = torch.from_numpy(np.stack(found.members))[:, None].long()
    voted = VoteEnsemble(num_classes=4)(labels)
    counts = np.sort(np.stack([(labels == value).sum(0) for value in range(4)]), axis=0)
    assert (counts[-1] == counts[-2]).any()  # a tie is among them
    assert likeliest(found) == voted.flatten().int().tolist()


def test_geometric_mean_by_hand(tmp_path: Path) -> None:
    # One structure: 51/255 = 0.2 and 204/255 = 0.8 are as likely as their opposites.
    members = np.array([[[51], [51], [0]], [[204], [51], [204]]], dtype=np.uint8)
    found = shares(combine(tmp_path, members, "log_average"))[:, 0]
    odds = np.sqrt(0.5 * 204) / np.sqrt(255 * 51)
    np.testing.assert_allclose(found, [0.5, 0.2, odds / (1 + odds)], atol=2e-5)


def test_one_sure_member_weighs_more_in_the_geometric_mean(tmp_path: Path) -> None:
    members = np.array([[[0]], [[140]], [[140]]], dtype=np.uint8)
    mean, geometric = (
        shares(combine(tmp_path, members, method)).item() for method in ("average", "log_average")
    )
    assert geometric < mean / 2


def test_votes_are_counted_not_weighed(tmp_path: Path) -> None:
    members = np.array([[[0, 255]], [[130, 0]], [[130, 0]]], dtype=np.uint8)
    voted = combine(tmp_path, members, "majority_vote")
    assert shares(voted).tolist() == [[2 / 3, 1 / 3]]
    assert likeliest(voted) == [1]
    averaged = combine(tmp_path, members, "average")
    assert shares(averaged).tolist() == [[260 / 765, 255 / 765]]


@pytest.mark.parametrize("method", METHODS)
def test_members_that_agree_are_believed(tmp_path: Path, method: Aggregation) -> None:
    members = np.repeat(random_members(2, n_members=1), 3, axis=0)
    found = combine(tmp_path, members, method)
    assert (
        likeliest(found)
        == segment(members[0][:, None, None], whole=255, labels={}).ravel().tolist()
    )
    assert not found.disagreement(found.likeliest()).any()


@pytest.mark.parametrize("method", METHODS)
@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10_000), n_members=st.integers(1, 6))
def test_posteriors_are_probabilities(
    tmp_path_factory: pytest.TempPathFactory, method: Aggregation, seed: int, n_members: int
) -> None:
    members = random_members(seed, n_members=n_members, voxels=12)
    found = combine(tmp_path_factory.mktemp("members"), members, method)
    total = found.posterior.sum(axis=-1, dtype=int)
    assert found.posterior.shape == (12, 1, 1, 3)
    assert total.max() <= found.whole + 2  # each structure is rounded


def test_disagreement_is_the_share_of_members_that_say_otherwise(tmp_path: Path) -> None:
    members = np.array(
        [
            [[255, 0], [255, 0], [0, 0]],
            [[255, 0], [0, 255], [130, 0]],
            [[255, 0], [255, 0], [130, 0]],
            [[255, 0], [0, 0], [130, 0]],
        ],
        dtype=np.uint8,
    )
    found = combine(tmp_path, members, "average")
    # In the last voxel three of four say structure 1, but their mean is background.
    assert likeliest(found) == [1, 1, 0]
    disagreement = found.disagreement(found.likeliest())
    assert disagreement.ravel().tolist() == [0, 128, 191]  # a half, three quarters

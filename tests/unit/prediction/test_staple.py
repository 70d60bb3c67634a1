from __future__ import annotations

import itertools

import numpy as np
import pytest
from numpy.typing import NDArray

from crossfold.prediction.staple import FIRST_RELIABILITY, estimate_truth, staple


def warfield(decisions: NDArray, prior: float, iterations: int) -> tuple[NDArray, NDArray, NDArray]:
    """Binary STAPLE as the paper writes it, voxel by voxel: W, sensitivities, specificities."""
    sensitivity = np.full(decisions.shape[1], FIRST_RELIABILITY)
    specificity = np.full(decisions.shape[1], FIRST_RELIABILITY)
    truth = np.empty(len(decisions))
    for _ in range(iterations):
        for voxel, given in enumerate(decisions):
            in_it, outside = prior, 1 - prior
            for member, says_yes in enumerate(given):
                p, q = sensitivity[member], specificity[member]
                in_it *= p if says_yes else 1 - p
                outside *= 1 - q if says_yes else q
            truth[voxel] = in_it / (in_it + outside)
        sensitivity = (decisions * truth[:, None]).sum(0) / truth.sum()
        specificity = ((1 - decisions) * (1 - truth[:, None])).sum(0) / (1 - truth).sum()
    return truth, sensitivity, specificity


def test_two_structures_are_those_of_the_paper() -> None:
    patterns = np.array([*itertools.product((0, 1), repeat=3)], dtype=np.uint8)
    counts = np.array([40, 3, 5, 2, 4, 1, 6, 20])
    prior = float((counts[:, None] * patterns).sum() / (3 * counts.sum()))
    found = estimate_truth(patterns, counts, 2)
    voxels = np.repeat(patterns, counts, axis=0)
    truth, sensitivity, specificity = warfield(voxels, prior, 300)
    np.testing.assert_allclose(np.repeat(found.weights[:, 1], counts), truth, atol=1e-4)
    np.testing.assert_allclose(found.confusion[:, 1, 1], sensitivity, atol=1e-4)
    np.testing.assert_allclose(found.confusion[:, 0, 0], specificity, atol=1e-4)


def test_reliability_by_hand() -> None:
    """Two members agree always: the third misses 1 voxel of 4 and adds 2 of 6."""
    patterns = np.array([[1, 1, 1], [1, 1, 0], [0, 0, 1], [0, 0, 0]], dtype=np.uint8)
    found = estimate_truth(patterns, np.array([3, 1, 2, 4]), 2)
    np.testing.assert_allclose(found.weights[:, 1], [1, 1, 0, 0], atol=1e-6)
    np.testing.assert_allclose(found.confusion[:2, 1, 1], 1, atol=1e-6)
    assert found.confusion[2, 1, 1] == pytest.approx(3 / 4, abs=1e-6)
    assert found.confusion[2, 0, 0] == pytest.approx(4 / 6, abs=1e-6)


def test_a_reliable_member_outvotes_two_that_guess() -> None:
    """Members 1 and 2 agree with the rest of five on all but one voxel, the others guess."""
    random = np.random.default_rng(0)
    truth = np.zeros((12, 12, 12), dtype=np.uint8)
    truth[3:9, 3:9, 3:9] = 1
    truth[4:7, 4:7, 4:7] = 2
    exact = [truth.copy() for _ in range(2)]
    guessing = [
        np.where(random.random(truth.shape) < 0.45, random.integers(0, 3, truth.shape), truth)
        for _ in range(3)
    ]
    members = [*exact, *(member.astype(np.uint8) for member in guessing)]
    posterior = staple(members, n_structures=2, whole=1000)
    votes = np.stack([(np.stack(members) == value).sum(0) for value in range(3)])
    assert (votes.argmax(0) != truth).sum() > 0
    assert ((posterior[0] > 500) == (truth == 1)).all()
    assert ((posterior[1] > 500) == (truth == 2)).all()


def test_where_members_agree_nothing_is_decided() -> None:
    one = np.zeros((4, 4, 4), dtype=np.uint8)
    one[1:3, 1:3, 1:3] = 2
    posterior = staple([one, one, one], n_structures=2, whole=255)
    np.testing.assert_array_equal(posterior, [np.zeros_like(one), (one == 2) * 255])


@pytest.mark.parametrize("air", [0, 30])
def test_air_around_the_patient_changes_nothing(air: int) -> None:
    random = np.random.default_rng(1)
    members = [random.integers(0, 2, (6, 5, 4)).astype(np.uint8) for _ in range(3)]
    inner = staple(members, n_structures=1, whole=60_000)
    padded = staple([np.pad(member, air) for member in members], n_structures=1, whole=60_000)
    centre = tuple(slice(air, air + size) for size in members[0].shape)
    np.testing.assert_array_equal(padded[0][centre], inner[0])
    assert padded.sum() == inner.sum()


def test_the_order_of_members_and_labels_does_not_matter() -> None:
    random = np.random.default_rng(2)
    members = [random.integers(0, 3, (5, 5, 5)).astype(np.uint8) for _ in range(4)]
    posterior = staple(members, n_structures=2, whole=60_000).astype(int)
    assert np.abs(staple(members[::-1], n_structures=2, whole=60_000) - posterior).max() <= 1
    swapped = [np.array([0, 2, 1], dtype=np.uint8)[member] for member in members]
    other = staple(swapped, n_structures=2, whole=60_000)[::-1]
    assert np.abs(other - posterior).max() <= 1


def test_more_members_than_a_code_could_hold() -> None:
    random = np.random.default_rng(3)
    members = [random.integers(0, 2, (4, 4, 4)).astype(np.uint8) for _ in range(40)]
    posterior = staple(members, n_structures=1, whole=255)
    assert posterior.max() <= 255

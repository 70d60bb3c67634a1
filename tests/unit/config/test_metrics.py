import pytest
from pydantic import ValidationError

from crossfold.config.metrics import MetricsConfig
from crossfold.errors import CrossfoldError


def test_one_tolerance_is_for_all_structures() -> None:
    assert MetricsConfig().tolerance_of("prostate") == 1.0
    assert MetricsConfig(nsd_tolerance_mm=2.5).tolerance_of("prostate") == 2.5


def test_a_structure_of_its_own_goes_before_the_default() -> None:
    config = MetricsConfig(nsd_tolerance_mm={"default": 2.0, "rectum": 3.0, "bladder": 0.0})
    structures = ["rectum", "bladder", "prostate"]
    assert [config.tolerance_of(structure) for structure in structures] == [3.0, 0.0, 2.0]


def test_a_structure_without_tolerance_is_named() -> None:
    config = MetricsConfig(nsd_tolerance_mm={"rectum": 3.0})
    with pytest.raises(CrossfoldError, match="no tolerance for prostate"):
        config.tolerance_of("prostate")


@pytest.mark.parametrize("tolerance", [-1.0, {"rectum": -0.1}, float("inf"), "far"])
def test_what_is_no_distance_is_refused(tolerance: object) -> None:
    with pytest.raises(ValidationError, match="nsd_tolerance_mm"):
        MetricsConfig(nsd_tolerance_mm=tolerance)

import pytest
from pydantic import ValidationError

from crossfold.config.statistics import StatisticsConfig


def test_defaults_are_those_of_a_paper() -> None:
    config = StatisticsConfig()
    assert (config.confidence, config.resamples, config.seed) == (0.95, 9999, 0)


@pytest.mark.parametrize(
    ("key", "value"), [("confidence", 95), ("confidence", 0.5), ("resamples", 998), ("seed", -1)]
)
def test_values_that_make_no_interval_are_refused(key: str, value: float) -> None:
    with pytest.raises(ValidationError, match=key):
        StatisticsConfig(**{key: value})

import pytest
from pydantic import ValidationError

from crossfold.config.statistics import ComparedRun, StatisticsConfig


def test_defaults_are_those_of_a_paper() -> None:
    config = StatisticsConfig()
    assert (config.confidence, config.resamples, config.seed) == (0.95, 9999, 0)


@pytest.mark.parametrize(
    ("key", "value"), [("confidence", 95), ("confidence", 0.5), ("resamples", 998), ("seed", -1)]
)
def test_values_that_make_no_interval_are_refused(key: str, value: float) -> None:
    with pytest.raises(ValidationError, match=key):
        StatisticsConfig(**{key: value})


@pytest.mark.parametrize(
    ("text", "source", "name"),
    [
        ("Prostate@30", {"model": "Prostate@30"}, "Prostate@30"),
        ("../old/Unet/metrics.csv", {"metrics": "../old/Unet/metrics.csv"}, "Unet"),
        ("v1:results/A/metrics.csv", {"revision": "v1:results/A/metrics.csv"}, "A@v1"),
        ("metrics.csv", {"metrics": "metrics.csv"}, "metrics.csv"),
    ],
)
def test_a_compared_run_may_be_written_as_text(
    text: str, source: dict[str, str], name: str
) -> None:
    (run,) = StatisticsConfig(compare=[text]).compare["*"]
    assert run == ComparedRun(**source)
    assert run.name == name


@pytest.mark.parametrize(
    ("run", "message"),
    [
        ({}, "not none"),
        ({"model": "A", "metrics": "a.csv"}, "not model and metrics"),
        ({"revision": "metrics.csv"}, "<revision>:<path>"),
        ({"azureml": "main/train-1", "model": "A"}, "not model and azureml"),
        ({"azureml": "train-1"}, "<experiment>/<run>"),
    ],
)
def test_a_compared_run_has_one_source(run: dict[str, str], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        ComparedRun(**run)


def test_a_run_of_a_workspace_is_called_by_its_name() -> None:
    assert ComparedRun(azureml="main/train-1").name == "train-1"
    assert ComparedRun(azureml="main/train-1", label="old").name == "old"

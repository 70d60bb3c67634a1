from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as some
from snakemake_executor_plugin_azureml.jobs import (
    EnvironmentSpec,
    Identity,
    Wishes,
    experiment_name,
    job_name,
    parse_environment,
    read_resources,
)
from snakemake_interface_common.exceptions import WorkflowError

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,254}")
DEFAULTS = {"compute": "cluster", "environment": "lab:1", "tier": "dedicated", "shm_size": "16g"}

digests = some.text("0123456789abcdef", min_size=10, max_size=64)
identities = some.builds(
    Identity,
    rules=some.lists(some.text(min_size=1), min_size=1, max_size=4).map(tuple),
    wildcards=some.dictionaries(some.text(min_size=1), some.text(), max_size=4),
    attempt=some.integers(1, 9),
)


@given(identities, digests, some.integers(1, 10_000))
def test_names_are_ones_that_azureml_accepts(identity: Identity, digest: str, count: int) -> None:
    assert NAME.fullmatch(job_name(identity, digest, count))


@given(identities, digests, digests, some.integers(1, 99), some.integers(1, 99))
def test_names_differ_exactly_where_the_work_or_its_count_does(
    identity: Identity, one: str, other: str, first: int, second: int
) -> None:
    is_same = (one[:10], first) == (other[:10], second)
    assert (job_name(identity, one, first) == job_name(identity, other, second)) == is_same


def test_a_name_says_what_the_job_is() -> None:
    identity = Identity(rules=("train_fold",), wildcards={"model": "Prostate", "fold": "1"})
    assert job_name(identity, "0123456789abcdef", 2) == "train_fold-1-prostate-0123456789-2"
    assert identity.title == "train_fold fold=1, model=Prostate"


@given(identities)
def test_tags_are_short_and_none_is_empty(identity: Identity) -> None:
    tags = identity.tags(git_commit="abc", empty="")
    assert tags["git_commit"] == "abc"
    assert "empty" not in tags
    assert all(0 < len(value) <= 256 for value in tags.values())
    assert tags["attempt"] == str(identity.attempt)


def test_every_wildcard_is_a_tag_but_none_hides_the_rule() -> None:
    identity = Identity(rules=("fit", "test"), wildcards={"fold": "1", "rule": "mine"})
    tags = identity.tags()
    assert (tags["fold"], tags["rule"]) == ("1", "fit+test")


@pytest.mark.parametrize(
    ("branch", "name"),
    [
        ("main", "main"),
        ("me/new-model.2", "me_new_model_2"),
        ("größer", "gr__er"),
        ("", "anna_local_branch_202611"),
    ],
)
def test_the_experiment_is_the_branch(branch: str, name: str) -> None:
    assert experiment_name(branch, user="anna", month="202611") == name


def test_resources_go_before_defaults() -> None:
    asked = {
        "azureml_compute": "big",
        "azureml_environment": "ghcr.io/lab/image:2",
        "azureml_tier": "low_priority",
        "shm_size": "32g",
        "nodes": 2,
        "runtime": 90,
        "azureml_mounts": ".state, data/a=azureml:prostate:3,cache",
    }
    assert read_resources(asked, DEFAULTS) == Wishes(
        compute="big",
        environment="ghcr.io/lab/image:2",
        shm_size="32g",
        tier="low_priority",
        nodes=2,
        timeout_s=5400,
        folders=".state,cache",
        data={"data/a": "azureml:prostate:3"},
    )
    assert read_resources({}, DEFAULTS).compute == "cluster"
    assert read_resources({}, DEFAULTS | {"compute": ""}).compute == ""
    assert read_resources({}, DEFAULTS).timeout_s == 0


@pytest.mark.parametrize(
    ("resources", "complaint"),
    [
        ({"azureml_tier": "spot"}, "azureml_tier 'spot'"),
        ({"shm_size": "much"}, "shm_size 'much'"),
        ({"runtime": "long"}, "runtime 'long'"),
        ({"nodes": 0}, "nodes=0"),
    ],
)
def test_resources_that_make_no_sense_are_refused(
    resources: dict[str, object], complaint: str
) -> None:
    with pytest.raises(WorkflowError, match=complaint):
        read_resources(resources, DEFAULTS)


def test_a_missing_environment_says_how_to_set_it() -> None:
    with pytest.raises(WorkflowError, match="--azureml-environment"):
        read_resources({}, DEFAULTS | {"environment": ""})


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        ("lab:3", "lab:3"),
        ("azureml:lab:3", "lab:3"),
        ("lab@latest", "lab@latest"),
        ("azureml://registries/r/environments/e/versions/1",) * 2,
        ("ghcr.io/lab/a.b:1", EnvironmentSpec(name="snakemake-a-b", image="ghcr.io/lab/a.b:1")),
        (
            "ghcr.io/lab/c@sha256:00",
            EnvironmentSpec(name="snakemake-c", image="ghcr.io/lab/c@sha256:00"),
        ),
        (
            "envs/torch.yaml@ghcr.io/base:1",
            EnvironmentSpec(
                name="snakemake-torch", image="ghcr.io/base:1", conda="envs/torch.yaml"
            ),
        ),
    ],
)
def test_software_is_an_image_a_conda_file_or_registered(
    text: str, parsed: EnvironmentSpec | str
) -> None:
    assert parse_environment(text, read=lambda path: path) == parsed


def test_a_conda_file_alone_is_built_on_a_plain_image() -> None:
    spec = parse_environment("envs/torch.yml", read=lambda path: f"content of {path}")
    assert isinstance(spec, EnvironmentSpec)
    assert spec.image.startswith("mcr.microsoft.com/")
    assert spec.conda == "content of envs/torch.yml"

from __future__ import annotations

import ast
import json
import pickle
from pathlib import Path

import pytest
import safetensors
import safetensors.torch
import torch

import crossfold
from crossfold.config.learning import TrainingConfig
from crossfold.errors import CrossfoldError
from crossfold.learning import STAGE_VERSION
from crossfold.learning.checkpoints import (
    NetworkCard,
    distinct_tensors,
    load_checkpoint,
    save_checkpoint,
)
from crossfold.learning.recovery import TrainingState

REPOSITORY = Path(crossfold.__file__).parents[1]


def card(target: str = "crossfold.learning.networks.UNet", **arguments: object) -> NetworkCard:
    given = {"in_channels": 1, "out_channels": 3, **(arguments or {"channels": [2, 4]})}
    return NetworkCard(target, given, ["ct"], ["a", "b"], [1.0, 1.0, 1.0], [8, 8, 8])


def test_a_checkpoint_tells_its_network_and_the_version_of_the_code(tmp_path: Path) -> None:
    path = tmp_path / "epoch_007.safetensors"
    save_checkpoint(path, card().build(), card(), epoch=7)
    with safetensors.safe_open(path, framework="pt") as file:
        about = json.loads(file.metadata()["crossfold"])
    assert about["epoch"] == 7
    assert about["version"] == crossfold.__version__
    assert about["stage_version"] == STAGE_VERSION
    assert about["card"]["target"] == "crossfold.learning.networks.UNet"
    assert about["card"]["arguments"]["channels"] == [2, 4]
    assert load_checkpoint(path)[1] == card()


def test_layers_of_two_names_are_stored_once_and_read_again(tmp_path: Path) -> None:
    dynunet = card(
        "monai.networks.nets.DynUNet",
        spatial_dims=3,
        kernel_size=[3, 3, 3],
        strides=[1, 2, 2],
        upsample_kernel_size=[2, 2],
        filters=[2, 2, 2],
    )
    network, path = dynunet.build().eval(), tmp_path / "epoch_001.safetensors"
    assert len(distinct_tensors(network)) < len(network.state_dict())
    save_checkpoint(path, network, dynunet, epoch=1)
    again, _ = load_checkpoint(path)
    image = torch.randn(1, 1, 8, 8, 8)
    torch.testing.assert_close(again(image), network(image))


@pytest.mark.parametrize("change", ["renamed", "missing", "shape"])
def test_weights_that_do_not_fit_are_refused(tmp_path: Path, change: str) -> None:
    path = tmp_path / "epoch_001.safetensors"
    save_checkpoint(path, card().build(), card(), epoch=1)
    with safetensors.safe_open(path, framework="pt") as file:
        metadata = file.metadata()
    weights = safetensors.torch.load_file(path)
    bias = weights.pop("head.bias")
    if change == "renamed":
        weights["tail.bias"] = bias
    elif change == "shape":
        weights["head.bias"] = bias[:2].clone()
    safetensors.torch.save_file(weights, path, metadata)
    with pytest.raises(
        CrossfoldError, match=r"weights do not fit crossfold\.learning\.networks\.UNet"
    ):
        load_checkpoint(path)


def test_foreign_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "epoch_001.safetensors"
    torch.save(card().build().state_dict(), path)
    with pytest.raises(CrossfoldError, match="not a checkpoint of Crossfold"):
        load_checkpoint(path)
    safetensors.torch.save_file({"a": torch.zeros(1)}, path)
    with pytest.raises(CrossfoldError, match=r"does not name its network.*\n.*init_from"):
        load_checkpoint(path)


def test_a_state_that_is_no_state_is_refused(tmp_path: Path) -> None:
    state = TrainingState(tmp_path, {}, TrainingConfig())
    state.directory.mkdir()
    (state.directory / "state.pt").write_bytes(pickle.dumps(print))
    with pytest.raises(CrossfoldError, match=r"refused.*\n.*trained from the start"):
        state.load()


def test_no_pickle_is_read_that_could_run_code() -> None:
    """`torch.load` with `weights_only=True` alone; no pickle of Python, numpy or pandas."""
    calls = {
        (file, node.lineno): (ast.unparse(node.func), {k.arg: k.value for k in node.keywords})
        for folder in ("crossfold", "scripts", "rules", "benchmarks")
        for file in (REPOSITORY / folder).rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
    }
    loads = {place: keys for place, (name, keys) in calls.items() if name == "torch.load"}
    assert loads, "the test has lost sight of torch.load"
    for place, keywords in loads.items():
        assert ast.unparse(keywords.get("weights_only", ast.Constant(False))) == "True", place
    for place, (name, keywords) in calls.items():
        assert name not in ("pickle.load", "pickle.loads", "pandas.read_pickle"), place
        assert "allow_pickle" not in keywords, place

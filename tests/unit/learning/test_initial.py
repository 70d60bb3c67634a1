from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import safetensors.torch
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from crossfold.config.learning import NetworkConfig, TrainingConfig
from crossfold.data.preprocessing import Plan
from crossfold.errors import CrossfoldError
from crossfold.learning.checkpoints import NetworkCard, save_checkpoint
from crossfold.learning.initial import REPORT, REPORT_COLUMNS, InitialWeights
from crossfold.learning.training import train_fold
from crossfold.paths import checkpoint

CARD = NetworkCard(
    "crossfold.learning.networks.UNet",
    {"in_channels": 1, "out_channels": 3, "channels": [2, 4]},
    ["ct"],
    ["bladder", "rectum"],
    [1.0, 1.0, 1.0],
    [8, 8, 8],
)


def network_of(card: NetworkCard, seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return card.build()


def stored(path: Path, card: NetworkCard = CARD, seed: int = 0) -> tuple[Path, nn.Module]:
    network = network_of(card, seed)
    save_checkpoint(path, network, card, epoch=1)
    return path, network


def plain(network: nn.Module) -> dict[str, Tensor]:
    return {name: value.contiguous() for name, value in network.state_dict().items()}


def with_structures(*structures: str) -> NetworkCard:
    arguments = {**CARD.arguments, "out_channels": len(structures) + 1}
    return replace(CARD, structures=[*structures], arguments=arguments)


def test_the_weights_of_the_same_network_are_copied(tmp_path: Path) -> None:
    path, origin = stored(tmp_path / "a.safetensors")
    network = network_of(CARD, 1)
    report = InitialWeights((path,)).load_into(network, CARD)
    assert report.columns.tolist() == REPORT_COLUMNS
    assert set(report["status"]) == {"copied"}
    for name, value in network.state_dict().items():
        torch.testing.assert_close(value, origin.state_dict()[name])


def test_folds_are_averaged(tmp_path: Path) -> None:
    files = [stored(tmp_path / f"{seed}.safetensors", seed=seed) for seed in range(3)]
    network = network_of(CARD, 9)
    InitialWeights(tuple(path for path, _ in files)).load_into(network, CARD)
    expected = sum(origin.get_parameter("head.weight") for _, origin in files) / 3
    torch.testing.assert_close(network.get_parameter("head.weight"), expected)
    assert network.get_buffer("encoder.0.1.num_batches_tracked").dtype == torch.int64


def test_folds_of_different_networks_are_not_averaged(tmp_path: Path) -> None:
    first, _ = stored(tmp_path / "0.safetensors")
    second, _ = stored(tmp_path / "1.safetensors", with_structures("bladder", "prostate"))
    with pytest.raises(CrossfoldError, match="hold different networks"):
        InitialWeights((first, second)).load_into(network_of(CARD, 9), CARD)


def test_the_last_layer_keeps_what_it_knows_of_the_same_structures(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path, origin = stored(tmp_path / "a.safetensors")
    card = with_structures("prostate", "bladder", "femur")
    network, fresh = network_of(card, 1), network_of(card, 1)
    with caplog.at_level(logging.INFO):
        report = InitialWeights((path,)).load_into(network, card)
    partly = report[report["status"] == "some classes"]
    assert partly["tensor"].tolist() == ["head.bias", "head.weight"]
    assert partly["shape"].tolist() == ["4", "4x2x1x1x1"]
    assert partly["shape_in_file"].tolist() == ["3", "3x2x1x1x1"]
    assert "some classes: head.bias, head.weight" in caplog.text
    here, there = network.get_parameter("head.bias"), origin.get_parameter("head.bias")
    # Background, prostate, bladder, femur; there background, bladder, rectum.
    assert here[[0, 2]].tolist() == there[[0, 1]].tolist()
    assert here[[1, 3]].tolist() == fresh.get_parameter("head.bias")[[1, 3]].tolist()


def test_structures_in_another_order_are_found_by_name(tmp_path: Path) -> None:
    path, origin = stored(tmp_path / "a.safetensors")
    card = with_structures("rectum", "bladder")
    network = network_of(card, 1)
    InitialWeights((path,)).load_into(network, card)
    expected = origin.get_parameter("head.bias")[[0, 2, 1]]
    torch.testing.assert_close(network.get_parameter("head.bias"), expected)


@pytest.mark.parametrize(
    ("card", "message"),
    [
        (
            replace(CARD, target="crossfold.learning.networks.UNet3D"),
            "and this model is a .*UNet3D",
        ),
        (
            replace(CARD, images=["ct", "pet"]),
            "learnt from the images ct, and this model has ct, pet",
        ),
        (
            replace(CARD, arguments={**CARD.arguments, "channels": [2, 8]}),
            r"is \w+ here and \w+ there \(channels: \[2, 8\] here, \[2, 4\] there\)",
        ),
        (
            replace(CARD, arguments={**CARD.arguments, "channels": [2, 4, 8]}),
            "not the weights of this network: tensor",
        ),
    ],
)
def test_another_network_is_refused(tmp_path: Path, card: NetworkCard, message: str) -> None:
    path, _ = stored(tmp_path / "a.safetensors")
    buildable = CARD if "pet" in card.images or card.target != CARD.target else card
    with pytest.raises(CrossfoldError, match=message):
        InitialWeights((path,)).load_into(network_of(buildable, 1), card)


def test_a_foreign_file_may_hold_a_part(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Such as an encoder that was trained without labels."""
    path, origin = tmp_path / "encoder.safetensors", network_of(CARD, 0)
    weights = {f"module.encoder.{k}": v for k, v in plain(origin.get_submodule("encoder")).items()}
    safetensors.torch.save_file(weights | {"projector.weight": torch.zeros(3)}, path)
    network = network_of(CARD, 1)
    report = InitialWeights((path,)).load_into(network, CARD).set_index("tensor")["status"]
    assert (report[report.index.str.startswith("encoder")] == "copied").all()
    assert report["head.weight"] == "missing"
    assert report["projector.weight"] == "unexpected"
    assert "unexpected: projector.weight" in caplog.text

    safetensors.torch.save_file({"projector.weight": torch.zeros(3)}, path)
    with pytest.raises(CrossfoldError, match="not the weights of this network"):
        InitialWeights((path,)).load_into(network, CARD)


def test_a_foreign_file_may_have_other_classes_but_not_other_images(tmp_path: Path) -> None:
    path = tmp_path / "foreign.safetensors"
    safetensors.torch.save_file(plain(network_of(CARD, 0)), path)
    card = with_structures("a", "b", "c")
    report = InitialWeights((path,)).load_into(network_of(card, 1), card).set_index("tensor")
    assert report["status"]["head.bias"] == "last layer"
    two = replace(CARD, arguments={**CARD.arguments, "in_channels": 2}, images=["ct", "pet"])
    with pytest.raises(
        CrossfoldError, match=r"tensor encoder\.0\.0\.weight is 2x2x.* here and 2x1x"
    ):
        InitialWeights((path,)).load_into(network_of(two, 1), two)


def test_what_a_rule_hands_over(tmp_path: Path) -> None:
    assert InitialWeights.from_rule([], None) is None
    model = {"model": "Prostate", "file": None, "innereye": None, "epoch": 20}
    folders = [str(tmp_path / "0"), str(tmp_path / "1")]
    initial = InitialWeights.from_rule(folders, model)
    assert initial == InitialWeights(tuple(checkpoint(folder, 20) for folder in folders))
    innereye = {"model": None, "file": None, "innereye": "x.pth.tar", "epoch": None}
    assert InitialWeights.from_rule(["x.pth.tar"], innereye) == InitialWeights(
        (Path("x.pth.tar"),), innereye=True
    )


def test_the_same_path_with_other_weights_is_another_training(tmp_path: Path) -> None:
    path, _ = stored(tmp_path / "a.safetensors")
    before = InitialWeights((path,)).digests()
    stored(path, seed=1)
    assert InitialWeights((path,)).digests() != before


def test_a_training_starts_from_them(preprocessed: Path, tmp_path: Path) -> None:
    subjects = list(Plan.read(preprocessed).digests)

    def train(folder: Path, initial: InitialWeights | None) -> NDArray:
        train_fold(
            preprocessed,
            subjects=subjects[:4],
            validation_subjects=subjects[4:],
            images=["ct"],
            structures=["shell", "core"],
            network=NetworkConfig(channels=[4, 8]),
            config=TrainingConfig(
                epochs=4,
                iterations_per_epoch=3,
                patch_size=(16, 16, 16),
                precision="fp32",
                device="cpu",
                ema_decay=0.9,
            ),
            fold=0,
            checkpoints=folder / "checkpoints",
            history=folder / "training.csv",
            machine=folder / "machine.json",
            state_directory=tmp_path / "state",
            initial=initial,
        )
        history = pd.read_csv(folder / "training.csv")
        return history.query("metric == 'loss' and phase == 'train'")["value"].to_numpy()

    first = train(tmp_path / "first", None)
    assert not (tmp_path / "first" / "checkpoints" / REPORT).exists()
    last = checkpoint(tmp_path / "first" / "checkpoints", 4)
    second = train(tmp_path / "second", InitialWeights((last,)))
    assert second[0] < first[0]
    report = pd.read_csv(tmp_path / "second" / "checkpoints" / REPORT)
    assert set(report["status"]) == {"copied"}

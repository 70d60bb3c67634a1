"""Networks of MONAI, named by import path, are trained and run over an image."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

from crossfold.config.learning import NetworkConfig, TrainingConfig
from crossfold.config.prediction import InferenceConfig, PostprocessingConfig
from crossfold.data.preprocessing import Plan
from crossfold.learning.checkpoints import load_checkpoint
from crossfold.learning.training import train_fold
from crossfold.paths import checkpoint
from crossfold.prediction.member import PredictionSettings, make_predictor

DYNUNET = {
    "_target_": "monai.networks.nets.DynUNet",
    "kernel_size": [3, 3, 3],
    "strides": [1, 2, 2],
    "upsample_kernel_size": [2, 2],
    "filters": [4, 8, 8],
    "norm_name": "batch",
}
SEGRESNET = {
    "_target_": "monai.networks.nets.SegResNet",
    "init_filters": 8,
    "blocks_down": [1, 1],
    "blocks_up": [1],
}
SWIN = {
    "_target_": "monai.networks.nets.SwinUNETR",
    "feature_size": 12,
    "depths": [1, 1, 1, 1],
    "num_heads": [1, 1, 1, 1],
    "window_size": 2,
    "norm_name": "batch",
}
DEEP = {**DYNUNET, "deep_supervision": True}
OURS = "crossfold.learning.networks"


@pytest.mark.parametrize(
    ("network", "patch"),
    [
        pytest.param(DYNUNET, (16, 16, 16), id="DynUNet"),
        pytest.param(DEEP, (16, 16, 16), id="DynUNet with deep supervision"),
        pytest.param({**DEEP, "spatial_dims": 2}, (16, 16, 4), id="DynUNet 2-D"),
        pytest.param(SEGRESNET, (16, 16, 16), id="SegResNet"),
        pytest.param({**SEGRESNET, "spatial_dims": 2}, (16, 16, 3), id="SegResNet 2-D"),
        pytest.param(SWIN, (32, 32, 32), id="SwinUNETR"),
        pytest.param({**SWIN, "spatial_dims": 2}, (32, 32, 2), id="SwinUNETR 2-D"),
        pytest.param({"_target_": f"{OURS}.UNet3D", "channels": 2}, (16, 16, 16), id="UNet3D"),
        pytest.param({"_target_": f"{OURS}.UNet2D", "channels": 2}, (16, 16, 4), id="UNet2D"),
        pytest.param({"_target_": f"{OURS}.Basic", "channels": [4] * 8}, (36, 36, 32), id="Basic"),
    ],
)
def test_a_network_learns_and_segments(
    preprocessed: Path, tmp_path: Path, network: dict[str, Any], patch: tuple[int, int, int]
) -> None:
    if "SwinUNETR" in network["_target_"]:
        pytest.importorskip("einops")
    subjects = list(Plan.read(preprocessed).digests)
    config = TrainingConfig(
        epochs=2,
        iterations_per_epoch=4,
        patch_size=patch,
        learning_rate=0.02,
        ema_decay=0.5,
        precision="fp32",
        device="cpu",
        augmentation={"affine_probability": 0},
    )
    train_fold(
        preprocessed,
        subjects=subjects[:4],
        validation_subjects=subjects[4:],
        images=["ct"],
        structures=["shell", "core"],
        network=NetworkConfig(**network),
        config=config,
        fold=0,
        checkpoints=tmp_path / "checkpoints",
        history=tmp_path / "training.csv",
        machine=tmp_path / "machine.json",
        state_directory=tmp_path / "state",
    )
    history = pd.read_csv(tmp_path / "training.csv").query("metric == 'loss'")
    train = history.query("phase == 'train'")["value"].tolist()
    assert train[1] < train[0]
    assert len(history.query("phase == 'val'")) == 1

    trained, card = load_checkpoint(checkpoint(tmp_path / "checkpoints", 2))
    window = tuple(max(4, size // 2) for size in patch)
    settings = PredictionSettings(
        InferenceConfig(window=window, batch_size=4, mirror_axes=("x",)),
        PostprocessingConfig(),
        labels={"shell": [1], "core": [2]},
        precision="fp32",
        device="cpu",
    )
    posterior = make_predictor(trained, card, settings)(torch.randn(1, 21, 18, 5))
    assert posterior.shape == (3, 21, 18, 5)
    torch.testing.assert_close(posterior.sum(dim=0), torch.ones(21, 18, 5))

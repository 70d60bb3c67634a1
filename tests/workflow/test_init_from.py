"""Training from the weights of another model, of a file and of InnerEye, as a user runs it."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
import safetensors.torch
import torch
from torch import Tensor

from crossfold.learning.networks import UNet3D
from crossfold.paths import checkpoint
from tests.workflow.checkout import Checkout, Run, copy_checkout

pytestmark = pytest.mark.slow

# Shorter than tests/configs/tiny.yaml: what is tested is where training starts.
OVERLAY = """
datasets:
  tiny_phantom: {source: phantom, subjects: 8, seed: 1}
models:
  Tiny:
    base: ProstateBase
    dataset: tiny_phantom
    splits: {folds: 2, test: [phantom_002, phantom_005]}
    preprocessing: {spacing_mm: [12, 12, 12]}
    network: {channels: [4, 8]}
    training: {epochs: 2, iterations_per_epoch: 2, patch_size: [16, 16, 8], precision: fp32}
  Same:
    base: Tiny
    structures: [external, bladder]
    postprocessing: {largest_component: []}
    metrics: {nsd_tolerance_mm: 3}
    init_from: {model: Tiny}
    training: {learning_rate: 1.0e-12, weight_decay: 0}
  Averaged:
    base: Tiny
    init_from: {model: Tiny, folds: average}
  FromFile:
    base: Tiny
    init_from: {file: weights.safetensors}
  InnerEye:
    base: Tiny
    network: {_target_: crossfold.learning.networks.UNet3D, channels: 2}
    training: {patch_size: [32, 32, 32], epochs: 1}
    init_from: {innereye: 120_checkpoint.pth.tar}
  Basic:
    base: Tiny
    network: {_target_: crossfold.learning.networks.Basic, channels: [2, 2, 2, 2, 2, 2, 2, 2]}
    training: {patch_size: [36, 36, 36]}
    inference: {window: [12, 12, 12]}
"""


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """A checkout in which all of it has been trained, with one call."""
    checkout = copy_checkout(tmp_path_factory.mktemp("init") / "checkout")
    checkout.write("overlay.yaml", OVERLAY)
    state = innereye_names(UNet3D(1, 3, channels=2))
    torch.save({"epoch": 120, "state_dict": state}, checkout.folder / "120_checkpoint.pth.tar")
    done = ask(checkout, "--", *TARGETS)
    assert done.code == 0, done.errors
    # Of Tiny fold 1 because of Same, and fold 0 because of the average.
    assert done.jobs["train_fold"] == 6
    return checkout


def ask(checkout: Checkout, *arguments: str) -> Run:
    return checkout.snakemake("--configfile", "overlay.yaml", *arguments)


def folder(model: str, fold: int = 0) -> str:
    return f"results/{model}/folds/{fold}/checkpoints"


TARGETS = (
    folder("Same", 1),
    folder("Averaged"),
    folder("InnerEye"),
    "results/Basic/folds/0/metrics.csv",
)


def weights(checkout: Checkout, model: str, fold: int = 0) -> dict[str, Tensor]:
    return safetensors.torch.load_file(checkpoint(checkout.folder / folder(model, fold), 2))


def report(checkout: Checkout, model: str) -> pd.Series:
    path = checkout.folder / folder(model) / "init_report.csv"
    return pd.read_csv(path).set_index("tensor")["status"]


def innereye_names(network: UNet3D) -> dict[str, Tensor]:
    """Weights under the names of InnerEye, kernels in (z, y, x)."""
    renamed = {
        "first.0": "block1.conv1",
        "first.1": "block1.bn1",
        "second.0": "block2.conv1",
        "second.1": "block2.bn1",
        "upsample": "upsample_block",
        "from_below": "conv1.conv1",
        "from_skipped": "conv2.conv1",
        "normalise": "activation_block",
    }
    state = {}
    for name, value in network.state_dict().items():
        value = value.permute(0, 1, 4, 3, 2).contiguous() if value.dim() == 5 else value
        side, number, *rest = name.split(".", 2)
        if side == "head":
            state[f"output_layer.{number}"] = value
            continue
        [block] = rest
        ours = next(prefix for prefix in renamed if block.startswith(prefix))
        layer = int(number) if side == "encoder" else 5 + 2 * int(number) + (ours != "upsample")
        # What is called `second` on the way up is block2 as well.
        state[f"_layers.{layer}.{renamed[ours]}{block.removeprefix(ours)}"] = value
    return state


def test_fold_k_starts_from_fold_k(checkout: Checkout) -> None:
    there, here = weights(checkout, "Tiny", 1), weights(checkout, "Same", 1)
    # With hardly a learning rate, what was learnt there is still here, by the names of structures.
    for name, value in here.items():
        if name.startswith("head."):
            value, there[name] = value[1:], there[name][[1, 6]]
        if "running" not in name and "num_batches" not in name:
            torch.testing.assert_close(value, there[name], atol=1e-6, rtol=0)
    again = ask(checkout, "-n", "--", *TARGETS)
    assert "Nothing to be done" in again.output + again.errors


def test_folds_are_averaged_and_the_report_lies_beside_the_checkpoints(
    checkout: Checkout,
) -> None:
    assert set(report(checkout, "Averaged")) == {"copied"}
    log = (checkout.folder / "logs/train_fold/Averaged_0.log").read_text(encoding="utf-8")
    assert "starts from results/Tiny/folds/0/checkpoints/epoch_002.safetensors and" in log


def test_an_innereye_checkpoint_is_imported(checkout: Checkout) -> None:
    statuses = report(checkout, "InnerEye")
    assert statuses["head.weight"] == "last layer"
    assert (statuses.drop(["head.weight", "head.bias"]) == "copied").all()


def test_a_network_with_a_margin_goes_through_the_pipeline(checkout: Checkout) -> None:
    metrics = pd.read_csv(checkout.folder / "results/Basic/folds/0/metrics.csv")
    assert metrics["subject"].nunique() == 3 + 2


def test_a_file_is_an_input_and_has_to_be_there(checkout: Checkout) -> None:
    missing = ask(checkout, "-n", "--", folder("FromFile"))
    assert missing.code != 0
    assert "models.FromFile.init_from.file: there is no file weights.safetensors" in missing.errors
    assert "Traceback" not in missing.errors
    checkout.write("weights.safetensors", "")
    planned = ask(checkout, "-n", "--", folder("FromFile"))
    assert planned.jobs["train_fold"] == 1
    assert "weights.safetensors" in planned.output


def test_another_network_is_refused_in_words(checkout: Checkout) -> None:
    text = OVERLAY + "  Wrong:\n    base: Averaged\n    network: {channels: [4, 6]}\n"
    overlay = Path(checkout.write("wrong.yaml", text)).name
    done = checkout.snakemake("--configfile", overlay, "--", folder("Wrong"))
    assert done.code != 0
    assert "not the weights of this network" in done.errors
    assert "channels: [4, 6] here, [4, 8] there" in done.errors

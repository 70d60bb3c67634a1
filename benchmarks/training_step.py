"""One training step against what the processor allows, and where its time goes.

    python -m benchmarks.training_step [--rounds 5] [--steps 20]

One thread. The limit is the best bf16 convolution of the layers of the network, run alone; a step
is that of the model `Hippocampus` of config.yaml on synthetic images of the same size. Limit and
step take turns, because the clock of a shared processor changes.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import yaml
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.machine import describe
from crossfold.config.inheritance import resolve
from crossfold.config.learning import NetworkConfig, TrainingConfig
from crossfold.data.preprocessing import IMAGE, LABELS, VOXELS, Plan
from crossfold.learning.cards import make_card
from crossfold.learning.devices import prepare_process
from crossfold.learning.training import _Training
from crossfold.learning.watching import Unwatched
from crossfold.paths import subject_file

SUBJECTS, SHAPE = 16, (35, 50, 36)
# Channels in and out and voxels of 3 x 3 x 3 convolutions of the default network.
LAYERS = [
    (16, 16, (32, 48, 32)),
    (32, 32, (16, 24, 16)),
    (64, 64, (8, 12, 8)),
    (32, 16, (32, 48, 32)),
]


def cpu_seconds(function: Callable[..., Any], *arguments: Any) -> float:
    started = time.process_time()
    function(*arguments)
    return time.process_time() - started


def forward_and_backward(layer: nn.Module, image: torch.Tensor, gradient: torch.Tensor) -> None:
    layer(image).backward(gradient)


def convolution_limit(repeats: int = 5) -> dict[str, float]:
    """Best GFLOP/s of a bf16 convolution, forward alone, and forward with both gradients."""
    best = {"forward": 0.0, "forward and backward": 0.0}
    for channels, features, shape in LAYERS:
        layer = nn.Conv3d(channels, features, 3, padding=1, bias=False)
        layer = layer.bfloat16().to(memory_format=torch.channels_last_3d)
        image = torch.randn(2, channels, *shape).bfloat16()
        image = image.contiguous(memory_format=torch.channels_last_3d).requires_grad_()
        gradient = torch.randn(2, features, *shape).bfloat16()
        gradient = gradient.contiguous(memory_format=torch.channels_last_3d)
        work = 2 * 27 * channels * features * image.shape[0] * float(np.prod(shape)) / 1e9
        for _ in range(repeats):
            with torch.no_grad():
                seconds = cpu_seconds(layer, image)
            best["forward"] = max(best["forward"], work / seconds)
            seconds = cpu_seconds(forward_and_backward, layer, image, gradient)
            best["forward and backward"] = max(best["forward and backward"], 3 * work / seconds)
    return best


def synthetic_training(folder: Path) -> _Training:
    """The training of the model Hippocampus on noise, at full resolution."""
    models = yaml.safe_load(Path("config.yaml").read_text(encoding="utf-8"))["models"]
    settings = resolve("Hippocampus", models)["training"] | {"half_resolution": 0}
    random = np.random.default_rng(0)
    digests = {}
    for number in range(SUBJECTS):
        subject = str(number)
        image = random.normal(size=(1, *SHAPE)).astype(np.float16)
        labels = random.integers(0, 3, SHAPE, dtype=np.uint8)
        voxels = np.stack(np.unravel_index(random.integers(0, labels.size, (2, 1000)), SHAPE), -1)
        for suffix, array in ((IMAGE, image), (LABELS, labels), (VOXELS, voxels.astype(np.int32))):
            np.save(subject_file(folder, subject, suffix), array)
        digests[subject] = subject
    Plan((1.0, 1.0, 1.0), SHAPE, digests).write(folder)
    config = TrainingConfig(**settings)
    card = make_card(
        Plan.read(folder),
        images=["MRI"],
        structures=["Anterior", "Posterior"],
        network=NetworkConfig(),
        config=config,
    )
    return _Training(folder, list(digests), [], card, config, fold=0)


def convolution_work(run: _Training) -> float:
    """GFLOP of the convolutions of one step, forward and backward."""
    images = torch.zeros(run.config.batch_size, 1, *run.card.patch_size)
    with FlopCounterMode(display=False) as counter:
        run.network(images).sum().backward()
    return counter.get_total_flops() / 1e9


def parts_of_a_step(run: _Training, step: int) -> dict[str, float]:
    """CPU seconds of the parts of one step, taken by wrapping the functions that it calls."""
    seconds = dict.fromkeys(("data and augmentation", "forward", "backward", "optimiser"), 0.0)

    def timed(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            started = time.process_time()
            try:
                return function(*args, **kwargs)
            finally:
                seconds[name] += time.process_time() - started

        return wrapper

    network, backward = run.network.forward, torch.Tensor.backward
    optimiser = run.optimisation.optimiser
    update = optimiser.step
    run.network.forward = timed("forward", network)  # type: ignore[method-assign]
    optimiser.step = timed("optimiser", update)  # type: ignore[method-assign]
    torch.Tensor.backward = timed("backward", backward)  # type: ignore[method-assign,assignment]
    try:
        started = time.process_time()
        make = timed("data and augmentation", run.batches.make)
        images, labels, _ = make(step, Unwatched().laps)
        run._step(step, images, labels)
        seconds["whole step"] = time.process_time() - started
    finally:
        run.network.forward = network  # type: ignore[method-assign]
        optimiser.step = update  # type: ignore[method-assign]
        torch.Tensor.backward = backward  # type: ignore[method-assign]
    known = sum(value for name, value in seconds.items() if name != "whole step")
    return seconds | {"loss and the rest": seconds["whole step"] - known}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=20)
    options = parser.parse_args()
    prepare_process(threads=1)
    with tempfile.TemporaryDirectory() as folder:
        run = synthetic_training(Path(folder))
        work = convolution_work(run)
        for step in range(3):
            parts_of_a_step(run, step)
        limits, parts = [], []
        for _ in range(options.rounds):
            limits.append(convolution_limit())
            parts += [parts_of_a_step(run, step) for step in range(options.steps)]
    limit = pd.DataFrame(limits).median()
    table = pd.DataFrame(parts).median()
    whole = table.pop("whole step")
    print(describe())
    print(
        f"\nbf16 convolution, best layer, one thread: {limit['forward']:.0f} GFLOP/s forward, "
        f"{limit['forward and backward']:.0f} GFLOP/s forward and backward"
    )
    print(
        f"one step: {work:.1f} GFLOP in {whole:.4f} CPU-s = {work / whole:.0f} GFLOP/s = "
        f"{100 * work / whole / limit['forward']:.0f} % of the forward limit, "
        f"{100 * work / whole / limit['forward and backward']:.0f} % of the other\n"
    )
    print("| part of a step | CPU ms (median) | share |\n|---|---|---|")
    for name, seconds in table.items():
        print(f"| {name} | {1000 * seconds:.1f} | {100 * seconds / whole:.0f} % |")
    spread = statistics.quantiles([part["whole step"] for part in parts], n=4)
    print(
        f"| whole step | {1000 * whole:.1f} (quartiles {1000 * spread[0]:.1f}, "
        f"{1000 * spread[2]:.1f}) | 100 % |"
    )


if __name__ == "__main__":
    main()

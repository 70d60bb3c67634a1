"""Prediction with an ensemble: time, memory, and the same network as nnU-Net runs it.

    python -m benchmarks.predict [--rounds 3] [--no-large]

One thread. A hippocampus of 35 x 50 x 35 voxels (noise) with the network of the model `Hippocampus`
of config.yaml, whose weights are random and take the same time; and a CT of 512 x 512 x 128 voxels,
a phantom on a finer grid, with the trained members of the demo: `make run` first.
"nnU-Net style": the same network in fp32, contiguous,
windows at half steps with Gaussian weights; logits of all classes are brought to the grid of the
image in float32, where the largest wins. Every run has a process of its own, and so its own peak
memory; reading of files and loading of networks are not counted.
"""

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import torch
import yaml
from torch.nn import functional

from benchmarks.machine import describe
from crossfold import __version__
from crossfold.config.inheritance import resolve
from crossfold.config.learning import NetworkConfig
from crossfold.data.normalisation import normalise
from crossfold.data.phantom import scan_phantom
from crossfold.data.resampling import resample, resampled_shape
from crossfold.images import Image
from crossfold.learning.checkpoints import NetworkCard, load_checkpoint, save_checkpoint
from crossfold.learning.devices import prepare_process
from crossfold.learning.networks import network_arguments
from crossfold.prediction.bundle import Bundle
from crossfold.prediction.memory import peak_memory_gb
from crossfold.prediction.sliding_window import gaussian_weight, window_starts
from crossfold.prediction.subject import EnsemblePredictor

CASES = {
    "Hippocampus": {"shape": (35, 50, 35), "mm": (1.0, 1.0, 1.0), "patch": (32, 48, 32)},
    "Prostate": {"shape": (512, 512, 128), "mm": (0.98, 0.98, 3.0), "patch": (40, 40, 24)},
}
RUNS = {
    "one member": {"members": 1},
    "five members": {"members": 5},
    "five members, least memory": {"members": 5, "tight": True},
    "one member, nnU-Net style": {"members": 1, "peer": True},
}


def make_bundle(name: str, folder: Path, members: int) -> Bundle:
    """The configuration of a model with its networks, and ranges that nothing asks for."""
    models = yaml.safe_load(Path("config.yaml").read_text(encoding="utf-8"))["models"]
    model, case = resolve(name, models), CASES[name]
    images, structures = model["images"], model["structures"]
    spacing_mm = model.get("preprocessing", {}).get("spacing_mm", case["mm"])
    network = NetworkConfig()
    arguments = network_arguments(
        network,
        images=len(images),
        structures=len(structures),
        spacing_mm=spacing_mm,
        patch_size=case["patch"],
    )
    card = NetworkCard(
        network.target,
        arguments,
        images,
        structures,
        [*spacing_mm],
        [*case["patch"]],
    )
    (folder / "models").mkdir()
    for fold in range(members):
        weights = folder / f"models/fold_{fold}.safetensors"
        if name == "Prostate":
            shutil.copy(trained_member(name, fold), weights)
        else:
            torch.manual_seed(fold)
            save_checkpoint(weights, card.build(), card, epoch=0)
    ones = ((1, 1, 1), (1, 1, 1))
    return Bundle(
        path=folder,
        digest="",
        crossfold_version=__version__,
        name=name,
        description="",
        dataset="",
        epoch=0,
        images=images,
        structures=structures,
        derived_structures={},
        spacing_mm=spacing_mm,
        preprocessing=model.get("preprocessing", {}),
        inference=model.get("inference", {}),
        precision="auto",
        mirror_pairs=(),
        aggregation="average",
        postprocessing=model.get("postprocessing", {}),
        folds=range(members),
        ranges={"spacing_mm": ones, "shape": ones, "extent_mm": ones, "intensities": {}},
        n_subjects={},
        network={},
        training={},
        metrics=[],
    )


def trained_member(name: str, fold: int) -> Path:
    """Where the weights of a fold are that has been trained here."""
    folder = Path(f"results/{name}/folds/{fold}/checkpoints")
    found = sorted(folder.glob("*.safetensors"))
    if not found:
        sys.exit(
            f"{folder}: no trained member; `make run` trains the demo, --no-large does without"
        )
    return found[-1]


def make_image(name: str) -> Image:
    """Noise, or the phantom of a pelvis in a larger field of view: air around, more of the body."""
    case = CASES[name]
    if name == "Prostate":
        scan, _ = scan_phantom(1, seed=0)
        shape = resampled_shape(scan.array.shape, scan.spacing_mm, case["mm"])
        array = resample(scan.array, shape)
        around = [(want - have) // 2 for want, have in zip(case["shape"], shape, strict=True)]
        pads = [
            (n, want - have - n) for n, want, have in zip(around, case["shape"], shape, strict=True)
        ]
        array = np.pad(array, [*pads[:2], (0, 0)], constant_values=-1000)
        array = np.pad(array, [(0, 0), (0, 0), pads[2]], mode="edge")
    else:
        array = np.random.default_rng(0).normal(0, 300, case["shape"]).astype(np.float32)
    return Image(np.asfortranarray(array), np.diag([*case["mm"], 1.0]), nib.Nifti1Header())


@torch.inference_mode()
def predict_as_peer(bundle: Bundle, image: Image) -> np.ndarray:
    """Segment an image with one network, as nnU-Net does without a GPU."""
    network, card = load_checkpoint(bundle.weights(0))
    shape = resampled_shape(image.array.shape, image.spacing_mm, card.spacing_mm)
    grid = normalise(
        resample(image.array, shape), bundle.preprocessing.normalisation_of(bundle.images[0])
    )
    window = card.patch_size
    behind = [max(0, w - size) for w, size in zip(window, shape, strict=True)]
    padded = functional.pad(
        torch.from_numpy(grid)[None, None], [p for pad in reversed(behind) for p in (0, pad)]
    )
    weight = gaussian_weight(window)
    logits = torch.zeros(1 + len(bundle.structures), *padded.shape[2:])
    total = torch.zeros(padded.shape[2:])
    starts = [window_starts(s, w, 0.5) for s, w in zip(padded.shape[2:], window, strict=True)]
    for x, y, z in np.stack(np.meshgrid(*starts, indexing="ij"), -1).reshape(-1, 3):
        i, j, k = window
        place = (slice(x, x + i), slice(y, y + j), slice(z, z + k))
        found = network(padded[(slice(None), slice(None), *place)])[0]
        logits[(slice(None), *place)] += found * weight
        total[place] += weight
    logits /= total
    logits = logits[(slice(None), *(slice(size) for size in shape))]
    on_source = functional.interpolate(logits[None], image.array.shape, mode="trilinear")[0]
    return on_source.softmax(0).argmax(0).to(torch.uint8).numpy()


def run(name: str, members: int, *, tight: bool = False, peer: bool = False) -> dict[str, float]:
    """Predict one image in this process."""
    prepare_process(threads=1)
    with tempfile.TemporaryDirectory() as folder:
        bundle = make_bundle(name, Path(folder), members)
        image = make_image(name)
        predictor = EnsemblePredictor(bundle, threads=1)
        need = predictor.need(image.array.shape, image.spacing_mm)
        if tight:
            memory_gb = need.least_gb + 0.05  # two sets of networks are in memory now
            predictor = EnsemblePredictor(bundle, threads=1, memory_gb=memory_gb)
        # The first call of everything is slower.
        first = Image(image.array[:64, :64, :64].copy(), image.affine, image.header)
        predictor.predict({bundle.images[0]: first})
        wall, cpu = time.perf_counter(), time.process_time()
        if peer:
            predict_as_peer(bundle, image)
        else:
            predictor.predict({bundle.images[0]: image})
        return {
            "CPU s": time.process_time() - cpu,
            "wall s": time.perf_counter() - wall,
            "peak GB": peak_memory_gb(),
            "estimated GB": need.least_gb if tight else need.whole_gb,
        }


def measure(name: str, options: dict[str, Any], rounds: int) -> dict[str, float]:
    """Medians of several runs, each in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.predict", "--one", json.dumps([name, options])]
    outputs = [subprocess.check_output(command, text=True) for _ in range(rounds)]
    found = [json.loads(output.splitlines()[-1]) for output in outputs]
    return {key: statistics.median(one[key] for one in found) for key in found[0]}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--large", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--one", type=json.loads, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        name, how = options.one
        print(json.dumps(run(name, **how)))
        return
    print(f"{describe()}\n")
    print("| model | run | CPU s | CPU s per member | wall s | peak GB | estimated GB |")
    print("|---|---|---|---|---|---|---|")
    for name in CASES if options.large else ["Hippocampus"]:
        for title, how in RUNS.items():
            if how.get("tight") and name == "Hippocampus":
                continue  # the process itself is larger
            found = measure(name, how, options.rounds)
            per_member = found["CPU s"] / how["members"]
            estimated = "" if how.get("peer") else f"{found['estimated GB']:.2f}"
            print(
                f"| {name} | {title} | {found['CPU s']:.3f} | {per_member:.3f} | "
                f"{found['wall s']:.2f} | {found['peak GB']:.2f} | {estimated} |",
                flush=True,
            )


if __name__ == "__main__":
    main()

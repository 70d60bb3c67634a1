"""Every value of a plan, from the fingerprint of a dataset and a budget."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from crossfold.config.learning import TrainingConfig
from crossfold.config.planning import WRITTEN, BudgetConfig, ModelPlan, PlannedValue
from crossfold.data.planning import grid
from crossfold.data.planning.augmenting import augmentation
from crossfold.data.planning.cost import (
    FIXED_SECONDS,
    Network,
    operations_per_step,
    prediction_bytes,
    seconds_per_step,
    training_bytes,
)
from crossfold.data.planning.fingerprint import Fingerprint, Vector
from crossfold.data.topology import Triple
from crossfold.errors import CrossfoldError

# Widths of the first level, tried from the widest on, and the steps that have to be left.
WIDTHS, ENOUGH_STEPS = (32, 24, grid.NARROWEST), 2500
# Learning rate of the reference batch; it grows with the square root of the voxels of a batch.
LEARNING_RATE, SLOWEST, FASTEST = 0.008, 0.004, 0.01
# Share of the steps that a moving average of the weights looks back on, and the longest one.
AVERAGED, LONGEST_AVERAGE = 0.08, 0.999
# Share of an image that a crop covers from which on crops may lie anywhere.
COVERS = 0.5
MOST_FOREGROUND = 0.8
# Width of the smallest structure in voxels of the coarse grid of the first steps.
SMALLEST_WIDTH = 3
# Share of a structure that clipping at the 99.5th percentile of the image may touch.
CUT = 0.05
CLIP_PERCENTILES = (0.5, 99.5)
# Of CT: half the width of what radiologists look at soft tissue with.
BESIDE_HU = 175
# Share of the subjects in which a structure is in one piece.
ALWAYS = 0.95


def make_plan(
    fingerprint: Fingerprint,
    *,
    images: Sequence[str],
    structures: Sequence[str],
    written: Mapping[str, Any],
    budget: BudgetConfig,
) -> ModelPlan:
    """Decide what a model leaves open.

    Parameters
    ----------
    fingerprint
        Of the training subjects.
    images, structures
        Of the model.
    written
        Sections `preprocessing`, `network` and `training` as the configuration has them, without
        defaults: what they say is kept. (What it says of later steps wins when these are run.)
    budget
        Memory and time.

    Raises
    ------
    CrossfoldError
        If the memory does not hold a training.
    """
    return _Planner(fingerprint, images, structures, written, budget).plan()


class _Planner:
    """Decides one value after the other; later ones build on earlier ones."""

    def __init__(
        self,
        fingerprint: Fingerprint,
        images: Sequence[str],
        structures: Sequence[str],
        written: Mapping[str, Any],
        budget: BudgetConfig,
    ) -> None:
        self.fingerprint, self.written, self.budget = fingerprint, written, budget
        self.images, self.structures = images, structures
        self.values: dict[str, PlannedValue] = {}
        self.voxels = self._affordable_voxels()

    def plan(self) -> ModelPlan:
        """Decide everything."""
        self._decide_spacing()
        self._decide_normalisation()
        self._decide_crops()
        self._decide_network()
        self._decide_optimisation()
        self._decide_augmentation()
        self._decide_sampling()
        needed = self._decide_inference()
        self._decide_postprocessing()
        seconds = FIXED_SECONDS + self.steps * self._seconds(self.network)
        memory = max(training_bytes(self.network, self.patch, self.batch), needed)
        predicted = {
            "minutes": seconds / 60,
            "memory_gb": memory / 1e9,
            "gflop_per_step": self._operations(self.network) / 1e9,
            "million_weights": self.network.weights() / 1e6,
        }
        return ModelPlan(
            values=self.values,
            predicted={name: round(value, 2) for name, value in predicted.items()},
            budget=self.budget.model_dump(mode="json"),
            fingerprint=asdict(self.fingerprint),
        )

    def settle(self, key: str, value: Any, reason: str) -> Any:
        """Keep a value, unless the configuration has one, and return the one that counts."""
        found: Any = self.written
        for part in key.split("."):
            if not isinstance(found, Mapping):
                return None  # Something else in place of the section, such as a list.
            if part not in found:
                self.values[key] = PlannedValue(value=value, reason=reason)
                return value
            found = found[part]
        self.values[key] = PlannedValue(value=found, reason=WRITTEN)
        return found

    def _affordable_voxels(self) -> int:
        """Voxels of a step that time and memory allow."""
        about = {"images": len(self.images), "classes": len(self.structures) + 1}
        fits = grid.voxels_in_memory(self.budget, **about)
        if fits < grid.FEWEST_VOXELS:
            raise CrossfoldError(
                f"budget.memory_gb: {self.budget.memory_gb:g} GB do not hold a training",
                remedy="give it 1 GB or more",
            )
        return min(grid.step_voxels(self.budget, **about), fits)

    def _decide_spacing(self) -> None:
        chosen, reason = grid.choose_grid(self.fingerprint, self.voxels // grid.CROPS)
        spacing = grid.kept_axes(self.fingerprint, chosen.spacing_mm)
        if None in spacing:
            reason += "; null where voxels are long and of similar length: as in each image"
        wanted = self.settle("preprocessing.spacing_mm", spacing, reason)
        own = self.fingerprint.spacing_mm
        wanted = (None, None, None) if wanted == "median" else wanted
        x, y, z = (o if mm is None else mm for mm, o in zip(wanted, own, strict=True))
        self.spacing: Vector = (x, y, z)
        extents = zip(self.fingerprint.shape, own, self.spacing, strict=True)
        self.shape = [max(1, round(size * o / mm)) for size, o, mm in extents]

    def _decide_normalisation(self) -> None:
        methods = {name: self._normalisation(name) for name in self.images}
        values = [method for method, _ in methods.values()]
        key = "preprocessing.normalisation"
        if all(value == values[0] for value in values):
            self.settle(key, *methods[self.images[0]])
        else:
            reasons = "; ".join(f"{name}: {reason}" for name, (_, reason) in methods.items())
            self.settle(key, {name: value for name, (value, _) in methods.items()}, reasons)

    def _normalisation(self, name: str) -> tuple[dict[str, Any], str]:
        channel = self.fingerprint.channels[name]
        if channel.hounsfield:
            low, high = channel.structure_range
            width = round(high - low + 2 * BESIDE_HU, -1)
            return {"method": "ct_window", "level": round((low + high) / 2, -1), "window": width}, (
                f"CT numbers: the medians of structures lie between {low:g} and {high:g} HU; "
                f"{BESIDE_HU} HU are added on either side"
            )
        scale = f"images have scales of their own (up to {channel.scale_ratio:g}-fold)"
        if channel.cut > CUT:
            return {"method": "z_score"}, (
                f"{scale}; not clipped, as {channel.cut:.0%} of a structure lie among the "
                "brightest 0.5 % of the image"
            )
        return {"method": "z_score", "clip_percentiles": [*CLIP_PERCENTILES]}, (
            f"{scale}; clipped, as no structure lies among the extremes"
        )

    def _decide_crops(self) -> None:
        crop = self.voxels // grid.CROPS
        own, self.levels = grid.choose_patch(self.shape, self.spacing, crop)
        # On long voxels, or few slices, lower levels keep more of them than on cubes.
        while not self._fits(own, self.levels) and math.prod(own) > grid.FEWEST_VOXELS:
            crop = int(grid.SHRUNK * crop)
            own, self.levels = grid.choose_patch(self.shape, self.spacing, crop)
        shape = " x ".join(map(str, self.shape))
        patch = self.settle(
            "training.patch_size",
            [*own],
            f"the median image ({shape}), its longest sides cut to the {crop} voxels that the "
            f"budget allows: {self._covered(own):.0%} of it",
        )
        self.patch: Triple = own if patch == "auto" else (patch[0], patch[1], patch[2])
        if self.patch != own:
            self.levels = grid.choose_levels(self.patch, self.spacing)
        size = math.prod(self.patch)
        self.batch = self.settle(
            "training.batch_size",
            grid.choose_batch(size),
            "more steps help more than larger batches"
            if grid.choose_batch(size) == grid.CROPS
            else "more than two crops, as they are tiny",
        )
        self.half = self.settle("training.half_resolution", *self._half_resolution())

    def _fits(self, patch: Triple, levels: int) -> bool:
        """Say whether training the narrowest network on such crops fits into the memory."""
        network = self._network(grid.channels_of(levels), patch)
        batch = grid.choose_batch(math.prod(patch))
        return training_bytes(network, patch, batch) <= self.budget.memory_bytes

    def _half_resolution(self) -> tuple[float, str]:
        widths = [
            min(mm / size for mm, size in zip(structure.extent_mm, self.spacing, strict=True))
            for structure in self.fingerprint.structures.values()
            if structure.present
        ]
        if min(widths, default=math.inf) < 2 * SMALLEST_WIDTH:
            return 0.0, f"a structure is {min(widths):.1f} voxels wide, too few for half of that"
        return grid.HALF_RESOLUTION, (
            "the first steps at half the resolution take about a fifth of the time"
        )

    def _decide_network(self) -> None:
        for width in WIDTHS:
            network = self._network(grid.channels_of(self.levels, width), self.patch)
            fits = training_bytes(network, self.patch, self.batch) <= self.budget.memory_bytes
            if fits and self._affordable_steps(network) >= ENOUGH_STEPS:
                break
        deep = f"{self.levels} levels leave {grid.LOWEST_AXIS} voxels or more of a crop"
        wide = (
            f"as wide as leaves {ENOUGH_STEPS} steps"
            if width > grid.NARROWEST
            else "narrow, as more steps help more than more features"
        )
        channels = self.settle("network.channels", [*network.channels], f"{deep}; {wide}")
        self.network = self._network(channels, self.patch)

    def _network(self, channels: Sequence[int], patch: Triple) -> Network:
        return Network.on(
            self.spacing,
            patch,
            channels,
            images=len(self.images),
            classes=len(self.structures) + 1,
        )

    def _operations(self, network: Network) -> float:
        return operations_per_step(network, self.patch, self.batch, self.half)

    def _seconds(self, network: Network) -> float:
        return seconds_per_step(self._operations(network), self.budget)

    def _affordable_steps(self, network: Network) -> int:
        return int(max(0, 60 * self.budget.minutes - FIXED_SECONDS) / self._seconds(network))

    def _decide_optimisation(self) -> None:
        # The number of epochs is not planned: which checkpoints there are is known beforehand.
        epochs = self.written.get("training", {}).get("epochs", TrainingConfig().epochs)
        affordable = self._affordable_steps(self.network)
        per_epoch = max(1, min(affordable, grid.MOST_STEPS) // epochs)
        per_epoch = self.settle(
            "training.iterations_per_epoch",
            per_epoch,
            f"{per_epoch * epochs} steps in {epochs} epochs: "
            + ("all that the time allows" if affordable <= grid.MOST_STEPS else "more help little"),
        )
        self.steps = per_epoch * epochs
        share = self.batch * math.prod(self.patch) / grid.REFERENCE_VOXELS
        rate = min(FASTEST, max(SLOWEST, LEARNING_RATE * math.sqrt(share)))
        self.settle(
            "training.learning_rate",
            float(f"{rate:.2g}"),
            f"{LEARNING_RATE} for {grid.REFERENCE_VOXELS} voxels per step, times the square root "
            f"of {share:.2f}, within {SLOWEST} and {FASTEST}",
        )
        decay = min(LONGEST_AVERAGE, max(0.0, 1 - 1 / (AVERAGED * self.steps)))
        self.settle(
            "training.ema_decay",
            round(decay, 4),
            f"the average over the last {AVERAGED:.0%} of {self.steps} steps",
        )

    def _decide_augmentation(self) -> None:
        in_range = all(self.fingerprint.channels[name].hounsfield for name in self.images)
        values = augmentation(
            self.fingerprint, self.structures, spacing_mm=self.spacing, in_range=in_range
        )
        for key, value, reason in values:
            self.settle(f"training.augmentation.{key}", value, reason)

    def _covered(self, patch: Sequence[int]) -> float:
        """Share of the median image that a crop covers."""
        return math.prod(min(1.0, p / s) for p, s in zip(patch, self.shape, strict=True))

    def _decide_sampling(self) -> None:
        covered = self._covered(self.patch)
        share = round(MOST_FOREGROUND * max(0.0, 1 - covered / COVERS), 1)
        self.settle(
            "training.foreground",
            share,
            f"a crop covers {covered:.0%} of an image: "
            + ("left to chance, it would miss structures" if share else "it may lie anywhere"),
        )

    def _decide_inference(self) -> float:
        """Decide how a network is run over an image; return the bytes that this takes."""
        covered = self._covered(self.patch)
        extents = zip(self.fingerprint.largest_mm, self.spacing, strict=True)
        needed = prediction_bytes(self.network, [mm / size for mm, size in extents])
        at_once = covered >= COVERS and needed <= self.budget.memory_bytes
        if at_once:
            reason = f"crops cover {covered:.0%} of an image; the largest one fits into the memory"
        elif covered >= COVERS:
            reason = "the largest image does not fit into the memory"
        else:
            reason = f"crops cover {covered:.0%} of an image: windows of what was trained on"
        self.settle("inference.window", "image" if at_once else "patch", reason)
        augmented = self.values.get("training.augmentation.mirror_axes")
        axes = augmented.value if augmented else []
        self.settle(
            "inference.mirror_axes",
            axes,
            "as in training: the mean of both is a little better and takes twice as long"
            if axes
            else "none in training",
        )
        return needed if at_once else prediction_bytes(self.network, self.patch)

    def _decide_postprocessing(self) -> None:
        whole = [
            name
            for name, structure in self.fingerprint.structures.items()
            if structure.present and structure.one_piece >= ALWAYS
        ]
        self.settle(
            "postprocessing.largest_component",
            whole,
            f"in one piece in {ALWAYS:.0%} or more of the training subjects"
            if whole
            else "no structure is always in one piece",
        )

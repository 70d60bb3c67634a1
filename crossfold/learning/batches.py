"""Augmented batches on the training device, each a function of seed and step alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor

from crossfold.learning.augmentation.pipeline import Augmenter
from crossfold.learning.devices import to_device, use_device
from crossfold.learning.distributed import own_share
from crossfold.learning.sampling import CropSampler

Batch = tuple[Tensor, Tensor, tuple[str, ...]]
Laps = Callable[[int], Callable[[str], None]]


class Batches:
    """Makes batches: images (crop, channel, x, y, z), labels (crop, x, y, z) and all subjects.

    Where several devices share a batch, each makes its part of it, from the same draws.

    Parameters
    ----------
    sampler
        Draws crops.
    augmenter
        Changes them.
    device
        Where they are changed and used.
    seed
        Seed of the fold.
    count
        Crops per batch, on all devices together.
    """

    def __init__(
        self,
        sampler: CropSampler,
        augmenter: Augmenter,
        *,
        device: torch.device,
        seed: int,
        count: int,
    ) -> None:
        self.sampler, self.augmenter = sampler, augmenter
        self.device, self.seed, self.count = device, seed, count

    def of(self, steps: range, laps: Laps) -> Iterator[Batch]:
        """Yield the batches of steps; a GPU has the next one made while it uses the last one.

        Parameters
        ----------
        steps
            Their numbers.
        laps
            Returns what is called after each part of the making of a batch, with its name.
        """
        if self.device.type == "cpu":
            yield from (self.make(step, laps) for step in steps)
            return
        with ThreadPoolExecutor(1, initializer=use_device, initargs=(self.device,)) as pool:
            ahead = pool.submit(self.make, steps[0], laps)
            for step in steps[1:]:
                batch, ahead = ahead.result(), pool.submit(self.make, step, laps)
                yield batch
            yield ahead.result()

    def make(self, step: int, laps: Laps) -> Batch:
        """Make the batch of a step."""
        lap = laps(step)
        random = np.random.default_rng([self.seed, step])
        generator = torch.Generator(self.device).manual_seed(int(random.integers(2**62)))
        share = own_share(self.count)
        crops = self.sampler.draw(random, self.count, self.augmenter.margin, share)
        lap("reading crops")
        drawn = self.augmenter.draw(random, self.count)
        images = to_device(crops.images, self.device)
        labels = to_device(crops.labels, self.device)
        lap("moving them to the device")
        images, labels = self.augmenter(images, labels, drawn, generator, share)
        lap("augmentation")
        return images, labels, crops.subjects

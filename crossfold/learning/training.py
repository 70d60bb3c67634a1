"""Training of one fold."""

from __future__ import annotations

import copy
import logging
import math
import shutil
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn import functional
from tqdm import tqdm

from crossfold.config.learning import NetworkConfig, TrainingConfig
from crossfold.data.preprocessing import Plan
from crossfold.errors import CrossfoldError
from crossfold.images import atomic_directory, atomic_path
from crossfold.learning import STAGE_VERSION
from crossfold.learning.augmentation import Augmenter, draw_augmentation
from crossfold.learning.checkpoints import NetworkCard, TrainingState, save_checkpoint
from crossfold.learning.devices import autocast, prepare_process, select_device
from crossfold.learning.losses import dice_cross_entropy, hard_dice
from crossfold.learning.machine import Meter
from crossfold.learning.networks import first_stride, network_arguments, pad_to_network
from crossfold.learning.sampling import CropSampler
from crossfold.paths import checkpoint

logger = logging.getLogger(__name__)

VALIDATION_BATCHES = 4
# A step is left out when its gradient is not finite; this many in a row end the training.
MOST_SKIPPED_STEPS = 20
TRAINING_COLUMNS = ["epoch", "phase", "metric", "value", "lr", "seconds"]


def train_fold(
    preprocessed: Path,
    *,
    subjects: Sequence[str],
    validation_subjects: Sequence[str],
    images: Sequence[str],
    structures: Sequence[str],
    network: NetworkConfig,
    config: TrainingConfig,
    fold: int,
    checkpoints: Path,
    history: Path,
    machine: Path,
    state_directory: Path,
    threads: int = 1,
) -> None:
    """Train one fold and write its checkpoints, training.csv and machine.json.

    A training that was killed continues from its last whole epoch, with the same result as if it
    had never stopped.

    Parameters
    ----------
    preprocessed
        Directory written by `preprocess_dataset`.
    subjects, validation_subjects
        Subjects of this fold.
    images, structures
        Channels, in the order of the configuration.
    network, config
        Sections `network` and `training`.
    fold
        Number of the fold, added to the seed.
    checkpoints, history, machine
        Directory of checkpoints, table of the training and record of the machine to write.
    state_directory
        Where the state of a running training lies.
    threads
        Threads of the processor to use.

    Raises
    ------
    CrossfoldError
        If the loss is no longer a number, naming the epoch and the subjects.
    """
    prepare_process(threads)
    plan = Plan.read(preprocessed)
    card = make_card(plan, images=images, structures=structures, network=network, config=config)
    identity = {
        "version": STAGE_VERSION,
        "card": asdict(card),
        "training": config.model_dump(mode="json", exclude={"device"}),
        "fold": fold,
        "subjects": {name: plan.digests[name] for name in subjects},
        "validation_subjects": {name: plan.digests[name] for name in validation_subjects},
    }
    state = TrainingState(state_directory, identity)
    run = _Training(preprocessed, subjects, validation_subjects, card, config, fold)
    meter = Meter(run.device, threads)
    with atomic_directory(checkpoints) as directory:
        run.resume(state)
        for epoch in run.epochs():
            run.train_epoch(epoch)
            if epoch in config.checkpoint_epochs:
                # Kept in the state directory first: a killed run must not lose them.
                save_checkpoint(checkpoint(state.directory, epoch), run.result, card, epoch=epoch)
            state.save(run.state_dict())
        for epoch in config.checkpoint_epochs:
            shutil.copyfile(checkpoint(state.directory, epoch), checkpoint(directory, epoch))
    with atomic_path(history) as temporary:
        run.history().to_csv(temporary, index=False, float_format="%.6g")
    meter.write(machine, continued_after_epoch=run.continued_after)
    state.clear()


def make_card(
    plan: Plan,
    *,
    images: Sequence[str],
    structures: Sequence[str],
    network: NetworkConfig,
    config: TrainingConfig,
) -> NetworkCard:
    """Settle what the configuration leaves to the data: patch, kernels, strides."""
    auto = config.patch_size == "auto"
    patch = plan.auto_patch() if auto else config.patch_size
    arguments = network_arguments(
        network,
        images=len(images),
        structures=len(structures),
        spacing_mm=plan.spacing_mm,
        patch_size=patch,  # type: ignore[arg-type]
    )
    return NetworkCard(
        network.target, arguments, [*images], [*structures], [*plan.spacing_mm], [*patch]
    )


class _Training:
    """The running training of one fold."""

    def __init__(
        self,
        preprocessed: Path,
        subjects: Sequence[str],
        validation_subjects: Sequence[str],
        card: NetworkCard,
        config: TrainingConfig,
        fold: int,
    ) -> None:
        self.card, self.config, self.seed = card, config, config.seed + fold
        self.fold = fold
        self.device = select_device(config.device)
        self.coarsening = first_stride(card.arguments)
        torch.manual_seed(self.seed)
        self.network = card.build().to(self.device)
        self.average = copy.deepcopy(self.network) if config.ema_decay else None
        self.optimiser = torch.optim.AdamW(
            self.network.parameters(),
            lr=config.learning_rate,
            betas=(0.9, 0.99),
            weight_decay=config.weight_decay,
            fused=True,
        )
        size, foreground = card.patch_size, config.foreground
        self.sampler = CropSampler(preprocessed, subjects, size=size, foreground=foreground)
        self.validation = (
            CropSampler(preprocessed, validation_subjects, size=size, foreground=foreground)
            if validation_subjects
            else None
        )
        self.augmenter = Augmenter(
            config.augmentation,
            patch_size=size,
            spacing_mm=card.spacing_mm,
            structures=card.structures,
        )
        self.done = self.continued_after = 0
        self.skipped_in_a_row = 0
        self.rows: list[tuple[int, str, str, float, float, float]] = []

    @property
    def result(self) -> nn.Module:
        """The network that is saved: the moving average where there is one."""
        return self.network if self.average is None else self.average

    def epochs(self) -> Iterable[int]:
        """Yield the epochs that are left, with a progress bar."""
        left = range(self.done + 1, self.config.epochs + 1)
        self.progress = tqdm(
            left,
            initial=self.done,
            total=self.config.epochs,
            desc=f"train fold {self.fold}",
            unit="epoch",
        )
        return self.progress

    def train_epoch(self, epoch: int) -> None:
        """Take the steps of one epoch and, now and then, measure on validation crops."""
        started, losses, scores, skipped = time.perf_counter(), [], [], 0
        self.network.train()
        per_epoch = self.config.iterations_per_epoch
        steps = range((epoch - 1) * per_epoch, epoch * per_epoch)
        for step, (images, labels, subjects) in zip(steps, self._batches(steps), strict=True):
            loss, logits, target = self._step(step, images, labels)
            if not math.isfinite(loss):
                raise CrossfoldError(
                    f"fold {self.fold}: the loss is {loss} in epoch {epoch} with the subjects "
                    f"{', '.join(subjects)}; the weights of epoch {epoch - 1} are kept in the "
                    "state directory",
                    remedy="look at these images, or lower training.learning_rate",
                )
            skipped += self.skipped_in_a_row > 0
            losses.append(loss)
            if step == steps[-1]:
                scores = hard_dice(logits, target).tolist()
        self._record(epoch, "train", np.mean(losses), scores, started)
        self._add(epoch, "train", "skipped_steps", skipped, started)
        if self.validation and (
            epoch % self.config.validate_every == 0 or epoch == self.config.epochs
        ):
            self._validate(epoch)
        self.done = epoch
        self.progress.set_postfix(loss=f"{np.mean(losses):.3f}", refresh=False)

    def _batches(self, steps: range) -> Iterator[tuple[Tensor, Tensor, tuple[str, ...]]]:
        """Yield augmented batches; on a GPU the next one is made while the last one is used."""
        if self.device.type == "cpu":
            yield from map(self._batch, steps)
            return
        with ThreadPoolExecutor(1) as pool:
            ahead = pool.submit(self._batch, steps[0])
            for step in steps[1:]:
                batch, ahead = ahead.result(), pool.submit(self._batch, step)
                yield batch
            yield ahead.result()

    def _batch(self, step: int) -> tuple[Tensor, Tensor, tuple[str, ...]]:
        """Make the batch of a step: a function of seed and step alone."""
        random = np.random.default_rng([self.seed, step])
        generator = torch.Generator(self.device).manual_seed(int(random.integers(2**62)))
        count = self.config.batch_size
        crops = self.sampler.draw(random, count, self.augmenter.margin)
        drawn = draw_augmentation(self.config.augmentation, random, count)
        images = torch.from_numpy(crops.images).to(self.device)
        labels = torch.from_numpy(crops.labels).to(self.device)
        images, labels = self.augmenter(images, labels, drawn, generator)
        return images, labels, crops.subjects

    def _step(self, step: int, images: Tensor, labels: Tensor) -> tuple[float, Tensor, Tensor]:
        """Take one optimisation step; return loss, logits and the labels they answer to."""
        if step < self.config.half_resolution * self.config.iterations:
            x, y, z = self.coarsening
            images = functional.avg_pool3d(pad_to_network(images, self.card.divisor), (x, y, z))
            labels = pad_to_network(labels, self.card.divisor)[:, ::x, ::y, ::z]
        images = pad_to_network(images, self.card.divisor)
        labels = pad_to_network(labels, self.card.divisor)
        for group in self.optimiser.param_groups:
            group["lr"] = self._learning_rate(step)
        self.optimiser.zero_grad(set_to_none=True)
        with autocast(self.config.precision, self.device):
            logits = self.network(images.contiguous(memory_format=torch.channels_last_3d))
        loss = dice_cross_entropy(logits, labels, self.config.cross_entropy)
        loss.backward()
        self._update()
        return loss.item(), logits.detach(), labels

    def _update(self) -> None:
        """Step unless the gradient is not finite, which broken bf16 kernels can make it."""
        parameters = list(self.network.parameters())
        norm = torch.nn.utils.clip_grad_norm_(parameters, self.config.gradient_clip)
        if torch.isfinite(norm):
            self.optimiser.step()
            self.skipped_in_a_row = 0
            if self.average is not None:
                self._average_weights()
            return
        self.skipped_in_a_row += 1
        if self.skipped_in_a_row >= MOST_SKIPPED_STEPS:
            raise CrossfoldError(
                f"fold {self.fold}: {MOST_SKIPPED_STEPS} gradients in a row are not finite",
                remedy="lower training.learning_rate, or set training.precision to fp32",
            )

    @torch.no_grad()
    def _average_weights(self) -> None:
        assert self.average is not None
        decay = self.config.ema_decay
        steps = self.optimiser.state[next(iter(self.network.parameters()))]["step"].item()
        # Early weights are forgotten faster, or the average would start from noise.
        weight = 1 - min(decay, (1 + steps) / (10 + steps))
        current = self.network.state_dict()
        for name, value in self.average.state_dict().items():
            if value.is_floating_point():
                value.lerp_(current[name], weight)
            else:
                value.copy_(current[name])

    def _learning_rate(self, step: int) -> float:
        """One cycle (Smith 2018, arXiv 1803.09820): linear rise, cosine fall to zero."""
        total = self.config.iterations
        rise = max(1, round(self.config.warmup * total))
        if step < rise:
            return self.config.learning_rate * (step + 1) / rise
        fall = (step - rise) / max(1, total - rise)
        return self.config.learning_rate * 0.5 * (1 + math.cos(math.pi * fall))

    @torch.no_grad()
    def _validate(self, epoch: int) -> None:
        """Measure loss and Dice on the same crops of the validation subjects every time."""
        assert self.validation is not None
        started, network = time.perf_counter(), self.result.eval()
        losses, scores = [], []
        for batch in range(VALIDATION_BATCHES):
            random = np.random.default_rng([self.seed, batch])
            crops = self.validation.draw(random, self.config.batch_size, [0, 0, 0])
            images = pad_to_network(torch.from_numpy(crops.images), self.card.divisor)
            labels = pad_to_network(torch.from_numpy(crops.labels), self.card.divisor)
            images = images.to(self.device).contiguous(memory_format=torch.channels_last_3d)
            labels = labels.to(self.device)
            with autocast(self.config.precision, self.device):
                logits = network(images)
            losses.append(dice_cross_entropy(logits, labels, self.config.cross_entropy).item())
            scores.append(hard_dice(logits, labels).tolist())
        present = pd.DataFrame(scores).mean().tolist()
        self._record(epoch, "val", np.mean(losses), present, started)

    def _record(
        self, epoch: int, phase: str, loss: Any, scores: Sequence[float], started: float
    ) -> None:
        self._add(epoch, phase, "loss", float(loss), started)
        for structure, score in zip(self.card.structures, scores, strict=True):
            self._add(epoch, phase, f"dice_{structure}", score, started)

    def _add(self, epoch: int, phase: str, metric: str, value: float, started: float) -> None:
        rate = self._learning_rate(epoch * self.config.iterations_per_epoch - 1)
        self.rows.append((epoch, phase, metric, value, rate, time.perf_counter() - started))

    def history(self) -> pd.DataFrame:
        """Return the table of the training so far."""
        return pd.DataFrame(self.rows, columns=TRAINING_COLUMNS)

    def state_dict(self) -> dict[str, Any]:
        """Return all that has to be saved to continue after the last epoch."""
        return {
            "done": self.done,
            "network": self.network.state_dict(),
            "average": self.average.state_dict() if self.average is not None else None,
            "optimiser": self.optimiser.state_dict(),
            "rows": self.rows,
        }

    def resume(self, state: TrainingState) -> None:
        """Continue from a saved state where there is one."""
        saved = state.load()
        if saved is None:
            return
        self.done = self.continued_after = saved["done"]
        self.rows = saved["rows"]
        self.network.load_state_dict(saved["network"])
        self.optimiser.load_state_dict(saved["optimiser"])
        if self.average is not None:
            self.average.load_state_dict(saved["average"])
        logger.info("fold %d continues after epoch %d", self.fold, self.done)

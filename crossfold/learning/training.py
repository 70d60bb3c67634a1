"""Training of one fold."""

from __future__ import annotations

import logging
import math
import shutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn import functional
from tqdm import tqdm

from crossfold.config.diagnostics import DiagnosticsConfig
from crossfold.config.functions import targets_in
from crossfold.config.imports import own_digests
from crossfold.config.learning import NetworkConfig, TrainingConfig
from crossfold.data.preprocessing import Plan
from crossfold.errors import CrossfoldError
from crossfold.images import atomic_directory
from crossfold.learning import STAGE_VERSION
from crossfold.learning.augmentation.pipeline import Augmenter
from crossfold.learning.batches import Batches
from crossfold.learning.cards import make_card
from crossfold.learning.checkpoints import NetworkCard, save_checkpoint
from crossfold.learning.compilation import compiled
from crossfold.learning.devices import autocast, prepare_process, to_device
from crossfold.learning.distributed import (
    averaged,
    of_first,
    own_device,
    own_share,
    parallel,
    processes,
    rank,
    seed_share,
    with_shared_norms,
)
from crossfold.learning.history import History
from crossfold.learning.initial import REPORT, InitialWeights
from crossfold.learning.launching import on_all_devices
from crossfold.learning.losses import hard_dice, make_loss
from crossfold.learning.machine import Meter
from crossfold.learning.networks import (
    centre_crop,
    first_stride,
    heads_of,
    pad_to_network,
)
from crossfold.learning.optimisation import DivergedError, Optimisation, learning_rate
from crossfold.learning.recovery import TrainingState
from crossfold.learning.sampling import CropSampler
from crossfold.learning.watching import Unwatched, Watch
from crossfold.paths import best_checkpoint, checkpoint

logger = logging.getLogger(__name__)

VALIDATION_BATCHES = 4


@on_all_devices
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
    initial: InitialWeights | None = None,
    diagnostics: DiagnosticsConfig | None = None,
    tensorboard: Path | None = None,
    example_images: Path | None = None,
    give_up: Callable[[pd.DataFrame], str | None] | None = None,
) -> str | None:
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
        Threads of the processor to use, on all devices together.
    initial
        Weights to start from instead of random ones; what became of each tensor is written beside
        the checkpoints.
    diagnostics
        Section `diagnostics`.
    tensorboard, example_images
        Directories of event files and of example crops to write.
    give_up
        Asked before every epoch, with the table of what was trained: a reason ends the training
        there, with its table and without checkpoints. One device is used then, in this process.

    Returns
    -------
    str or None
        Why it was given up; None where it has ended.

    Raises
    ------
    DivergedError
        If the loss is no longer a number, naming the epoch and the subjects.
    """
    prepare_process(max(1, threads // processes()))
    plan = Plan.read(preprocessed)
    card = make_card(plan, images=images, structures=structures, network=network, config=config)
    identity = {
        "version": STAGE_VERSION,
        "card": asdict(card),
        "fold": fold,
        "subjects": {name: plan.digests[name] for name in subjects},
        "validation_subjects": {name: plan.digests[name] for name in validation_subjects},
        **({"init_from": initial.digests()} if initial else {}),
        **_own_code(network, config),
    }
    state = TrainingState(state_directory, identity, config)
    saved = of_first(state.load)
    if saved:
        config = config.model_copy(update={"extended_from": tuple(saved["extended_from"])})
    run = _Training(preprocessed, subjects, validation_subjects, card, config, fold, initial)
    meter = Meter(run.device, threads)
    if saved:
        run.resume(saved)
    if rank() > 0:
        run.assist()
        return None
    with atomic_directory(checkpoints) as directory, run.watched(state, diagnostics) as watch:
        for epoch in run.epochs():
            if give_up and (reason := give_up(run.history.frame())):
                run.history.write(history)
                return reason
            run.train_epoch(epoch)
            if epoch in config.checkpoint_epochs:
                # Kept in the state directory first: a killed run must not lose them.
                save_checkpoint(checkpoint(state.directory, epoch), run.result, card, epoch=epoch)
            if epoch == run.best_epoch:
                save_checkpoint(best_checkpoint(state.directory), run.result, card, epoch=epoch)
            state.save(run.state_dict())
            # `crossfold monitor` draws the curves of what is under way from it.
            run.history.write(state.directory / history.name)
            watch.epoch(epoch, run.history.frame())
        for epoch in config.checkpoint_epochs:
            shutil.copyfile(checkpoint(state.directory, epoch), checkpoint(directory, epoch))
        if run.best_epoch:
            shutil.copyfile(best_checkpoint(state.directory), best_checkpoint(directory))
        if run.init_report is not None:
            run.init_report.to_csv(directory / REPORT, index=False)
    run.history.write(history)
    watch.keep(tensorboard, example_images)
    meter.write(
        machine,
        resources=watch.resources,
        continued_after_epoch=run.continued_after,
        extended_from=[*config.extended_from],
        devices=processes(),
    )
    state.finish()
    return None


def _own_code(network: NetworkConfig, config: TrainingConfig) -> dict[str, Any]:
    """Return digests of a site's own network, loss and transforms: older ones are not continued."""
    sections = [section.model_dump(by_alias=True, mode="json") for section in (network, config)]
    digests = own_digests(targets_in(sections, ""))
    return {"own_code": digests} if digests else {}


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
        initial: InitialWeights | None = None,
    ) -> None:
        self.card, self.config, self.seed = card, config, config.seed + fold
        self.fold = fold
        self.device = own_device(config.device)
        self.coarsening = first_stride(card.target, card.arguments)
        torch.manual_seed(self.seed)
        self.network = card.build()
        self.init_report = initial.load_into(self.network, card) if initial else None
        self.network = with_shared_norms(self.network, self.device).to(self.device)
        self.loss = make_loss(config)
        self.optimisation = Optimisation(self.network, config, self.device)
        network = parallel(self.network, self.device)
        self.forward = compiled(network) if config.compile else network
        size = card.patch_size
        sampler = partial(
            CropSampler,
            preprocessed,
            size=size,
            foreground=config.foreground,
            class_weights=config.sampling.weights(card.structures),
        )
        self.validation = sampler(validation_subjects) if validation_subjects else None
        augmenter = Augmenter(
            config.augmentation,
            patch_size=size,
            spacing_mm=card.spacing_mm,
            structures=card.structures,
        )
        self.batches = Batches(
            sampler(subjects),
            augmenter,
            device=self.device,
            seed=self.seed,
            count=config.batch_size,
        )
        if config.checkpoints.keep_best and self.validation is None:
            raise CrossfoldError(
                f"training.checkpoints.keep_best: fold {fold} has no validation subjects",
                remedy="set it to false, or raise splits.folds",
            )
        self.history = History(card.structures)
        self.done = self.continued_after = 0
        self.best_epoch, self.best_dice = 0, -math.inf

    @property
    def result(self) -> nn.Module:
        """The network that is saved: the moving average where there is one."""
        return self.optimisation.result

    def watched(self, state: TrainingState, config: DiagnosticsConfig | None) -> Watch:
        """Begin to look at the training."""
        watch = Watch(
            state.directory,
            fold=self.fold,
            epochs=self.config.epochs,
            card=self.card,
            coarsening=self.coarsening,
            history=self.history.frame(),
            device=self.device,
            config=config or DiagnosticsConfig(),
        )
        self.watch: Watch | Unwatched = watch
        return watch

    def epochs(self) -> Iterable[int]:
        """Yield the epochs that are left, with a progress bar."""
        left = range(self.done + 1, self.config.epochs + 1)
        self.progress = tqdm(
            left,
            initial=self.done,
            total=self.config.epochs,
            desc=f"train fold {self.fold}",
            unit="epoch",
            disable=None if rank() == 0 else True,  # None: a log file is no terminal
        )
        return self.progress

    def assist(self) -> None:
        """Train beside the first process, which writes everything."""
        self.watch = Unwatched()
        for epoch in self.epochs():
            self.train_epoch(epoch)

    def train_epoch(self, epoch: int) -> None:
        """Take the steps of one epoch and, now and then, measure on validation crops."""
        losses, scores, skipped = [], [], 0
        seed_share(self.seed, epoch)
        self.history.start(epoch, self._rate_after(epoch))
        self.network.train()
        per_epoch = self.config.iterations_per_epoch
        steps = range((epoch - 1) * per_epoch, epoch * per_epoch)
        batches = self.watch.batches(steps, self.batches.of(steps, self.watch.laps))
        for step, (images, labels, subjects) in zip(steps, batches, strict=True):
            self.history.see(labels)
            loss, logits, target = self._step(step, images, labels)
            if not math.isfinite(loss):
                raise DivergedError(
                    f"fold {self.fold}: the loss is {loss} in epoch {epoch} with the subjects "
                    f"{', '.join(subjects)}; the weights of epoch {epoch - 1} are kept in the "
                    "state directory",
                    remedy="look at these images, or lower training.learning_rate",
                )
            skipped += self.optimisation.skipped_in_a_row > 0
            losses.append(loss)
            if step == steps[-1]:
                scores = hard_dice(logits, target).tolist()
                self.watch.example(epoch, self.seen, target, logits, subjects)
        self.history.record("train", np.mean(losses), scores)
        self.history.add("train", "skipped_steps", skipped)
        self.history.add_voxels("train")
        if self.validation and (
            epoch % self.config.validate_every == 0 or epoch == self.config.epochs
        ):
            self._validate(epoch)
        self.done = epoch
        self.progress.set_postfix(loss=f"{np.mean(losses):.3f}", refresh=False)

    def _step(self, step: int, images: Tensor, labels: Tensor) -> tuple[float, Tensor, Tensor]:
        """Take one optimisation step; return loss, logits and the labels they answer to."""
        if step < self.config.half_resolution * self.config.planned_iterations(step):
            x, y, z = self.coarsening
            images = functional.avg_pool3d(pad_to_network(images, self.card.divisor), (x, y, z))
            labels = pad_to_network(labels, self.card.divisor)[:, ::x, ::y, ::z]
        images = pad_to_network(images, self.card.divisor)
        labels = pad_to_network(labels, self.card.divisor)
        with autocast(self.config.precision, self.device):
            output = self.forward(images.contiguous(memory_format=torch.channels_last_3d))
        heads = heads_of(output)
        logits = heads[0][1]
        labels, self.seen = (
            centre_crop(array, logits.shape[2:]) for array in (labels, images[:, 0])
        )
        loss = sum(weight * self.loss(head, labels) for weight, head in heads)
        assert isinstance(loss, Tensor)
        self.optimisation.step(loss, step)
        return averaged(loss.item()), logits.detach(), labels

    def _rate_after(self, epoch: int) -> float:
        """Return the learning rate of the last step of an epoch."""
        return learning_rate(self.config, epoch * self.config.iterations_per_epoch - 1)

    @torch.no_grad()
    def _validate(self, epoch: int) -> None:
        """Measure loss and Dice on the same crops of the validation subjects every time."""
        assert self.validation is not None
        self.history.start(epoch, self._rate_after(epoch))
        network = self.result.eval()
        losses, scores = [], []
        for batch in range(VALIDATION_BATCHES):
            random = np.random.default_rng([self.seed, batch])
            count = self.config.batch_size
            crops = self.validation.draw(random, count, [0, 0, 0], own_share(count))
            images = pad_to_network(to_device(crops.images, self.device), self.card.divisor)
            images = images.contiguous(memory_format=torch.channels_last_3d)
            labels = pad_to_network(to_device(crops.labels, self.device), self.card.divisor)
            with autocast(self.config.precision, self.device):
                _, logits = heads_of(network(images))[0]
            labels = centre_crop(labels, logits.shape[2:])
            losses.append(averaged(self.loss(logits, labels).item()))
            scores.append(hard_dice(logits, labels).tolist())
        dice = pd.DataFrame(scores).mean()
        self.history.record("val", np.mean(losses), dice.tolist())
        # A structure that is in none of these crops says nothing.
        if self.config.checkpoints.keep_best and dice.mean() > self.best_dice:
            self.best_epoch, self.best_dice = epoch, float(dice.mean())
            self.history.add("val", "best_dice", self.best_dice)

    def state_dict(self) -> dict[str, Any]:
        """Return all that has to be saved to continue after the last epoch."""
        on_gpu = self.device.type == "cuda"
        return {
            "done": self.done,
            "extended_from": self.config.extended_from,
            "optimisation": self.optimisation.state_dict(),
            "rows": self.history.rows,
            "best": (self.best_epoch, self.best_dice),
            # Batches need none of it; dropout does.
            "random": torch.get_rng_state(),
            "random_gpu": torch.cuda.get_rng_state(self.device) if on_gpu else None,
        }

    def resume(self, saved: dict[str, Any]) -> None:
        """Continue from a saved state."""
        self.done = self.continued_after = saved["done"]
        self.history.rows = saved["rows"]
        self.best_epoch, self.best_dice = saved["best"]
        self.optimisation.load_state_dict(saved["optimisation"])
        torch.set_rng_state(saved["random"])
        if saved["random_gpu"] is not None and self.device.type == "cuda":
            torch.cuda.set_rng_state(saved["random_gpu"], self.device)
        logger.info("fold %d continues after epoch %d", self.fold, self.done)

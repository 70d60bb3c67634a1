"""The weights that a training starts from: of another model, of a file, of InnerEye."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn

from crossfold.errors import CrossfoldError
from crossfold.learning.checkpoints import NetworkCard, distinct_tensors, read_weights
from crossfold.learning.innereye import read_innereye
from crossfold.paths import checkpoint

logger = logging.getLogger(__name__)

REPORT = "init_report.csv"
REPORT_COLUMNS = ["tensor", "status", "shape", "shape_in_file"]
BACKGROUND = "background"


@dataclass(frozen=True)
class InitialWeights:
    """Weights to start a training from.

    Parameters
    ----------
    files
        Files of weights; those of several are averaged.
    innereye
        Whether the file is a checkpoint of InnerEye-DeepLearning.
    """

    files: tuple[Path, ...]
    innereye: bool = False

    @classmethod
    def from_rule(
        cls, inputs: Sequence[str], section: Mapping[str, Any] | None
    ) -> InitialWeights | None:
        """Return what `init_from` says; inputs are folders of checkpoints where it is a model."""
        if section is None:
            return None
        files = tuple(Path(given) for given in inputs)
        if section["model"] is not None:
            files = tuple(checkpoint(folder, section["epoch"]) for folder in files)
        return cls(files, innereye=section["innereye"] is not None)

    def digests(self) -> list[str]:
        """Return the SHA-256 of each file: training depends on them."""
        return [hashlib.sha256(path.read_bytes()).hexdigest() for path in self.files]

    def load_into(self, network: nn.Module, card: NetworkCard) -> pd.DataFrame:
        """Copy the weights into a network, and say tensor by tensor what became of them.

        The last layer is the only one that may differ, as other structures need another one: what
        it knows of structures of the same name is kept, the rest starts at random.

        Parameters
        ----------
        network
            Network of the new training, with random weights.
        card
            What it is.

        Returns
        -------
        pandas.DataFrame
            Columns `REPORT_COLUMNS`. Status: copied; some classes (of the last layer); last layer
            (left at random); missing (in the file, so left at random); unexpected (not in this
            network, so not used).

        Raises
        ------
        CrossfoldError
            If the weights are of another network, or for other images.
        """
        weights, origin = self._read()
        if origin:
            self._compare(origin, card)
        own, last = distinct_tensors(network), _last_layer(network)
        rows: list[tuple[str, str, Tensor | None, Tensor | None]] = []
        with torch.no_grad():
            for name, tensor in own.items():
                given = weights.get(name)
                status = _copy(tensor, given, name in last, origin, card)
                rows.append((name, status, tensor, given))
        rows += [(name, "unexpected", None, weights[name]) for name in weights.keys() - own.keys()]
        frame = pd.DataFrame(
            [(name, status, _shape(here), _shape(there)) for name, status, here, there in rows],
            columns=REPORT_COLUMNS,
        ).sort_values("tensor", kind="stable")
        self._judge(frame, origin, card)
        return frame

    def _read(self) -> tuple[dict[str, Tensor], NetworkCard | None]:
        """Read the files, and average them where they are several."""
        if self.innereye:
            return read_innereye(self.files[0]), None
        sources = [read_weights(path) for path in self.files]
        weights, card = sources[0]
        for path, (others, other) in zip(self.files, sources, strict=True):
            if other != card or others.keys() != weights.keys():
                raise CrossfoldError(
                    f"init_from: {path} and {self.files[0]} hold different networks",
                    remedy="write `folds: same`, or train both with the same configuration",
                )
        if len(sources) == 1:
            return {name.removeprefix("module."): value for name, value in weights.items()}, card
        averaged = {
            name: torch.stack([others[name] for others, _ in sources]).mean(dim=0)
            if value.is_floating_point()
            else value
            for name, value in weights.items()
        }
        return averaged, card

    def _compare(self, origin: NetworkCard, card: NetworkCard) -> None:
        """Refuse weights of another network, or for other images."""
        if origin.target != card.target:
            raise CrossfoldError(
                f"init_from: {self.files[0]} holds a {origin.target}, and this model is a "
                f"{card.target}",
                remedy="give this model the same `network`",
            )
        if len(origin.images) != len(card.images):
            raise CrossfoldError(
                f"init_from: {self.files[0]} has learnt from the images "
                f"{', '.join(origin.images)}, and this model has {', '.join(card.images)}",
                remedy="start from a model with as many images",
            )
        if origin.images != card.images:
            logger.warning("images were %s, and are %s", origin.images, card.images)

    def _judge(self, frame: pd.DataFrame, origin: NetworkCard | None, card: NetworkCard) -> None:
        """Log what was not copied, and refuse weights that are not of this network."""
        copied = frame["status"].isin(["copied", "some classes"])
        names = " and ".join(map(str, self.files))
        wrong = ["other shape"] if origin is None else ["other shape", "missing", "unexpected"]
        if (bad := frame[frame["status"].isin(wrong)]).size or not copied.any():
            row = bad.iloc[0] if len(bad) else frame.iloc[0]
            there = row["shape_in_file"] or "not in the file"
            raise CrossfoldError(
                f"init_from: {names}: not the weights of this network: tensor {row['tensor']} is "
                f"{row['shape'] or 'not in the network'} here and {there} there"
                + _differing_arguments(origin, card),
                remedy="build the network with the same arguments; only its last layer may differ",
            )
        logger.info("starts from %s: %d of %d tensors", names, copied.sum(), len(frame))
        rest = frame[frame["status"] != "copied"]
        for status, tensors in rest.groupby("status")["tensor"]:
            logger.warning("init_from: %s: %s", status, ", ".join(tensors))


def _copy(
    tensor: Tensor,
    given: Tensor | None,
    is_last: bool,
    origin: NetworkCard | None,
    card: NetworkCard,
) -> str:
    """Copy a tensor as far as it fits, and say how far."""
    if given is None:
        return "missing"
    same_classes = origin is None or origin.structures == card.structures
    if given.shape == tensor.shape and (same_classes or not is_last):
        tensor.copy_(given)
        return "copied"
    if not is_last or given.shape[1:] != tensor.shape[1:]:
        return "other shape"
    if origin is None:
        return "last layer"
    there = [BACKGROUND, *origin.structures]
    for number, name in enumerate([BACKGROUND, *card.structures]):
        if name in there:
            tensor[number] = given[there.index(name)]
    return "some classes"


def _last_layer(network: nn.Module) -> set[str]:
    """Return the names of the weights of the last layer that has any."""
    layers = [
        name
        for name, module in network.named_modules()
        if any(True for _ in module.parameters(recurse=False))
    ]
    last = network.get_submodule(layers[-1])
    return {f"{layers[-1]}.{name}" for name, _ in last.named_parameters(recurse=False)}


def _shape(tensor: Tensor | None) -> str:
    return "" if tensor is None else "x".join(map(str, tensor.shape)) or "1"


def _differing_arguments(origin: NetworkCard | None, card: NetworkCard) -> str:
    if origin is None:
        return ""
    names = sorted({*origin.arguments, *card.arguments} - {"out_channels"})
    there, here = _plain(origin.arguments), _plain(card.arguments)
    different = [
        f"{name}: {here.get(name)} here, {there.get(name)} there"
        for name in names
        if here.get(name) != there.get(name)
    ]
    return f" ({'; '.join(different)})" if different else ""


def _plain(arguments: dict[str, Any]) -> dict[str, Any]:
    """Return arguments as they are after a file: tuples as lists."""
    return {name: _listed(value) for name, value in arguments.items()}


def _listed(value: Any) -> Any:
    return [_listed(item) for item in value] if isinstance(value, list | tuple) else value

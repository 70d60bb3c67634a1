"""torch.compile, with an error that says what is missing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from crossfold.errors import CrossfoldError


def compiled(network: nn.Module) -> Callable[..., Any]:
    """Return the network's forward pass, compiled with its first call.

    The network itself stays as it is, and with it the names of its weights. Another size of input
    is compiled once more.

    Raises
    ------
    CrossfoldError
        When it is called, if torch cannot compile it here.
    """
    forward = torch.compile(network)

    def call(*arguments: Any) -> Any:
        try:
            return forward(*arguments)
        except torch._dynamo.exc.TorchDynamoException as error:
            reason = next((line for line in str(error).splitlines() if line.strip()), "")
            raise CrossfoldError(
                f"training.compile: torch.compile fails here ({reason})",
                remedy="install a C++ compiler such as g++, or set it to false",
            ) from error

    return call

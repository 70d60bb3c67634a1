from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from crossfold.errors import CrossfoldError
from crossfold.learning.compilation import compiled


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv3d(1, 2, 3, padding=1), nn.BatchNorm3d(2), nn.ReLU())


def test_a_compiled_network_has_the_same_gradients(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the code generator, which takes a minute, and with everything before it."""
    quick = functools.partial(torch.compile, backend="aot_eager")
    monkeypatch.setattr(torch, "compile", quick)
    plain, other, image = network(), network(), torch.randn(2, 1, 4, 4, 4)
    plain(image).square().sum().backward()
    compiled(other)(image).square().sum().backward()
    for (name, expected), (same, value) in zip(
        plain.named_parameters(), other.named_parameters(), strict=True
    ):
        assert name == same  # no prefix: checkpoints are those of the network itself
        torch.testing.assert_close(value.grad, expected.grad)


def test_what_cannot_be_compiled_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> Callable[..., Any]:
        raise RuntimeError("no C++ compiler")

    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend=broken))
    with pytest.raises(CrossfoldError, match=r"torch.compile fails here.*\n.*install a C\+\+"):
        compiled(network())(torch.randn(2, 1, 4, 4, 4))

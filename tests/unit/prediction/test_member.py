from __future__ import annotations

import numpy as np
import torch

from crossfold.prediction.member import only_in_mask


def test_outside_of_the_mask_is_background() -> None:
    with torch.inference_mode():
        posterior = torch.rand(3, 4, 5, 6).softmax(0)
    assert only_in_mask(posterior, None) is posterior
    mask = np.zeros((4, 5, 6), dtype=bool)
    mask[1:3] = True
    masked = only_in_mask(posterior, mask)
    torch.testing.assert_close(masked[:, 1:3], posterior[:, 1:3])
    assert (masked[0, [0, 3]] == 1).all()
    assert (masked[1:, [0, 3]] == 0).all()

"""A noise predictor that is no network, to try losses and loops on."""

import torch
from torch import Tensor, nn


class Toy(nn.Module):
    """A noise predictor with two weights that depends on everything it is given."""

    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(torch.tensor([1.3, 0.2]))

    def forward(self, xt: Tensor, t: Tensor) -> Tensor:
        """(B, ...) and (B,) to (B, ...).

        Raises:
            ValueError: unless t holds one time an image.
        """
        if t.shape != xt.shape[:1]:
            raise ValueError(f"eps_model wants t as it is, one time an image, shape ({len(xt)},); got {tuple(t.shape)}")
        return torch.tanh(self.w[0] * xt + 0.2) * (1 + self.w[1] * t.view(-1, *[1] * (xt.ndim - 1)))

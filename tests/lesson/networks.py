"""Networks that are easy to write down, for panels that ask one."""

from torch import nn


class Listening(nn.Module):
    """Calls a share of x_t noise, in evaluation mode, and remembers the times that it was told.

    Args:
        share: of the times, (B,); half of x_t unless given.
    """

    def __init__(self, share=lambda t: 0.5 + 0 * t):
        super().__init__()
        self.share, self.asked = share, []

    def forward(self, xt, t):
        assert not self.training
        self.asked.append(int(t[0]))
        return self.share(t).view(-1, *[1] * (xt.ndim - 1)) * xt

"""The build of notebook 08: other parts than those of the text are refused, each slip with the words that fit."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from ddpm_lesson.lesson.ch08_down_up_middle.builds import TwoLevels, build_TwoLevels
from ddpm_lesson.unet import Upsample


class OwnParts(TwoLevels):
    """The same, with the halving and the doubling written by hand."""

    def __init__(self, n_channels):
        super().__init__(n_channels)
        self.down = nn.Conv2d(n_channels, n_channels, 3, stride=2, padding=1)
        self.up = nn.Sequential(nn.Upsample(scale_factor=2), nn.Conv2d(n_channels, n_channels, 3, padding=1))


class Pooled(TwoLevels):
    def __init__(self, n_channels):
        super().__init__(n_channels)
        self.down = nn.AvgPool2d(2, ceil_mode=True)


class Stamped(TwoLevels):
    def __init__(self, n_channels):
        super().__init__(n_channels)
        self.up = Upsample(n_channels, "transposed")


class Normed(TwoLevels):
    def __init__(self, n_channels):
        super().__init__(n_channels)
        self.fine = nn.Sequential(nn.GroupNorm(1, n_channels), self.fine)


class Added(TwoLevels):
    def __init__(self, n_channels):
        super().__init__(n_channels)
        self.join = nn.Conv2d(n_channels, n_channels, 3, padding=1)

    def forward(self, x):
        skip = F.silu(self.fine(x))
        below = self.up(F.silu(self.coarse(self.down(skip))))[:, :, : x.shape[2], : x.shape[3]]
        return self.join(below + skip)


class Alone(Added):
    def forward(self, x):
        below = F.silu(self.coarse(self.down(F.silu(self.fine(x)))))
        return self.join(self.up(below)[:, :, : x.shape[2], : x.shape[3]])


class InputAdded(TwoLevels):
    def forward(self, x):
        return super().forward(x) + x


class CutInFront(TwoLevels):
    def forward(self, x):
        skip = F.silu(self.fine(x))
        below = self.up(F.silu(self.coarse(self.down(skip))))[:, :, -x.shape[2] :, -x.shape[3] :]
        return self.join(torch.cat((below, skip), dim=1))


class Straight(TwoLevels):
    def forward(self, x):
        skip = F.silu(self.fine(x))
        below = self.up(self.coarse(self.down(skip)))[:, :, : x.shape[2], : x.shape[3]]
        return self.join(torch.cat((below, skip), dim=1))


class Smooth(TwoLevels):
    def __init__(self, n_channels):
        super().__init__(n_channels)
        up = nn.Upsample(scale_factor=2, mode="bilinear")
        self.up = nn.Sequential(up, nn.Conv2d(n_channels, n_channels, 3, padding=1))


def test_parts_may_be_written_by_hand():
    assert build_TwoLevels(OwnParts).passed


@pytest.mark.parametrize(
    ("built", "finding", "hint"),
    [
        (Pooled, "its convolutions make 8 x 6, 4 x 3, 8 x 6, 8 x 6; 8 x 6, 4 x 3, 4 x 3, 8 x 6", "`Downsample`"),
        (Stamped, "There is `ConvTranspose2d` in `TwoLevels`", "`Upsample`"),
        (Normed, "There is `GroupNorm` in `TwoLevels`: here it is asked for without norms", "Which parts"),
        (Added, "gets 2 channels where 4 are wanted: both maps, side by side and not added", "torch.cat"),
        (Alone, "gets 2 channels where 4 are wanted", "torch.cat"),
        (InputAdded, "something is done or added behind it", "nothing behind `self.join`"),
        (CutInFront, "one pixel off: which end is to be cut?", "Cut the last row"),
        (Straight, "does not go up through `F.silu` and `Upsample`", "below = F.silu"),
        (Smooth, "does not go up through `F.silu` and `Upsample`", "below = F.silu"),
    ],
)
def test_another_network_is_answered_in_words_that_fit(built, finding, hint):
    message = build_TwoLevels(built).message
    assert finding in message
    assert hint in message

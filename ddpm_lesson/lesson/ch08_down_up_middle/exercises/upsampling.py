"""Upsampling by hand."""

import torch
import torch.nn.functional as F
from torch import Tensor

from ddpm_lesson.lesson.kit.exercise import Exercise, Mistake, numbers


def upsample_nearest(x: Tensor) -> Tensor:
    """Each pixel as a block of 2 x 2, (B, C, H, W) -> (B, C, 2H, 2W)."""
    return x.repeat_interleave(2, 2).repeat_interleave(2, 3)


check_upsample_nearest = Exercise(
    solution=upsample_nearest,
    cases=[(numbers(*shape, seed=sum(shape)),) for shape in ((1, 1, 2, 1), (2, 3, 3, 4), (1, 2, 2, 5), (2, 1, 4, 3))],
    mistakes=(
        Mistake("tiled", lambda x: x.repeat(1, 1, 2, 2)).says("""
            This looks like the whole picture laid side by side four times.
            `repeat` in PyTorch repeats the picture. What must be repeated is each pixel.
            `repeat_interleave`, or an index such as 0, 0, 1, 1, 2, 2, ..."""),
        Mistake("height only", (".repeat_interleave(2, 3)", "")).says("""
            This looks like doubled rows, with the columns as they were.
            Both sides have to double.
            Do the same once more along the last axis."""),
        Mistake("width only", (".repeat_interleave(2, 2)", "")).says("""
            This looks like doubled columns, with the rows as they were.
            Both sides have to double.
            Do the same once more along axis 2."""),
        Mistake("bilinear", lambda x: F.interpolate(x, scale_factor=2, mode="bilinear")).says("""
            This looks like bilinear interpolation: new values between the old ones.
            Nearest means: every new pixel *is* an old one.
            Only copy, do not mix."""),
        Mistake("bilinear from corner to corner", lambda x: F.interpolate(x, None, 2, "bilinear", True)).says("""
            This looks like bilinear interpolation with the corners held in place.
            Nearest means: every new pixel *is* an old one.
            Only copy, do not mix."""),
        Mistake("zeros in between", lambda x: torch.kron(x, torch.tensor([[1.0, 0.0], [0.0, 0.0]]))).says("""
            This looks like the pixels set apart, with zeros in between.
            That is what a transposed convolution starts from. Here the gaps are filled with copies.
            Each pixel becomes a block of 2 x 2 equal pixels."""),
        Mistake("one pixel late", lambda x: upsample_nearest(x).roll((1, 1), (2, 3))).says("""
            This looks like the right blocks, moved by one pixel to the right and down.
            The new pixels 0 and 1 both copy the old pixel 0.
            New pixel y copies old pixel `y // 2`."""),
        Mistake("rounded up", lambda x: F.pad(upsample_nearest(x), (0, 1, 0, 1), "replicate")[..., 1:, 1:]).says("""
            This looks like a position that was rounded up instead of down.
            Which old pixel does the new pixel 1 copy?
            It copies old pixel 0: `y // 2` rounds down."""),
        Mistake("axes transposed", lambda x: upsample_nearest(x).mT).says("""
            This looks like rows and columns swapped.
            Axis 2 counts rows, axis 3 columns. Does your index keep them in order?
            Index axis 2 with the rows and axis 3 with the columns."""),
        Mistake("four times", lambda x: upsample_nearest(upsample_nearest(x))).says("""
            This looks like sides that are four times as long.
            Four times as many *pixels* means sides that are how many times as long?
            Twice: repeat each pixel twice along each of the two axes."""),
        Mistake("channels repeated", lambda x: x.repeat_interleave(2, 1).repeat_interleave(2, 2)).says("""
            This looks like axes 1 and 2 repeated: channels and rows.
            Images are (B, C, H, W). Which axes are height and width?
            Repeat along axes 2 and 3."""),
        Mistake("scrambled", lambda x: x.repeat_interleave(4, 3).unflatten(3, (2, -1)).flatten(2, 3)).says("""
            This looks like four copies of every pixel, in the wrong places.
            `reshape` keeps the order in memory; each new axis must stand directly behind the one it enlarges.
            `x[:, :, :, None, :, None]`, expanded to (B, C, H, 2, W, 2) and then reshaped. Or `repeat_interleave`."""),
        Mistake("a pixel's share", lambda x: upsample_nearest(x) / 4).says("""
            This looks like each pixel divided among its four copies.
            Brightness is no quantity to be shared out: a copy is as bright as the pixel.
            Leave the values as they are."""),
    ),
    consequence="Nothing is learned here, and nothing can go wrong: a constant image stays constant. The 3x3 "
    "convolution behind it does the learning.",
)

"""The levels of the U: how wide they are, and how many maps the way down keeps."""

import contextlib
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from ddpm_lesson.lesson.kit.answer import FAILURES, call, read
from ddpm_lesson.lesson.kit.exercise import CheckResult, Exercise, Mistake, check, recognised


def widths(n_channels: int, ch_mults: Sequence[int]) -> Tensor:
    """Channels of every level."""
    return torch.tensor([n_channels * m for m in ch_mults])


check_widths = Exercise(
    solution=widths,
    cases=[(64, (1, 2, 2, 4)), (128, (1, 2, 2, 2)), (24, (1, 2, 4)), (32, (3, 2))],
    mistakes=(
        Mistake("compounding", ("in ch_mults", "in torch.tensor(ch_mults).cumprod(0)")).says("""
            This looks like multipliers that compound: each level multiplies the width of the level above.
            What is a multiplier a multiple of: the base width, or whatever came before?
            Every level starts again from the base: `n_channels * m`.
                Nothing is carried from one level to the next."""),
        Mistake("multipliers alone", ("n_channels * m", "m")).says("""
            This looks like the multipliers themselves.
            They say how many times as wide as something. As what?
            Multiply each by `n_channels`."""),
        Mistake("base in front", ("[n_channels", "[n_channels] + [n_channels")).says("""
            This looks like the right widths with the base width in front.
            The projection makes a map of the base width, but it is no level of its own.
            One number a level: as many as there are multipliers."""),
        Mistake("lowest level first", ("in ch_mults", "in reversed(ch_mults)")).says("""
            This looks like the right widths, from the lowest level to the highest.
            Level 0 is the one with the full image.
            Keep the order of `ch_mults`."""),
        Mistake("doubling", ("m for m in ch_mults", "2**i for i in range(len(ch_mults))")).says("""
            This looks like a width that doubles from level to level, whatever the multipliers say.
            Doubling is a common choice of multipliers, (1, 2, 4, 8), but not the only one.
            Use the numbers in `ch_mults`."""),
        Mistake("added", ("n_channels * m", "n_channels + m")).says("""
            This looks like multipliers that were added to the base width.
            A multiplier multiplies.
            `n_channels * m` for each `m`."""),
    ),
    consequence="With compounding multipliers, (1, 2, 2, 4) on 64 would end at 1024 channels instead of 256. Section 7 "
    "shows what that costs.",
)


class PairExercise(Exercise):
    """An exercise with two numbers as an answer: each is held against the mistakes by itself."""

    def judge(self, function: Callable[..., Any]) -> CheckResult:
        """Try the learner's function; if both numbers are wrong, each in its own way, name the first mistake."""
        result = check(self, function)
        if result.passed or result.misconception:
            return result
        with contextlib.suppress(*FAILURES):
            answers, right = self.columns(function), self.columns(self.solution)
            for mistake in self.known:
                for own, other, wanted in zip(answers, self.columns(mistake.function), right, strict=True):
                    if own == other != wanted:
                        return recognised(mistake)
        return result

    def columns(self, function: Callable[..., Any]) -> list[tuple[float, ...]]:
        """The first numbers of all answers, and the second ones."""
        answers = (read(call(function, case), (0, 0)).parts for case in self.cases)
        return list(zip(*([float(number) for number in answer] for answer in answers), strict=True))


def kept_maps(n_levels: int, n_blocks: int) -> tuple[int, int]:
    """How many maps the way down keeps, and what the sides of an image must be divisible by."""
    maps, divisor = n_levels * (n_blocks + 1), 2 ** (n_levels - 1)
    return maps, divisor


check_kept_maps = PairExercise(
    solution=kept_maps,
    cases=[(4, 2), (3, 1), (1, 3), (6, 2)],
    mistakes=(
        Mistake("projection forgotten", ("(n_blocks + 1)", "(n_blocks + 1) - 1")).says("""
            This looks like one map too few: that of the projection.
            What stands on the stack before the first block has run?
            The projection's map is kept as well: one more."""),
        Mistake("downsampled maps forgotten", ("(n_blocks + 1)", "n_blocks + 1")).says("""
            This looks like the maps of the blocks and the projection, without those of the `Downsample` layers.
            The loop keeps what *every* module of the way down makes.
            There are `n_levels - 1` `Downsample` layers. Add their maps."""),
        Mistake("blocks only", ("(n_blocks + 1)", "n_blocks")).says("""
            This looks like the maps of the blocks alone.
            Two more kinds of modules make a map that is kept.
            Add one for the projection and `n_levels - 1` for the `Downsample` layers."""),
        Mistake("a downsample on every level", ("(n_blocks + 1)", "(n_blocks + 1) + 1")).says("""
            This looks like one map too many: of a `Downsample` on the lowest level, or of the middle.
            What would the lowest level be halved for? And does anybody join the middle's map?
            Between `n_levels` levels there are `n_levels - 1` steps down."""),
        Mistake("halved on every level", ("(n_levels - 1)", "n_levels")).says("""
            This looks like an image that is halved once more than it is.
            How many steps down are there between `n_levels` levels?
            `n_levels - 1` halvings: the sides must be divisible by `2 ** (n_levels - 1)`."""),
        Mistake("halvings added", ("2 **", "2 *")).says("""
            This looks like 2 for every step down, added instead of multiplied.
            Half of a half is a quarter.
            Each step divides by 2 what the last one left: `2 ** (n_levels - 1)`."""),
        Mistake("halved after every block", ("(n_levels - 1)", "n_blocks")).says("""
            This looks like an image that is halved once for every block of a level.
            Blocks keep the sides. Which module halves them, and how often does it stand on the way down?
            One halving between two levels: `2 ** (n_levels - 1)`."""),
        Mistake("the two exchanged", ("return maps, divisor", "return divisor, maps")).says("""
            This looks like the two right numbers in the wrong order.
            Which one does the cell ask for first?
            `return maps, divisor`."""),
        Mistake("both ways counted", ("= n_levels", "= 2 * n_levels")).says("""
            This looks like the maps of both ways.
            The way up makes maps too, but does anybody keep them?
            Only the way down keeps maps."""),
        Mistake("projection counted on every level", ("(n_blocks + 1)", "(n_blocks + 2) - 1")).says("""
            This looks like a projection on every level.
            The projection turns the image into a map of the base width. How often does the image come in?
            One projection in all: `1 + n_levels * n_blocks + (n_levels - 1)`."""),
    ),
    consequence="`n_levels * (n_blocks + 1)` maps, and the way up has `n_blocks + 1` blocks a level: one map for each. "
    "That is why it has one block more than the way down.",
)

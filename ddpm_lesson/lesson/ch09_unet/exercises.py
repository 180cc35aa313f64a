"""Exercises of notebook 09: widths, kept maps, parameters, and the loop that runs down and up the U."""

import contextlib
import copy
import warnings
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from ddpm_lesson.lesson.ch09_unet.experiments import randomised
from ddpm_lesson.lesson.kit.answer import FAILURES, Answer, attempt, call, read
from ddpm_lesson.lesson.kit.exercise import CheckResult, Exercise, Later, Mistake, check, numbers, recognised, wrong
from ddpm_lesson.unet import Downsample, UNet, Upsample


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


def residual_parameters(c_in: int, c_out: int, d: int) -> int:
    """Weights and biases of a residual block, gains and shifts among them."""
    norm1, conv1 = 2 * c_in, 9 * c_in * c_out + c_out
    time = d * c_out + c_out
    norm2, conv2 = 2 * c_out, 9 * c_out * c_out + c_out
    shortcut = c_in * c_out + c_out if c_in != c_out else 0
    return norm1 + conv1 + time + norm2 + conv2 + shortcut


check_residual_parameters = Exercise(
    solution=residual_parameters,
    cases=[(64, 128, 512), (128, 128, 512), (384, 128, 256), (24, 24, 96)],
    mistakes=(
        Mistake("no biases", lambda i, o, d: residual_parameters(i, o, d) - (3 + (i != o)) * o).says("""
            This looks like weights without biases.
            A convolution and a linear layer add a number to every channel of their output.
            Add `c_out` for each convolution and for the linear layer."""),
        Mistake("convolutions without biases", lambda i, o, d: residual_parameters(i, o, d) - 2 * o).says("""
            This looks like `2 * c_out` too few: the biases of the two 3x3 convolutions, or the second normalisation.
            Both come to the same number. Which of them have you not counted?
            Add `c_out` for each of the two convolutions, and `2 * c_out` for gain and shift of `norm2`."""),
        Mistake("time without bias", ("d * c_out + c_out", "d * c_out")).says("""
            This looks like `c_out` too few: one bias is missing, of the linear layer for the time or of a convolution.
            Three layers always have a bias. Have you counted three times `c_out` for them?
            `d * c_out + c_out` for the time, and `+ c_out` for each 3x3 convolution."""),
        Mistake("shortcut without bias", ("= c_in * c_out + c_out", "= c_in * c_out")).says("""
            This looks like a convolution on the shortcut without its bias.
            The shortcut is a convolution like the others, only 1x1.
            `c_in * c_out + c_out` where the widths differ."""),
        Mistake("scale and shift", ("d * c_out + c_out", "2 * (d * c_out + c_out)")).says("""
            This looks like a time embedding that gives every channel two numbers, a scale and a shift.
            Later networks do that. What does this block do with the time?
            One shift for each channel: `d * c_out + c_out`."""),
        Mistake("no normalisations", ("norm1 + ", "", "norm2 + ", "")).says("""
            This looks like a block whose normalisations have no parameters.
            Group normalisation learns two numbers a channel. Which?
            A gain and a shift: `2 * c_in` for the first, `2 * c_out` for the second."""),
        Mistake("gain without shift", ("2 * c_in", "c_in", "2 * c_out", "c_out")).says("""
            This looks like one number a channel for each normalisation.
            Beside the gain there is something that is added.
            Gain and shift: twice the channels."""),
        Mistake("time forgotten", ("time + ", "")).says("""
            This looks like a block that is not told the time.
            What turns the time embedding into a shift of every channel?
            A linear layer from `d` to `c_out` numbers: `d * c_out + c_out`."""),
        Mistake("time on the way in", ("d * c_out + c_out", "d * c_in + c_in")).says("""
            This looks like a time embedding that is added to the map that comes in.
            The shift is added after the first convolution. How many channels are there then?
            `d * c_out + c_out`."""),
        Mistake("shortcut never", (" + shortcut", "")).says("""
            This looks like a shortcut without a convolution, even where the widths differ.
            Can 64 channels be added to 128?
            If `c_in != c_out`, a 1x1 convolution stands on the shortcut: `c_in * c_out + c_out`."""),
        Mistake("shortcut always", (" if c_in != c_out else 0", "")).says("""
            This looks like a convolution on the shortcut even where the widths are the same.
            What is the shortcut of a block whose input and output have the same channels?
            If `c_in == c_out`, it is the identity and has no parameters."""),
        Mistake("shortcut of 3x3", ("= c_in * c_out", "= 9 * c_in * c_out")).says("""
            This looks like a 3x3 convolution on the shortcut.
            The shortcut only has to change the number of channels.
            It is 1x1: `c_in * c_out + c_out`."""),
        Mistake("second convolution from c_in", ("9 * c_out", "9 * c_in")).says("""
            This looks like two equal convolutions, both from `c_in` to `c_out`.
            What comes into the second one?
            The first has already changed the width: the second goes from `c_out` to `c_out`."""),
        Mistake("first convolution to c_in", ("conv1 +", "9 * c_in * c_in + c_in +", "9 * c_out", "9 * c_in")).says("""
            This looks like a width that changes in the second convolution instead of the first.
            Which of the two convolutions sees `c_in` channels?
            The first goes from `c_in` to `c_out`, the second from `c_out` to `c_out`."""),
        Mistake("second normalisation on c_in", ("2 * c_out", "2 * c_in")).says("""
            This looks like two normalisations of `c_in` channels.
            The second one comes after the first convolution.
            `2 * c_out` for the second."""),
        Mistake("3 instead of 9", ("9 * c_in", "3 * c_in", "9 * c_out", "3 * c_out")).says("""
            This looks like 3 weights for each pair of channels.
            How many pixels does a 3x3 window cover?
            9 for each pair of an input and an output channel."""),
        Mistake("one convolution", ("norm2 + conv2 + ", "")).says("""
            This looks like the first half of the block.
            After the time is added there is another normalisation and another convolution.
            Add `2 * c_out + 9 * c_out * c_out + c_out`."""),
    ),
    consequence="Both convolutions grow with the product of two widths: twice as wide means about four times as many.",
    tolerance=1e-9,
)


Call = tuple[int, ...]  # number of the module, then what it was given: a map's number, TIME or UNKNOWN
UNKNOWN, TIME = -1, -2
Loop = Callable[[Tensor, Tensor, nn.ModuleList, nn.Module, nn.ModuleList], Tensor]


def calls_of(loop: Loop, case: tuple[Any, ...]) -> list[Call]:
    """Which module a loop calls with what, until it returns or fails; maps are numbered in the order they are made."""
    x, t_emb, down, middle, up = copy.deepcopy(case)
    modules, made, calls = [*down, middle, *up], [x], []

    def number(given: Any) -> int:
        if given is t_emb:
            return TIME
        same = (i for i, known in enumerate(made) if isinstance(given, Tensor) and torch.equal(known, given))
        return next(same, UNKNOWN)

    def before(module: nn.Module, args: tuple, kwargs: dict) -> None:
        del calls[len(made) - 1 :]  # a call that failed, and that the loop recovered from
        given = [*args, *(kwargs[name] for name in ("x", "skip", "t_emb") if name in kwargs)]
        calls.append((next(i for i, m in enumerate(modules) if m is module), *map(number, given)))

    for module in modules:
        module.register_forward_pre_hook(before, with_kwargs=True)
        module.register_forward_hook(lambda _, __, output: made.append(output))
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with contextlib.suppress(*FAILURES):
            loop(x, t_emb, down, middle, up)
    return calls


class LoopExercise(Exercise):
    """An exercise in which a mistake is known by the calls that the learner's loop makes: it may fail on its way."""

    @cached_property
    def wrong_calls(self) -> list[list[list[Call]]]:
        """The calls of each known mistake in every case."""
        return [[calls_of(mistake.function, case) for case in self.cases] for mistake in self.known]

    @cached_property
    def answers(self) -> list[list[Answer]]:
        """The calls of each known mistake, in the place of its answers."""
        return [
            [read(pad_sequence(list(map(torch.tensor, calls)), True, UNKNOWN)) for calls in each]
            for each in self.wrong_calls
        ]

    def judge(self, function: Callable[..., Any]) -> CheckResult:
        """Try the learner's loop; if it is wrong, compare its calls with those of every known mistake."""
        result = check(self, function)
        if result.passed or not callable(function):
            return result
        calls = [calls_of(function, case) for case in self.cases]
        for mistake, theirs in zip(self.known, self.wrong_calls, strict=True):
            if calls == theirs:
                return recognised(mistake)
        return self.astray(function, calls, result)

    def astray(self, loop: Loop, calls: list[list[Call]], result: CheckResult) -> CheckResult:
        """The answer to an unknown mistake: the first call that is not the right one, or the first that is missing."""
        for case, own in zip(self.cases, calls, strict=True):
            right = calls_of(self.solution, case)
            for one, other in zip(own, right, strict=False):
                if one != other:
                    told, wanted = (spoken(call, case) for call in (one, other))
                    return wrong(
                        f"`{self.function}` calls {told} where {wanted} comes next. "
                        "Map 0 is `x`, map 1 is what the first call made, and so on."
                    )
            if 0 < len(own) < len(right) and not attempt(loop, case).error:
                last, wanted = (named(call, case) for call in (own[-1], right[len(own)]))
                return wrong(
                    f"`{self.function}` stops after `{last}`; `{wanted}` comes next. Is `return` inside the loop?"
                )
        return result


def spoken(call: Call, case: tuple[Any, ...]) -> str:
    """A call in words, such as `up[1]` (map 4, map 0, t_emb)."""
    given = [{TIME: "t_emb", UNKNOWN: "something else"}.get(number, f"map {number}") for number in call[1:]]
    return f"`{named(call, case)}` with ({', '.join(given)})"


def named(call: Call, case: tuple[Any, ...]) -> str:
    """The module of a call, such as up[1]."""
    _, _, down, _, up = case
    names = [*(f"down[{i}]" for i in range(len(down))), "middle", *(f"up[{i}]" for i in range(len(up)))]
    return names[call[0]]


def small_u(ch_mults: Sequence[int], n_blocks: int, side: int, seed: int) -> tuple[Any, ...]:
    """A map, a time embedding, and modules with random weights, to try a loop on; twice as wide as it is high."""
    settings = {"n_channels": 4, "ch_mults": ch_mults, "is_attn": (False,) * len(ch_mults), "n_blocks": n_blocks}
    unet = randomised(UNet(1, **settings, n_groups=2, dropout=0.0), seed)
    x, t_emb = numbers(2, 4, side, 2 * side, seed=seed), numbers(2, 16, seed=seed + 1)
    return x, t_emb, unet.down, unet.middle, unet.up


def through_the_u(x: Tensor, t_emb: Tensor, down: nn.ModuleList, middle: nn.Module, up: nn.ModuleList) -> Tensor:
    """The loop of ``UNet.forward``."""
    kept = [x]
    for module in down:
        x = module(x) if isinstance(module, Downsample) else module(x, t_emb)
        kept.append(x)
    x = middle(x, t_emb)
    for module in up:
        x = module(x) if isinstance(module, Upsample) else module(x, kept.pop(), t_emb)
    return x


check_through_the_u = LoopExercise(
    solution=through_the_u,
    cases=Later(lambda: [small_u((1,), 2, 4, seed=0), small_u((1, 1), 1, 4, seed=1), small_u((1, 2, 3), 2, 4, seed=2)]),
    mistakes=(
        Mistake("oldest first", ("pop()", "pop(0)")).says("""
            This looks like `pop(0)`: the map that was kept first is taken first.
            At the bottom of the U the network needs a map of *that* resolution. Which one was kept last?
            Last in, first out: `kept.pop()` without an argument."""),
        Mistake("always the last", ("kept.pop()", "kept[-1]")).says("""
            This looks like `kept[-1]`: the same map for every block.
            When a map has been used, the next block wants the one before it.
            `kept.pop()` gives the last map *and* takes it away."""),
        Mistake("projection not kept", ("kept = [x]", "kept = []")).says("""
            This looks like a list that starts empty: the last block of the way up finds nothing.
            Which map was there before the first module of the way down ran?
            Start with `kept = [x]`."""),
        Mistake("kept before the module", ("middle(x, t_emb)", "middle(kept.pop(), t_emb)")).says("""
            This looks like a list without its last map: either `kept.append(x)` stands above the call, so that you
                keep what goes in, or `middle(kept.pop(), t_emb)` takes the map away.
            The first block of the way up wants what the last block of the way down made. It must still be there.
            Start with `kept = [x]`, append after `x = module(...)`, and hand the middle `x`."""),
        Mistake("first map twice", ("x = middle", "kept = kept[:1] + kept[:-1]; x = middle")).says("""
            This looks like `kept = [x]` and then `kept.append(x)` above the call: the first map is kept twice, the
                last one never.
            Write down the list after two modules. Is the second module's map in it?
            Move `kept.append(x)` below the line that calls the module."""),
        Mistake("downsampled maps not kept", ("kept.app", "if not isinstance(module, Downsample): kept.app")).says("""
            This looks like keeping the maps of the blocks only.
            How many maps do you have, and how many blocks has the way up?
            Keep what *every* module of the way down makes, `Downsample` too."""),
        Mistake(
            "popped at Upsample", ("in up:", "in up:\n        skip = kept.pop()", "kept.pop(), t", "skip, t")
        ).says("""
            This looks like a map that is taken from the list at `Upsample` too, and thrown away.
            `Upsample` makes a map larger. It takes nothing in from the other side.
            Call `kept.pop()` in the branch of the blocks only."""),
        Mistake("Upsample like a block", ("module(x) if isinstance(module, Upsample) else ", "")).says("""
            This looks like a loop that hands `Upsample` a kept map and the time.
            What does `Upsample.forward` take?
            `module(x) if isinstance(module, Upsample) else module(x, kept.pop(), t_emb)`."""),
        Mistake(
            "Downsample like a block",
            ("module(x) if isinstance(module, Downsample) else ", ""),
        ).says("""
            This looks like a loop that hands `Downsample` the time.
            What does `Downsample.forward` take?
            `module(x) if isinstance(module, Downsample) else module(x, t_emb)`."""),
        Mistake("no time on the way down", (" if isinstance(module, Downsample) else module(x, t_emb)", "")).says("""
            This looks like blocks on the way down that are not told the time.
            Every residual block adds a shift that depends on t. Or are the two branches exchanged?
            `module(x) if isinstance(module, Downsample) else module(x, t_emb)`."""),
        Mistake("no time in the middle", ("middle(x, t_emb)", "middle(x)")).says("""
            This looks like a middle that is not told the time.
            The middle holds two residual blocks.
            `middle(x, t_emb)`."""),
        Mistake("no time on the way up", ("kept.pop(), t_emb", "kept.pop()")).says("""
            This looks like blocks on the way up that are not told the time.
            An `UpBlock` takes three things.
            `module(x, kept.pop(), t_emb)`."""),
        Mistake(
            "nothing but x on the way up", (" if isinstance(module, Upsample) else module(x, kept.pop(), t_emb)", "")
        ).says("""
            This looks like blocks on the way up that get `x` and nothing else.
            An `UpBlock` takes three things, an `Upsample` one. Or are the two branches exchanged?
            `module(x) if isinstance(module, Upsample) else module(x, kept.pop(), t_emb)`."""),
        Mistake("no kept maps", ("kept.pop(), ", "")).says("""
            This looks like a way up without the maps of the way down.
            What tells an `UpBlock` from a `DownBlock`?
            `module(x, kept.pop(), t_emb)` for every `UpBlock`."""),
        Mistake("no middle", ("x = middle(x, t_emb)", "")).says("""
            This looks like a U without its bottom: the middle never runs.
            What stands between the two loops?
            `x = middle(x, t_emb)`."""),
        Mistake("middle kept", ("middle(x, t_emb)", "middle(x, t_emb); kept.append(x)")).says("""
            This looks like a list that also holds what the middle made.
            The first block of the way up gets the middle's map as `x`. Which map should it get beside it?
            Append in the first loop only."""),
        Mistake("the other side", ("x, kept.pop()", "kept.pop(), x")).says("""
            This looks like the two maps swapped: the kept one where the one from below belongs.
            `UpBlock.forward(x, skip, t_emb)` puts `x` first and the kept map behind it; its weights rely on that.
            `module(x, kept.pop(), t_emb)`."""),
        Mistake("way up reversed", ("in up", "in reversed(up)")).says("""
            This looks like a way up that is run from its end.
            `up` is already in the order of the forward pass, from the lowest level to the highest.
            `for module in up:`."""),
        Mistake("no way up", ("in up", "in []")).says("""
            This looks like a network that ends in its middle.
            What brings the map back to the size of the image?
            Write a second loop, over `up`."""),
    ),
    consequence="This loop is the whole idea of a U-Net. Everything else is blocks.",
)

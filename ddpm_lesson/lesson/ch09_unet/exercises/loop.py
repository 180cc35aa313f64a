"""The loop that runs down and up the U."""

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
from ddpm_lesson.lesson.kit.answer import FAILURES, Answer, attempt, read
from ddpm_lesson.lesson.kit.exercise import CheckResult, Exercise, Later, Mistake, check, numbers, recognised, wrong
from ddpm_lesson.unet import Downsample, UNet, Upsample

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

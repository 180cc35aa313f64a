"""Exercises of notebook 05: frequencies of the clocks, their turns, the sinusoids, and the shift of a feature map."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from ddpm_lesson.lesson.kit.exercise import Exercise, Mistake, numbers


def frequencies(half: int) -> Tensor:
    """Radians a step of each hand, the fastest first, (half,): equation (5.3)."""
    i = torch.arange(half)
    return 10_000 ** (-i / (half - 1))


check_frequencies = Exercise(
    solution=frequencies,
    cases=[(2,), (4,), (12,), (64,)],
    tolerance=1e-6,
    mistakes=(
        Mistake("half for half - 1", ("half - 1", "half")).says("""
            This looks like $i/h$ in the exponent: the slowest hand is a little too fast.
            There are $h$ hands, numbered 0 to $h-1$. What must the exponent be for the last one?
            For $i = h-1$ the exponent has to be exactly 1: divide by `half - 1`."""),
        Mistake("growing", ("(-i", "(i")).says("""
            This looks like frequencies that grow from 1 to 10,000.
            The first hand is the fastest one. Which sign has the exponent?
            Put a minus in front of it: `10_000 ** (-i / (half - 1))`."""),
        Mistake("slowest first", lambda half: frequencies(half).flip(0)).says("""
            This looks like the right frequencies in the opposite order.
            Hand 0 is the fastest. With which frequency should the list start?
            Start at 1 and end at 1/10,000."""),
        Mistake("base 1000", ("10_000", "1000")).says("""
            This looks like 1000 in the place of 10,000.
            The slowest hand is not tied to $T$. What is its frequency in (5.3)?
            The base is `10_000`, for any $T$."""),
        Mistake("evenly spaced", lambda half: torch.linspace(1, 1e-4, half)).says("""
            This looks like evenly spaced frequencies: nearly all hands are fast.
            Each hand is slower than the last by the same *factor*, not by the same amount.
            Space the exponents evenly, from 0 to 1, and take 10,000 to minus that power."""),
        Mistake("no base", ("10_000", "math.e")).says(r"""
            This looks like $e^{-i/(h-1)}$: the logarithm of 10,000 is missing.
            With `exp` you need the base inside: $b^x = e^{x \ln b}$.
            `torch.exp(-math.log(10_000) * i / (half - 1))`."""),
        Mistake("squared", ("(-i", "(-2 * i")).says("""
            This looks like the squares of the frequencies: an exponent twice as large.
            Vaswani et al. write $2i/d$, but their $d$ counts sines *and* cosines: it is twice the number of hands.
            No 2 in the exponent: `i / (half - 1)`."""),
        Mistake("starts at one", ("arange(half)", "arange(1, half + 1)", "half - 1", "half")).says("""
            This looks like hands numbered from 1 to $h$.
            What is the frequency of the first hand in (5.3)?
            `torch.arange(half)` starts at 0, so that the first frequency is 1."""),
        Mistake("half + 1", ("half - 1", "half + 1")).says("""
            This looks like $h+1$ in the exponent: the slowest hand is much too fast.
            With `half` hands there are `half - 1` gaps between them.
            Divide by `half - 1`: then the exponent of the last hand is exactly 1."""),
        Mistake("no parentheses", ("(-i / (half - 1))", "-i / (half - 1)")).says("""
            This looks like the division outside of the exponent.
            Python takes the power before it divides. What belongs together up there?
            The minus and the division must be inside one pair of parentheses: `10_000 ** (-i / (half - 1))`."""),
        Mistake("steps for a turn", lambda half: 2 * math.pi / frequencies(half)).says(r"""
            This looks like $2\pi/\omega_i$, the steps that a turn takes.
            Wanted is the angle by which each hand moves in one step.
            Return $\omega_i$ itself; the turns are Exercise 3."""),
        Mistake("turns a step", lambda half: frequencies(half) / (2 * math.pi)).says(r"""
            This looks like $\omega_i/2\pi$, in turns a step.
            The frequencies of (5.3) are angles in radians.
            Leave the division by $2\pi$ away."""),
    ),
    consequence="Neighbouring hands always have the same ratio: with 64 hands each takes 16 % longer for a turn than "
    "the one before.",
)


def steps_per_turn(i: int, half: int) -> float:
    """Steps in which hand ``i`` of ``half`` goes round once."""
    return 2 * math.pi * 10_000 ** (i / (half - 1))


check_steps_per_turn = Exercise(
    solution=steps_per_turn,
    cases=[(0, 12), (5, 12), (11, 12), (1, 4), (40, 64)],
    tolerance=1e-5,
    mistakes=(
        Mistake("no 2 pi", ("2 * math.pi * ", "")).says(r"""
            This looks like $1/\omega_i$: the steps for one radian.
            How many radians has a whole turn?
            Multiply by $2\pi$."""),
        Mistake("half a turn", ("2 * ", "")).says(r"""
            This looks like half a turn.
            After $\pi$ radians the hand points the opposite way.
            A whole turn is $2\pi$."""),
        Mistake("degrees", ("2 * math.pi", "360")).says(r"""
            This looks like a whole turn of 360, in degrees.
            $\omega_i$ is in radians a step. What is a whole turn in radians?
            $2\pi$ in the place of 360."""),
        Mistake("upside down", lambda i, half: 1 / steps_per_turn(i, half)).says(r"""
            This looks like $\omega_i/2\pi$: turns a step, not steps a turn.
            A slow hand has a small frequency and needs many steps.
            Turn the fraction over: $2\pi/\omega_i$."""),
        Mistake("frequency times 2 pi", ("(i /", "(-i /")).says(r"""
            This looks like $2\pi\,\omega_i$: slower hands get fewer steps.
            Angle = frequency times steps. Solve for the steps.
            Divide by $\omega_i$: the minus in the exponent becomes a plus."""),
        Mistake("half for half - 1", ("half - 1", "half")).says("""
            This looks like $i/h$ in the exponent.
            The last hand has number $h-1$, and frequency 1/10,000.
            Divide by `half - 1`."""),
        Mistake("numbered from one", lambda i, half: steps_per_turn(i + 1, half)).says(r"""
            This looks like the answer for the next hand.
            Hand 0 has frequency 1: a turn in $2\pi$ steps.
            Use `i` as it is, without adding 1."""),
        Mistake("base 1000", ("10_000", "1000")).says("""
            This looks like 1000 in the place of 10,000.
            The base does not depend on how many steps the process has.
            The base is `10_000`."""),
        Mistake("whole steps", lambda i, half: int(steps_per_turn(i, half))).says("""
            This looks rounded to whole steps.
            Hands do not stop at whole turns: what is asked for is a length, and it has decimals.
            Leave `round`, `int` or `//` away."""),
        Mistake("rounded up", lambda i, half: math.ceil(steps_per_turn(i, half))).says("""
            This looks rounded up to whole steps.
            A turn may end between two steps: what is asked for is a length.
            Leave `ceil` away."""),
        Mistake("the frequency", ("2 * math.pi * ", "", "(i /", "(-i /")).says(r"""
            This looks like $\omega_i$ itself: radians a step.
            If a hand moves by $\omega_i$ in a step, how many steps does it need for a whole turn?
            Divide $2\pi$ by it."""),
        Mistake("squared", ("(i /", "(2 * i /")).says("""
            This looks like an exponent twice as large.
            Vaswani et al. write $2i/d$, but their $d$ counts sines *and* cosines: it is twice the number of hands.
            No 2 in the exponent: `i / (half - 1)`."""),
        Mistake("no parentheses", ("(i / (half - 1))", "i / (half - 1)")).says("""
            This looks like the division outside of the exponent.
            Python takes the power before it divides.
            Parentheses around the exponent: `10_000 ** (i / (half - 1))`."""),
        Mistake("turns in 1000 steps", lambda i, half: 1000 / steps_per_turn(i, half)).says(r"""
            This looks like the number of turns in 1000 steps.
            Wanted is how long *one* turn takes.
            $2\pi/\omega_i$, and no 1000."""),
    ),
    consequence="With $h = 12$ hands, hands 0 to 6 make at least one turn in 1000 steps; the other five never finish "
    "one.",
)


def sinusoids(t: Tensor, n_channels: int) -> Tensor:
    """Sines and then cosines of all hands at the times (B,); (B, n_channels)."""
    half = n_channels // 2
    frequency = 10_000 ** (-torch.arange(half) / (half - 1))
    angle = t[:, None] * frequency
    return torch.cat((angle.sin(), angle.cos()), dim=1)


check_sinusoids = Exercise(
    solution=sinusoids,
    cases=[  # two with as many times as hands, so that every way to broadcast runs
        (torch.tensor([0, 1, 7, 999]), 8),
        (torch.tensor([500, 3, 250, 20, 998, 62]), 12),
        (torch.tensor([999, 41, 0]), 10),
    ],
    tolerance=1e-3,
    mistakes=(
        Mistake("half for half - 1", ("half - 1", "half")).says("""
            This looks like `half` in the denominator of the exponent: the slowest hand is too fast.
            Which exponent has the last hand, number `half - 1`?
            Divide by `half - 1`. (With `half`, as in Vaswani et al., other people's weights would be misread.)"""),
        Mistake("interleaved", ("torch.cat", "torch.stack", "dim=1)", "dim=2).flatten(1)")).says("""
            This looks like sines and cosines in turns: sin, cos, sin, cos.
            Vaswani et al. arrange them so. What is the order in (5.3)?
            All sines first, then all cosines: `torch.cat((sin, cos), dim=1)`."""),
        Mistake(
            "interleaved with h", ("half - 1", "half", "torch.cat", "torch.stack", "dim=1)", "dim=2).flatten(1)")
        ).says("""
            This looks like the encoding of Vaswani et al. as many tutorials have it: sin, cos, sin, cos,
                and $i/h$ in the exponent.
            (5.3) differs in two things: the order, and the exponent of the last hand. What are they there?
            All sines first, `torch.cat((sin, cos), dim=1)`, and a division by `half - 1`."""),
        Mistake("cosines first", ("angle.sin(), angle.cos()", "angle.cos(), angle.sin()")).says("""
            This looks like the cosines in front of the sines.
            At $t = 0$ all sines are 0 and all cosines 1. Which half of your vector is 0?
            Swap the two in `torch.cat`."""),
        Mistake("slowest first", ("* frequency", "* frequency.flip(0)")).says("""
            This looks like the right values with the slowest hand in front.
            Hand 0 is the fastest. Which hand is `torch.arange(half)[0]`?
            No `flip`: the frequencies fall from 1 to 1/10,000."""),
        Mistake("n_channels - 1", ("half - 1", "n_channels - 1")).says("""
            This looks like `n_channels - 1` in the denominator: the slowest hand is far too fast.
            $h$ is the number of *hands*, and each hand gives two values.
            `half = n_channels // 2`, and divide by `half - 1`."""),
        Mistake("stacked", ("torch.cat", "torch.stack")).says("""
            This looks like sines and cosines in two rows for each time, (B, 2, half).
            `torch.stack` makes a new axis. Wanted is one row for each time.
            `torch.cat((sin, cos), dim=1)` puts them on the same axis."""),
        Mistake("stacked in front", ("torch.cat", "torch.stack", ", dim=1", "")).says("""
            This looks like two tables, one of sines and one of cosines: a pair, or (2, B, half).
            Asked for is one tensor, (B, n_channels). `torch.stack` makes a new axis; which function joins along one?
            `torch.cat((sin, cos), dim=1)` gives one row of `n_channels` values for each time."""),
        Mistake("one below the other", (", dim=1", "")).says("""
            This looks like the table of cosines *below* that of the sines, (2B, half).
            `torch.cat` joins along axis 0 unless told otherwise.
            `torch.cat((sin, cos), dim=1)`."""),
        Mistake("sines only", lambda t, n_channels: (t[:, None] * frequencies(n_channels)).sin()).says("""
            This looks like `n_channels` sines and no cosine.
            A sine alone does not say whether the hand goes up or down. How many hands make `n_channels` values?
            `half = n_channels // 2` frequencies, each with its sine and its cosine."""),
        Mistake("twice as long", (" // 2", "")).says("""
            This looks like `n_channels` hands, and so twice as many values.
            Each hand gives two values.
            `half = n_channels // 2`."""),
        Mistake("half as long", ("torch.cat((angle.sin(), angle.cos()), dim=1)", "angle.sin() + angle.cos()")).says("""
            This looks like sine and cosine added up, which gives half as many values.
            Both are needed one by one, to know where the hand points.
            Put them beside each other: `torch.cat((sin, cos), dim=1)`."""),
        Mistake("base 1000", ("10_000", "1000")).says("""
            This looks like frequencies down to 1/1000 only.
            The slowest hand is not tied to the number of steps.
            The base is `10_000`."""),
        Mistake("growing", ("-torch", "torch")).says("""
            This looks like frequencies that grow: 1, and then up to 10,000.
            Hand 0 is the fastest; it moves by 1 radian a step.
            A minus in the exponent."""),
        Mistake("squared", ("-torch", "-2 * torch")).says("""
            This looks like squared frequencies: an exponent that runs from 0 to 2.
            Vaswani's $2i/d$ has a $d$ that is twice the number of hands.
            `i / (half - 1)` without a 2."""),
        Mistake("t / T", ("t[:, None]", "t[:, None] / 1000")).says("""
            This looks like $t$ divided by 1000 first: all hands are a thousand times too slow.
            What goes into the sinusoids is the whole number $t$.
            Leave the division away; the slow hands do that job."""),
        Mistake("degrees", ("t[:, None]", "math.pi / 180 * t[:, None]")).says(r"""
            This looks like angles turned from degrees to radians: a factor $\pi/180$.
            $\omega_i t$ already is in radians, which is what `sin` wants.
            Leave the conversion away."""),
        Mistake("turns", ("t[:, None]", "2 * math.pi * t[:, None]")).says(r"""
            This looks like a factor $2\pi$: a whole turn of the first hand in each step.
            With it the fastest hand stands still at whole steps, and tells nothing.
            The angle is $\omega_i t$, without $2\pi$."""),
        Mistake("one frequency for all", ("-torch", "0 * torch")).says("""
            This looks like one frequency for all hands.
            Then all hands show the same. Where does $i$ enter?
            `10_000 ** (-torch.arange(half) / (half - 1))` is a row of `half` frequencies."""),
        Mistake("the paper's t", ("t[:, None]", "(t[:, None] + 1)")).says("""
            This looks like $t+1$, the paper's count.
            Code counts from 0, and its index goes in as it is.
            Leave the `+ 1` away."""),
        Mistake("no table", ("t[:, None]", "t", ", dim=1", "")).says("""
            This looks like `t * frequency` value by value: one number for each time instead of a row.
            (B,) times (half,) should give a table (B, half). How do you make one a column?
            `t[:, None] * frequency[None, :]`."""),
        Mistake("transposed", ("t[:, None] * frequency", "frequency[:, None] * t")).says("""
            This looks like a table with a row for each hand and a column for each time.
            The result wants a row for each time, (B, n_channels).
            `t[:, None] * frequency[None, :]`: the times go down, the hands across."""),
    ),
    consequence="Nothing in it is learned, and it also takes a $t$ between two steps: `t = 3.5` is no problem for a "
    "clock.",
)


def add_time(h: Tensor, t_emb: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """What a residual block does with the time: a shift of each channel of ``h``, (B, C, H, W)."""
    shift = F.linear(F.silu(t_emb), weight, bias)
    return h + shift[:, :, None, None]


def time_case(B: int, C: int, H: int, W: int, D: int, seed: int) -> tuple[Tensor, ...]:
    """Feature map (B, C, H, W), embedding (B, D), weight (C, D) and bias (C,)."""
    return tuple(numbers(*shape, seed=seed + i) for i, shape in enumerate(((B, C, H, W), (B, D), (C, D), (C,))))


check_add_time = Exercise(
    solution=add_time,
    cases=[  # two with all sizes alike, where every way to broadcast runs, and two where only the right one fits
        time_case(3, 3, 3, 3, 3, seed=0),
        time_case(4, 4, 4, 4, 4, seed=10),
        time_case(2, 3, 4, 5, 7, seed=20),
        time_case(3, 5, 2, 4, 2, seed=30),
    ],
    mistakes=(
        Mistake("to the last two axes", ("[:, :, None, None]", "")).says("""
            This looks like plain `h + shift`: it runs only because all sizes are equal here, and shifts pixels by
                row and column.
            PyTorch lines shapes up from the right: (B, C) meets (H, W). Which axes should it meet?
            Give the shift two axes of size 1 at the end: `shift[:, :, None, None]`."""),
        Mistake("to the rows", ("[:, :, None, None]", "[:, None, :, None]")).says("""
            This looks like one number for each *row* of pixels instead of each channel.
            Feature maps are (B, C, H, W): on which axis are the channels?
            `shift[:, :, None, None]` has the shape (B, C, 1, 1)."""),
        Mistake("to the columns", ("[:, :, None, None]", "[:, None, None, :]")).says("""
            This looks like one number for each *column* of pixels instead of each channel.
            Channels come second in PyTorch, not last.
            `shift[:, :, None, None]` has the shape (B, C, 1, 1)."""),
        Mistake("same for the whole batch", ("shift[:,", "shift[:1,")).says("""
            This looks like the shift of the first image for all of them.
            Each image of a batch has its own $t$.
            Keep the batch axis: `shift[:, :, None, None]`."""),
        Mistake("averaged over the batch", ("[:, :, None, None]", ".mean(0)[:, None, None]")).says("""
            This looks like one mean shift for the whole batch.
            Each image of a batch has its own $t$, and needs its own shift.
            No mean: `shift[:, :, None, None]`."""),
        Mistake("batch and channels swapped", ("shift[", "shift.T[")).says("""
            This looks like the shift with batch and channels exchanged.
            `shift` is (B, C), and so are the first two axes of `h`.
            Leave the transpose of the shift away."""),
        Mistake("subtracted", ("h +", "h -")).says("""
            This looks like the shift taken away instead of added.
            A network could learn either. Which one do the trained weights expect?
            `h + ...`."""),
        Mistake("multiplied", ("h +", "h *")).says("""
            This looks like a product instead of a sum.
            Ho et al. shift the channels. (To scale them as well came later: Dhariwal and Nichol 2021.)
            `h + ...`."""),
        Mistake("scaled by one plus", ("h + shift[:, :, None, None]", "h * (1 + shift[:, :, None, None])")).says("""
            This looks like channels scaled by 1 + shift.
            That is a part of a later design. Here the channels are only shifted.
            `h + ...`."""),
        Mistake("no Swish", ("F.silu(t_emb)", "t_emb")).says("""
            This looks right, but without Swish.
            `lin2` and the linear layer of the block are both linear: without a bend between them they are one layer.
            `F.silu(t_emb)` goes into the linear layer."""),
        Mistake("Swish last", ("F.silu(t_emb)", "t_emb", "+ shift", "+ F.silu(shift)")).says("""
            This looks like Swish after the linear layer.
            Which comes first, the bend or the layer?
            `F.linear(F.silu(t_emb), weight, bias)`."""),
        Mistake("Swish before and after", ("+ shift", "+ F.silu(shift)")).says("""
            This looks like Swish twice: before the linear layer and after it.
            The shift may be negative without a limit. What would a Swish at the end do to it?
            Only one: `F.linear(F.silu(t_emb), weight, bias)`."""),
        Mistake("Swish over the sum", lambda h, t, w, b: F.silu(h + F.linear(t, w, b)[:, :, None, None])).says("""
            This looks like Swish over the whole sum.
            Swish bends the *embedding*; the feature map is only shifted.
            `F.silu(t_emb)` goes into the linear layer, and nothing comes after the sum."""),
        Mistake("no Swish and no axes", ("F.silu(t_emb)", "t_emb", "[:, :, None, None]", "")).says("""
            This looks like two slips: Swish is missing, and the shift goes to the last two axes.
            First bend the embedding. Then: PyTorch lines shapes up from the right, and (B, C) meets (H, W).
            `F.silu(t_emb)` into the linear layer, and `[:, :, None, None]` behind it."""),
        Mistake("ReLU for Swish", ("F.silu", "F.relu")).says(r"""
            This looks like ReLU in the place of Swish.
            Swish is $z\,\sigma(z)$, and not 0 for negative $z$.
            PyTorch calls it `F.silu`."""),
        Mistake("the gate alone", ("F.silu", "torch.sigmoid")).says(r"""
            This looks like the sigmoid alone, without the $z$ in front.
            Swish is $z\,\sigma(z)$.
            `F.silu(t_emb)`, or `t_emb * t_emb.sigmoid()`."""),
        Mistake("not projected", ("+ shift", "+ t_emb")).says("""
            This looks like the embedding itself, added without the linear layer.
            Its size is that of the embedding. It fits the channels only because all sizes are equal here.
            `F.linear(F.silu(t_emb), weight, bias)` gives one number a channel."""),
        Mistake("weight transposed", ("weight, bias)", "weight.T, bias)")).says("""
            This looks like the weight used the other way round.
            PyTorch stores the weight of a linear layer as (out, in).
            `F.silu(t_emb) @ weight.T + bias`, or `F.linear`."""),
        Mistake("no bias", ("weight, bias)", "weight)")).says("""
            This looks right, but without the bias.
            A linear layer has a weight and a bias.
            `F.linear(..., weight, bias)`."""),
        Mistake("bias after the axes", ("weight, bias)", "weight)", "None]", "None] + bias")).says("""
            This looks like a bias that was added after the new axes: along the width.
            A bias has one number a channel. With which axis does PyTorch line it up?
            Add it while the shift is (B, C), as `F.linear(..., weight, bias)` does, and give it axes then."""),
        Mistake("feature map lost", ("h + ", "", "None]", "None].expand_as(h)")).says("""
            This looks like the shift alone: the feature map is gone.
            The shift is *added* to something.
            `h + ...`."""),
    ),
    consequence="That is all the block does with the time: one number for each image and channel. A pixel does not "
    "learn the time directly; its channels are lifted or lowered before the next normalisation.",
)

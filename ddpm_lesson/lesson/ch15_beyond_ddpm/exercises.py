"""Exercises of notebook 15: the image by the score, a step of Heun, and guidance with the paper's weight."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from ddpm_lesson.lesson.kit.exercise import Exercise, Mistake, numbers

doubles = partial(numbers, dtype=torch.float64)


def image_by_score(xt: Tensor, score: Tensor, alpha_bar: float) -> Tensor:
    """E[x0 | x_t]: equation (15.2)."""
    return (xt + (1 - alpha_bar) * score) / alpha_bar**0.5


check_image_by_score = Exercise(
    solution=image_by_score,
    cases=[
        (doubles(4, 1, 3, 3, seed=1), doubles(4, 1, 3, 3, seed=2), 0.3),
        (doubles(6, seed=3), doubles(6, seed=4), 0.98),
        (doubles(2, 5, seed=5), doubles(2, 5, seed=6), 0.004),
    ],
    mistakes=(
        Mistake("sign", ("xt + ", "xt - ")).says("""
            This looks like a step *against* the score.
            The score points to where data are denser. Which way does the best guess lie?
            `xt + (1 - alpha_bar) * score`: the minus of (15.1) is in the score already."""),
        Mistake("std for variance", ("(1 - alpha_bar) * score", "(1 - alpha_bar) ** 0.5 * score")).says(r"""
            This looks like the score times $\sqrt{1-\bar\alpha_t}$.
            That is minus the noise. How much of the noise is in $x_t$?
            One root from (15.1) and one from $x_t$ make $1-\bar\alpha_t$."""),
        Mistake("score for noise", ("+ (1 - alpha_bar) * score", "- (1 - alpha_bar) ** 0.5 * score")).says(r"""
            This looks like the score put where the noise belongs in the formula of notebook 04.
            By (15.1) the noise is $-\sqrt{1-\bar\alpha_t}$ times the score.
            Put that in: `xt + (1 - alpha_bar) * score`, then divide."""),
        Mistake("not rescaled", (" / alpha_bar**0.5", "")).says(r"""
            This looks like a guess of the dimmed image.
            $x_t$ holds $\sqrt{\bar\alpha_t}\,x_0$. What is left to do?
            Divide by $\sqrt{\bar\alpha_t}$."""),
        Mistake("divided without the root", ("alpha_bar**0.5", "alpha_bar")).says(r"""
            This looks like a division by $\bar\alpha_t$.
            By how much was the image dimmed, as a factor and not as a variance?
            Divide by $\sqrt{\bar\alpha_t}$."""),
        Mistake("variance of the image", ("(1 - alpha_bar) * score", "alpha_bar * score")).says(r"""
            This looks like $\bar\alpha_t$ in front of the score.
            The score is small where there is much noise. Which variance brings it back to the units of x?
            That of the noise, $1-\bar\alpha_t$."""),
        Mistake("score not weighted", ("(1 - alpha_bar) * ", "")).says(r"""
            This looks like the score added as it is.
            A score has the units of one over x. Which variance brings it to the units of x?
            `(1 - alpha_bar) * score`."""),
    ),
    consequence="So whoever can denoise knows the score, and whoever knows the score can denoise. Tweedie's formula "
    "(1956) is older than neural networks.",
)


def linear(y: Tensor, r: float) -> Tensor:
    """The slope of data N(0, 1 / 4), whose exact noise is known."""
    return r * y / (0.25 + r * r)


def wavy(y: Tensor, r: float) -> Tensor:
    """Some slope that depends on both."""
    return torch.sin(2 * y + 3 * r)


def heun_step(y: Tensor, r: float, r_prev: float, slope: Callable[[Tensor, float], Tensor]) -> Tensor:
    """From noise level r to r_prev with the mean of two slopes: equation (15.6)."""
    first = slope(y, r)
    second = slope(y + (r_prev - r) * first, r_prev)
    return y + (r_prev - r) * (first + second) / 2


def midpoint(y: Tensor, r: float, r_prev: float, slope: Callable[[Tensor, float], Tensor]) -> Tensor:
    """The other well-known method of second order."""
    half = y + (r_prev - r) / 2 * slope(y, r)
    return y + (r_prev - r) * slope(half, (r + r_prev) / 2)


check_heun_step = Exercise(
    solution=heun_step,
    cases=[
        (doubles(5, 1, seed=1), 2.0, 0.7, linear),
        (doubles(3, 2, 2, seed=2), 0.9, 0.1, wavy),
        (doubles(4, seed=3), 0.3, 0.0, wavy),
    ],
    mistakes=(
        Mistake("Euler", ("(first + second) / 2", "first")).says("""
            This looks like Euler's step, which is DDIM.
            What did you ask the second slope for?
            Go back to `y` and take the whole step with `(first + second) / 2`."""),
        Mistake("the slope at the end only", ("(first + second) / 2", "second")).says("""
            This looks like a step with the second slope alone.
            Euler takes the slope at one end, and this the one at the other. Heun takes both.
            `(first + second) / 2`."""),
        Mistake("slopes added", (" / 2", "")).says("""
            This looks like a step with both slopes added up.
            That goes twice as far as it should.
            Take their mean: divide by 2."""),
        Mistake("second slope at y", ("y + (r_prev - r) * first, r_prev", "y, r_prev")).says("""
            This looks like a second slope that was asked at `y`.
            At the noise level `r_prev` you are not at `y` any more. Where does the first slope take you?
            `slope(y + (r_prev - r) * first, r_prev)`."""),
        Mistake("second slope at r", ("first, r_prev)", "first, r)")).says("""
            This looks like a second slope that was asked at the old noise level.
            The trial step has arrived at `r_prev`. What must the network be told?
            `slope(..., r_prev)`."""),
        Mistake(
            "half a trial step, at r_prev", ("slope(y + (r_prev - r) * first", "slope(y + (r_prev - r) / 2 * first")
        ).says("""
            This looks like a trial step of half the length, judged at its full end.
            Heun's trial step goes all the way.
            `y + (r_prev - r) * first`, and there the slope at `r_prev`."""),
        Mistake("midpoint", midpoint).says("""
            This looks like the midpoint method: right, of second order too, but another one.
            Here the second slope is asked at the end of the step, and both are used.
            Trial step to `r_prev`; then the mean of both slopes."""),
        Mistake(
            "from the trial point", ("return y + (r_prev - r)", "return y + (r_prev - r) * first + (r_prev - r)")
        ).says("""
            This looks like a whole step more, on top of the trial step.
            The trial step was to look only.
            Start from `y` again."""),
        Mistake(
            "backwards",
            (
                "y + (r_prev - r) * first",
                "y + (r - r_prev) * first",
                "return y + (r_prev - r)",
                "return y + (r - r_prev)",
            ),
        ).says("""
            This looks like a step towards more noise.
            `r_prev` is smaller than `r`, so the change of r is negative.
            Multiply slopes by `r_prev - r`."""),
    ),
    consequence="Two questions a step, and an error that falls with the square of the step. The package's "
    "`heun_steps` does this between the visited times.",
)


def guided_noise(eps_null: Tensor, eps_label: Tensor, w: float) -> Tensor:
    """Guidance with the paper's w, where 0 is the conditional model: Ho and Salimans 2022, Eq. 6."""
    return (1 + w) * eps_label - w * eps_null


check_guided_noise = Exercise(
    solution=guided_noise,
    cases=[
        (doubles(4, 1, 2, 3, seed=1), doubles(4, 1, 2, 3, seed=2), 3.0),
        (doubles(5, seed=3), doubles(5, seed=4), 0.0),
        (doubles(2, 3, seed=5), doubles(2, 3, seed=6), 0.5),
        (doubles(6, seed=7), doubles(6, seed=8), -1.0),
    ],
    mistakes=(
        Mistake(
            "the other convention", ("(1 + w) * eps_label - w * eps_null", "w * eps_label + (1 - w) * eps_null")
        ).says("""
            This looks like the scale of diffusers, where 1 is the conditional model.
            What must come out for the paper's w = 0?
            The scale is w + 1: put that in for w."""),
        Mistake(
            "labels exchanged", ("(1 + w) * eps_label - w * eps_null", "(1 + w) * eps_null - w * eps_label")
        ).says("""
            This looks like guidance *away* from the label.
            For w = 0 the answer must be what the network says with the label.
            `(1 + w)` stands before `eps_label`."""),
        Mistake("added", (" - w * eps_null", " + w * eps_null")).says("""
            This looks like both answers added: the factors make 1 + 2 w.
            For two equal answers the result must be that answer. Which factors add up to 1?
            `(1 + w)` and `-w`."""),
        Mistake("the difference alone", ("(1 + w) * eps_label", "w * eps_label")).says("""
            This looks like w times the difference, without what it is added to.
            The difference is a direction. From where?
            From `eps_label`: `eps_label + w * (eps_label - eps_null)`."""),
        Mistake("nothing but the label", (" - w * eps_null", "")).says("""
            This looks like the answer with the label, made longer.
            Guidance goes *away* from something. From what?
            Subtract `w * eps_null`."""),
        Mistake(
            "shrunk to the mean", ("(1 + w) * eps_label - w * eps_null", "(eps_label + w * eps_null) / (1 + w + 1e-9)")
        ).says("""
            This looks like a mean of the two answers, somewhere between.
            Guidance does not lie between them: it goes on beyond the label's answer.
            `(1 + w) * eps_label - w * eps_null`."""),
    ),
    consequence="w = 0 here is scale 1 there. Whoever copies a number from a paper into a library that counts the "
    "other way guides one too little, and nothing fails.",
)

"""From one guess to another: the image, and the mean of the step back."""

import torch
from torch import Tensor

from ddpm_lesson.lesson.kit.exercise import Exercise, Mistake, halved, numbers

BETA = torch.linspace(0.02, 0.6, 8)  # a short schedule on which no two formulas look alike
ALPHA_BAR = (1 - BETA).cumprod(0)


def predict_x0(xt: Tensor, eps: Tensor, alpha_bar: float) -> Tensor:
    """The image that a guess of the noise implies: equation (4.3)."""
    return (xt - (1 - alpha_bar) ** 0.5 * eps) / alpha_bar**0.5


check_predict_x0 = Exercise(
    solution=predict_x0,
    cases=[
        (numbers(4, 1, 2, 2, seed=1), numbers(4, 1, 2, 2, seed=2), 0.9),
        (numbers(5, seed=3), numbers(5, seed=4), 0.3),
        (numbers(2, 3, seed=5), numbers(2, 3, seed=6), 0.05),
    ],
    mistakes=(
        Mistake("variance for std", ("(1 - alpha_bar) ** 0.5", "(1 - alpha_bar)")).says(r"""
            This looks like the noise multiplied by $1-\bar\alpha_t$, its variance.
            Which number multiplies `eps` in the forward formula: a variance or a standard deviation?
            $x_t = \sqrt{\bar\alpha_t}\,x_0 + \sqrt{1-\bar\alpha_t}\,\epsilon$: take the root of $1-\bar\alpha_t$."""),
        Mistake("alpha_bar without its root", ("/ alpha_bar**0.5", "/ alpha_bar")).says(r"""
            This looks like a division by $\bar\alpha_t$ instead of its root.
            Look at what multiplies `x0` in the forward formula, and divide by exactly that.
            Divide by $\sqrt{\bar\alpha_t}$: `alpha_bar ** 0.5`."""),
        Mistake("no roots at all", (") ** 0.5", ")", "bar**0.5", "bar")).says(r"""
            This looks like both coefficients without their roots.
            $\bar\alpha_t$ and $1-\bar\alpha_t$ are shares of *variance*. Data and noise take their roots.
            Put `** 0.5` on both."""),
        Mistake("sign", ("xt - ", "xt + ")).says("""
            This looks like noise added where it has to be taken away.
            `xt` already holds the noise. What must you do to get rid of it?
            Subtract: `xt - ...`."""),
        Mistake("not divided", (" / alpha_bar**0.5", "")).says(r"""
            This looks like $\sqrt{\bar\alpha_t}\,x_0$, the data still dimmed.
            With the noise gone, is what is left `x0` itself, or `x0` times something?
            Divide what you have by $\sqrt{\bar\alpha_t}$."""),
        Mistake("multiplied instead of divided", ("/ alpha_bar", "* alpha_bar")).says(r"""
            This looks like a multiplication by $\sqrt{\bar\alpha_t}$ where a division belongs.
            The forward process dims `x0`; on the way back it has to become brighter.
            $\sqrt{\bar\alpha_t}\,x_0 = x_t - \dots$; divide both sides."""),
        Mistake("only the noise divided", ("(xt -", "xt -", "eps)", "eps")).says(r"""
            This looks like missing brackets: only the noise is divided by $\sqrt{\bar\alpha_t}$.
            Python divides before it subtracts.
            Write `(xt - ...) / ...` with brackets around the whole difference."""),
        Mistake("only xt divided", ("(xt -", "xt / alpha_bar**0.5 -", "eps) / alpha_bar**0.5", "eps")).says(r"""
            This looks like missing brackets: only `xt` is divided by $\sqrt{\bar\alpha_t}$.
            The noise has to be taken away first. What is left is divided as a whole.
            Write `(xt - ...)`, and divide this bracket."""),
        Mistake("noise unscaled", ("(1 - alpha_bar) ** 0.5 * ", "")).says(r"""
            This looks like `eps` taken away as it is, without its factor.
            `eps` has variance 1. How much of it was mixed into `xt`?
            $x_t$ holds $\sqrt{1-\bar\alpha_t}\,\epsilon$: take that away."""),
        Mistake("one minus the root", ("(1 - alpha_bar) ** 0.5", "(1 - alpha_bar**0.5)")).says(r"""
            This looks like $1-\sqrt{\bar\alpha_t}$ in front of the noise.
            The *variances* of image and noise add up to 1. What follows for the factors?
            Subtract first, then take the root: `(1 - alpha_bar) ** 0.5`."""),
        halved(),
        Mistake("the other half", lambda xt, eps, alpha_bar: predict_x0(xt, eps, 1 - alpha_bar)).says(r"""
            This looks like the two factors exchanged.
            Which factor belongs to the image in the forward formula, and which to the noise?
            $\sqrt{1-\bar\alpha_t}$ goes with `eps`, and $\sqrt{\bar\alpha_t}$ divides."""),
        Mistake("clipped", lambda *case: predict_x0(*case).clamp(-1, 1)).says("""
            This looks like the right answer, clipped to [-1, 1].
            Images live there, but (4.3) does not know that.
            Leave the `clamp` away: clipping is a step of its own, which the sampler takes."""),
        Mistake("forward again", lambda xt, eps, a: a**0.5 * xt + (1 - a) ** 0.5 * eps).says(r"""
            This looks like the forward formula applied to `xt`: it adds noise once more.
            Here `xt` is known and `x0` is wanted: solve the forward formula for `x0`.
            Bring $\sqrt{1-\bar\alpha_t}\,\epsilon$ to the other side, then divide by $\sqrt{\bar\alpha_t}$."""),
    ),
    consequence="With it, every guess of the noise is a guess of the image. The package clips this guess to [-1, 1], "
    "where images live, before it goes on.",
)


def mean_from_eps(xt: Tensor, eps: Tensor, t: int, beta: Tensor) -> Tensor:
    """Mean of the step back: equation (4.4)."""
    alpha = 1 - beta
    alpha_bar = alpha.cumprod(0)[t]
    return (xt - beta[t] / (1 - alpha_bar) ** 0.5 * eps) / alpha[t] ** 0.5


def mean_through_x0_wrapped(xt: Tensor, eps: Tensor, t: int, beta: Tensor) -> Tensor:
    """Through x0 and the posterior, where alpha_bar[t - 1] is the last one at t = 0."""
    alpha, alpha_bar = 1 - beta, (1 - beta).cumprod(0)
    x0, prev = predict_x0(xt, eps, alpha_bar[t]), alpha_bar[t - 1]
    return (prev**0.5 * beta[t] * x0 + alpha[t] ** 0.5 * (1 - prev) * xt) / (1 - alpha_bar[t])


check_mean_from_eps = Exercise(
    solution=mean_from_eps,
    cases=[
        (numbers(4, 1, 2, 2, seed=1), numbers(4, 1, 2, 2, seed=2), 5, BETA),
        (numbers(5, seed=3), numbers(5, seed=4), 0, BETA),
        (numbers(2, 3, seed=5), numbers(2, 3, seed=6), 3, torch.linspace(1e-4, 0.02, 100)),
        (numbers(3, 2, seed=7), numbers(3, 2, seed=8), 7, BETA),
    ],
    mistakes=(
        Mistake("alpha_bar for alpha in front", ("alpha[t] **", "alpha_bar **")).says(r"""
            This looks like $1/\sqrt{\bar\alpha_t}$ in front of the bracket.
            This formula undoes *one* step. How much did one step dim the image?
            One step multiplies by $\sqrt{\alpha_t}$, so the factor in front is $1/\sqrt{\alpha_t}$, without a bar."""),
        Mistake("root of beta", ("beta[t]", "beta[t] ** 0.5")).says(r"""
            This looks like $\sqrt{\beta_t}$ in the numerator.
            Compare the numerator of the noise's factor in (4.4) with yours.
            It is $\beta_t$ itself over $\sqrt{1-\bar\alpha_t}$: only the denominator has a root."""),
        Mistake("no root below", ("(1 - alpha_bar) ** 0.5", "(1 - alpha_bar)")).says(r"""
            This looks like $\beta_t / (1-\bar\alpha_t)$, without the root below.
            The noise in $x_t$ has standard deviation $\sqrt{1-\bar\alpha_t}$.
            Use $\beta_t / \sqrt{1-\bar\alpha_t}$."""),
        Mistake("all the noise removed", ("beta[t] / ", "")).says(r"""
            This looks like all the noise removed in one step.
            $\sqrt{1-\bar\alpha_t}\,\epsilon$ is *all* noise in $x_t$. One step back removes only a share of it.
            The share is $\beta_t / (1-\bar\alpha_t)$; that leaves $\beta_t/\sqrt{1-\bar\alpha_t}$ times `eps`."""),
        Mistake("alpha for alpha_bar below", ("1 - alpha_bar", "1 - alpha[t]")).says(r"""
            This looks like $1-\alpha_t$ below, where $1-\bar\alpha_t$ belongs, or (the same) like $\sqrt{\beta_t}$
                times `eps`.
            The noise that is guessed is that of all steps so far, not that of the last one.
            Take the running product first: `alpha_bar = (1 - beta).cumprod(0)[t]`."""),
        Mistake("sign", ("xt - ", "xt + ")).says("""
            This looks like noise added where it has to be taken away.
            The step back has less noise than `xt`.
            The bracket is `xt - ... * eps`."""),
        Mistake("alpha without its root", ("alpha[t] ** 0.5", "alpha[t]")).says(r"""
            This looks like $1/\alpha_t$ in front of the bracket.
            The forward step multiplies the image by $\sqrt{\alpha_t}$.
            Divide by $\sqrt{\alpha_t}$."""),
        Mistake("not divided", (" / alpha[t] ** 0.5", "")).says(r"""
            This looks like the bracket alone, without $1/\sqrt{\alpha_t}$.
            Besides adding noise, the forward step dims the image. Undo that as well.
            Divide the bracket by $\sqrt{\alpha_t}$."""),
        Mistake("one step off", lambda xt, eps, t, beta: mean_from_eps(xt, eps, t - 1, beta)).says("""
            This looks like the coefficients of step t - 1.
            In code the index t is the step itself: no shift is needed.
            Use `beta[t]`, and the product up to *and including* t."""),
        Mistake("only the noise divided", ("(xt -", "xt -", "eps)", "eps")).says(r"""
            This looks like missing brackets: $1/\sqrt{\alpha_t}$ reaches only the noise.
            Python divides before it subtracts, and the whole bracket has to be divided.
            Write `(xt - ... * eps) / alpha[t] ** 0.5`."""),
        Mistake("only xt divided", ("(xt -", "xt / alpha[t] ** 0.5 -", "eps) / alpha[t] ** 0.5", "eps")).says("""
            This looks like a division of `xt` alone.
            What stands in the brackets of (4.4)?
            Brackets around the whole difference, then divide it by `alpha[t] ** 0.5`."""),
        halved(),
        Mistake("multiplied instead of divided", ("/ alpha[t]", "* alpha[t]")).says(r"""
            This looks like a multiplication by $\sqrt{\alpha_t}$ where a division belongs.
            The forward step dims the image; the step back has to make it brighter.
            Divide by `alpha[t] ** 0.5`."""),
        Mistake("the image at once", ("beta[t] / ", "", "alpha[t] **", "alpha_bar **")).says(r"""
            This looks like $\hat x_0$, the answer to Exercise 1.
            It jumps to the image at once. Here *one* step back is asked for.
            Without bars in front, and only $\beta_t/\sqrt{1-\bar\alpha_t}$ of the noise: (4.4)."""),
        Mistake("product without t", ("alpha.cumprod(0)[t]", "alpha[:t].prod()")).says(r"""
            This looks like $\bar\alpha_t$ without its last factor $\alpha_t$.
            `beta[:t]` ends *before* t.
            Take `beta[: t + 1]`, or `(1 - beta).cumprod(0)[t]`."""),
        Mistake("alpha_bar of the step before", ("cumprod(0)[t]", "cumprod(0)[t - 1]")).says(r"""
            This looks like $\bar\alpha_{t-1}$ where $\bar\alpha_t$ belongs (and at t = 0, the last of all).
            (4.4) has no t - 1 in it.
            Use `alpha_bar[t]`; index -1 means the last."""),
        Mistake("wrapped round at t = 0", mean_through_x0_wrapped).says(r"""
            This looks right everywhere but at t = 0.
            Which element is `alpha_bar[t - 1]` at t = 0?
            Index -1 is the *last*. Before the first step $\bar\alpha$ is 1; or use (4.4), which does without it."""),
        Mistake("cumsum for cumprod", ("cumprod", "cumsum")).says(r"""
            This looks like the running *sum* of all $\alpha$.
            Every step *multiplies* what is left of the image.
            `cumprod` instead of `cumsum`."""),
        Mistake("betas added up", ("alpha.cumprod(0)[t]", "1 - beta.cumsum(0)[t]")).says(r"""
            This looks like $\bar\alpha_t = 1 - (\beta_0 + \dots + \beta_t)$.
            It is nearly right while all $\beta$ are tiny. But can $\bar\alpha_t$ fall below 0?
            Multiply the $\alpha = 1-\beta$ of all steps."""),
    ),
    consequence="This one line is the heart of sampling. The slip with the bar makes the step at t = 999 multiply by "
    "157 instead of 1.01.",
)

"""Exercises of notebook 04: from one guess to another, the weight of the loss, the loss, and the step back."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ddpm_lesson.lesson.kit.exercise import Exercise, Mistake


def numbers(*shape: int, seed: int) -> Tensor:
    """Standard normal numbers, the same every time."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def over(values: Tensor, like: Tensor) -> Tensor:
    """(B,) -> (B, 1, ..., 1), to broadcast over the batch ``like``."""
    return values.view(-1, *[1] * (like.ndim - 1))


BETA = torch.linspace(0.02, 0.6, 8)  # a short schedule on which no two formulas look alike
ALPHA_BAR = (1 - BETA).cumprod(0)


def coefficients(t: int, beta: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """beta, alpha and alpha_bar of step t."""
    return beta[t], 1 - beta[t], (1 - beta).cumprod(0)[t]


# predict_x0

check_predict_x0 = Exercise(
    function="predict_x0",
    solution=lambda xt, eps, alpha_bar: (xt - (1 - alpha_bar) ** 0.5 * eps) / alpha_bar**0.5,
    cases=[
        (numbers(4, 1, 2, 2, seed=1), numbers(4, 1, 2, 2, seed=2), 0.9),
        (numbers(5, seed=3), numbers(5, seed=4), 0.3),
        (numbers(2, 3, seed=5), numbers(2, 3, seed=6), 0.05),
    ],
    mistakes=(
        Mistake("variance for std", lambda xt, eps, alpha_bar: (xt - (1 - alpha_bar) * eps) / alpha_bar**0.5).says(r"""
            This looks like the noise multiplied by $1-\bar\alpha_t$, its variance.
            Which number multiplies `eps` in the forward formula: a variance or a standard deviation?
            $x_t = \sqrt{\bar\alpha_t}\,x_0 + \sqrt{1-\bar\alpha_t}\,\epsilon$: take the root of $1-\bar\alpha_t$."""),
        Mistake(
            "alpha_bar without its root", lambda xt, eps, alpha_bar: (xt - (1 - alpha_bar) ** 0.5 * eps) / alpha_bar
        ).says(r"""
            This looks like a division by $\bar\alpha_t$ instead of its root.
            Look at what multiplies `x0` in the forward formula, and divide by exactly that.
            Divide by $\sqrt{\bar\alpha_t}$: `alpha_bar ** 0.5`."""),
        Mistake("no roots at all", lambda xt, eps, alpha_bar: (xt - (1 - alpha_bar) * eps) / alpha_bar).says(r"""
            This looks like both coefficients without their roots.
            $\bar\alpha_t$ and $1-\bar\alpha_t$ are shares of *variance*. Data and noise take their roots.
            Put `** 0.5` on both."""),
        Mistake("sign", lambda xt, eps, alpha_bar: (xt + (1 - alpha_bar) ** 0.5 * eps) / alpha_bar**0.5).says("""
            This looks like noise added where it has to be taken away.
            `xt` already holds the noise. What must you do to get rid of it?
            Subtract: `xt - ...`."""),
        Mistake("not divided", lambda xt, eps, alpha_bar: xt - (1 - alpha_bar) ** 0.5 * eps).says(r"""
            This looks like $\sqrt{\bar\alpha_t}\,x_0$, the data still dimmed.
            With the noise gone, is what is left `x0` itself, or `x0` times something?
            Divide what you have by $\sqrt{\bar\alpha_t}$."""),
        Mistake(
            "multiplied instead of divided",
            lambda xt, eps, alpha_bar: (xt - (1 - alpha_bar) ** 0.5 * eps) * alpha_bar**0.5,
        ).says(r"""
            This looks like a multiplication by $\sqrt{\bar\alpha_t}$ where a division belongs.
            The forward process dims `x0`; on the way back it has to become brighter.
            $\sqrt{\bar\alpha_t}\,x_0 = x_t - \dots$; divide both sides."""),
        Mistake(
            "only the noise divided", lambda xt, eps, alpha_bar: xt - (1 - alpha_bar) ** 0.5 * eps / alpha_bar**0.5
        ).says(r"""
            This looks like missing brackets: only the noise is divided by $\sqrt{\bar\alpha_t}$.
            Python divides before it subtracts.
            Write `(xt - ...) / ...` with brackets around the whole difference."""),
        Mistake(
            "only xt divided", lambda xt, eps, alpha_bar: xt / alpha_bar**0.5 - (1 - alpha_bar) ** 0.5 * eps
        ).says(r"""
            This looks like missing brackets: only `xt` is divided by $\sqrt{\bar\alpha_t}$.
            The noise has to be taken away first. What is left is divided as a whole.
            Write `(xt - ...)`, and divide this bracket."""),
        Mistake("noise unscaled", lambda xt, eps, alpha_bar: (xt - eps) / alpha_bar**0.5).says(r"""
            This looks like `eps` taken away as it is, without its factor.
            `eps` has variance 1. How much of it was mixed into `xt`?
            $x_t$ holds $\sqrt{1-\bar\alpha_t}\,\epsilon$: take that away."""),
        Mistake(
            "one minus the root", lambda xt, eps, alpha_bar: (xt - (1 - alpha_bar**0.5) * eps) / alpha_bar**0.5
        ).says(r"""
            This looks like $1-\sqrt{\bar\alpha_t}$ in front of the noise.
            The *variances* of image and noise add up to 1. What follows for the factors?
            Subtract first, then take the root: `(1 - alpha_bar) ** 0.5`."""),
        Mistake(
            "the other half", lambda xt, eps, alpha_bar: (xt - alpha_bar**0.5 * eps) / (1 - alpha_bar) ** 0.5
        ).says(r"""
            This looks like the other half of (4.3), with the noise where the image was.
            Which factor belongs to the image in the forward formula, and which to the noise?
            $\sqrt{1-\bar\alpha_t}$ goes with `eps`, and $\sqrt{\bar\alpha_t}$ divides."""),
        Mistake(
            "clipped", lambda xt, eps, alpha_bar: ((xt - (1 - alpha_bar) ** 0.5 * eps) / alpha_bar**0.5).clamp(-1, 1)
        ).says("""
            This looks like the right answer, clipped to [-1, 1].
            Images live there, but (4.3) does not know that.
            Leave the `clamp` away: clipping is a step of its own, which the sampler takes."""),
        Mistake(
            "forward again", lambda xt, eps, alpha_bar: alpha_bar**0.5 * xt + (1 - alpha_bar) ** 0.5 * eps
        ).says(r"""
            This looks like the forward formula applied to `xt`: it adds noise once more.
            Here `xt` is known and `x0` is wanted: solve the forward formula for `x0`.
            Bring $\sqrt{1-\bar\alpha_t}\,\epsilon$ to the other side, then divide by $\sqrt{\bar\alpha_t}$."""),
    ),
    consequence="With it, every guess of the noise is a guess of the image. The package clips this guess to [-1, 1], "
    "where images live, before it goes on.",
)


# mean_from_eps


def mean_with(
    front: Callable[..., Tensor], noise: Callable[..., Tensor], sign: int = -1
) -> Callable[[Tensor, Tensor, int, Tensor], Tensor]:
    """A learner's mean: ``front`` (xt +- ``noise`` eps), both functions of beta, alpha and alpha_bar."""

    def mean(xt: Tensor, eps: Tensor, t: int, beta: Tensor) -> Tensor:
        b, a, a_bar = coefficients(t, beta)
        return front(b, a, a_bar) * (xt + sign * noise(b, a, a_bar) * eps)

    return mean


def mean_after(product: Callable[[int, Tensor], Tensor]) -> Callable[[Tensor, Tensor, int, Tensor], Tensor]:
    """A learner's mean, right but for alpha_bar, which is ``product(t, beta)``."""

    def mean(xt: Tensor, eps: Tensor, t: int, beta: Tensor) -> Tensor:
        return (xt - beta[t] / (1 - product(t, beta)).sqrt() * eps) / (1 - beta[t]).sqrt()

    return mean


def mean_with_bracket_slip(xt: Tensor, eps: Tensor, t: int, beta: Tensor) -> Tensor:
    """1 / sqrt(alpha) reaches only the noise."""
    b, a, a_bar = coefficients(t, beta)
    return xt - b / (1 - a_bar).sqrt() * eps / a.sqrt()


def mean_through_x0_wrapped(xt: Tensor, eps: Tensor, t: int, beta: Tensor) -> Tensor:
    """Through x0 and the posterior, where alpha_bar[t - 1] is the last one at t = 0."""
    b, a, a_bar = coefficients(t, beta)
    before = (1 - beta).cumprod(0)[t - 1]
    x0 = (xt - (1 - a_bar).sqrt() * eps) / a_bar.sqrt()
    return (before.sqrt() * b * x0 + a.sqrt() * (1 - before) * xt) / (1 - a_bar)


def one_over_root_alpha(b: Tensor, a: Tensor, a_bar: Tensor) -> Tensor:
    """The right factor in front of the bracket."""
    return 1 / a.sqrt()


def right_noise(b: Tensor, a: Tensor, a_bar: Tensor) -> Tensor:
    """The right factor of the noise."""
    return b / (1 - a_bar).sqrt()


check_mean_from_eps = Exercise(
    function="mean_from_eps",
    solution=mean_with(one_over_root_alpha, right_noise),
    cases=[
        (numbers(4, 1, 2, 2, seed=1), numbers(4, 1, 2, 2, seed=2), 5, BETA),
        (numbers(5, seed=3), numbers(5, seed=4), 0, BETA),
        (numbers(2, 3, seed=5), numbers(2, 3, seed=6), 3, torch.linspace(1e-4, 0.02, 100)),
    ],
    mistakes=(
        Mistake("alpha_bar for alpha in front", mean_with(lambda b, a, a_bar: 1 / a_bar.sqrt(), right_noise)).says(r"""
            This looks like $1/\sqrt{\bar\alpha_t}$ in front of the bracket.
            This formula undoes *one* step. How much did one step dim the image?
            One step multiplies by $\sqrt{\alpha_t}$, so the factor in front is $1/\sqrt{\alpha_t}$, without a bar."""),
        Mistake("root of beta", mean_with(one_over_root_alpha, lambda b, a, a_bar: (b / (1 - a_bar)).sqrt())).says(r"""
            This looks like $\sqrt{\beta_t}$ in the numerator.
            Compare the numerator of the noise's factor in (4.4) with yours.
            It is $\beta_t$ itself over $\sqrt{1-\bar\alpha_t}$: only the denominator has a root."""),
        Mistake("no root below", mean_with(one_over_root_alpha, lambda b, a, a_bar: b / (1 - a_bar))).says(r"""
            This looks like $\beta_t / (1-\bar\alpha_t)$, without the root below.
            The noise in $x_t$ has standard deviation $\sqrt{1-\bar\alpha_t}$.
            Use $\beta_t / \sqrt{1-\bar\alpha_t}$."""),
        Mistake(
            "all the noise removed", mean_with(one_over_root_alpha, lambda b, a, a_bar: (1 - a_bar).sqrt())
        ).says(r"""
            This looks like all the noise removed in one step.
            $\sqrt{1-\bar\alpha_t}\,\epsilon$ is *all* noise in $x_t$. One step back removes only a share of it.
            The share is $\beta_t / (1-\bar\alpha_t)$; that leaves $\beta_t/\sqrt{1-\bar\alpha_t}$ times `eps`."""),
        Mistake(
            "alpha for alpha_bar below", mean_with(one_over_root_alpha, lambda b, a, a_bar: b / (1 - a).sqrt())
        ).says(r"""
            This looks like $1-\alpha_t$ below, where $1-\bar\alpha_t$ belongs, or (the same) like $\sqrt{\beta_t}$
                times `eps`.
            The noise that is guessed is that of all steps so far, not that of the last one.
            Take the running product first: `alpha_bar = (1 - beta).cumprod(0)[t]`."""),
        Mistake("sign", mean_with(one_over_root_alpha, right_noise, sign=1)).says("""
            This looks like noise added where it has to be taken away.
            The step back has less noise than `xt`.
            The bracket is `xt - ... * eps`."""),
        Mistake("alpha without its root", mean_with(lambda b, a, a_bar: 1 / a, right_noise)).says(r"""
            This looks like $1/\alpha_t$ in front of the bracket.
            The forward step multiplies the image by $\sqrt{\alpha_t}$.
            Divide by $\sqrt{\alpha_t}$."""),
        Mistake("not divided", mean_with(lambda b, a, a_bar: torch.ones(()), right_noise)).says(r"""
            This looks like the bracket alone, without $1/\sqrt{\alpha_t}$.
            Besides adding noise, the forward step dims the image. Undo that as well.
            Divide the bracket by $\sqrt{\alpha_t}$."""),
        Mistake(
            "one step off", lambda xt, eps, t, beta: mean_with(one_over_root_alpha, right_noise)(xt, eps, t - 1, beta)
        ).says("""
            This looks like the coefficients of step t - 1.
            In code the index t is the step itself: no shift is needed.
            Use `beta[t]`, and the product up to *and including* t."""),
        Mistake("only the noise divided", mean_with_bracket_slip).says(r"""
            This looks like missing brackets: $1/\sqrt{\alpha_t}$ reaches only the noise.
            Python divides before it subtracts, and the whole bracket has to be divided.
            Write `(xt - ... * eps) / alpha[t] ** 0.5`."""),
        Mistake("multiplied instead of divided", mean_with(lambda b, a, a_bar: a.sqrt(), right_noise)).says(r"""
            This looks like a multiplication by $\sqrt{\alpha_t}$ where a division belongs.
            The forward step dims the image; the step back has to make it brighter.
            Divide by `alpha[t] ** 0.5`."""),
        Mistake(
            "the image at once", mean_with(lambda b, a, a_bar: 1 / a_bar.sqrt(), lambda b, a, a_bar: (1 - a_bar).sqrt())
        ).says(r"""
            This looks like $\hat x_0$, the answer to Exercise 1.
            It jumps to the image at once. Here *one* step back is asked for.
            Without bars in front, and only $\beta_t/\sqrt{1-\bar\alpha_t}$ of the noise: (4.4)."""),
        Mistake(
            "alpha for beta above", mean_with(one_over_root_alpha, lambda b, a, a_bar: a / (1 - a_bar).sqrt())
        ).says(r"""
            This looks like $\alpha_t$ in the numerator, where $\beta_t$ belongs.
            A single step adds little noise, so it has little to take away.
            The numerator is $\beta_t = 1-\alpha_t$."""),
        Mistake("product without t", mean_after(lambda t, beta: torch.prod(1 - beta[:t]))).says(r"""
            This looks like $\bar\alpha_t$ without its last factor $\alpha_t$.
            `beta[:t]` ends *before* t.
            Take `beta[: t + 1]`, or `(1 - beta).cumprod(0)[t]`."""),
        Mistake("alpha_bar of the step before", mean_after(lambda t, beta: (1 - beta).cumprod(0)[t - 1])).says(r"""
            This looks like $\bar\alpha_{t-1}$ where $\bar\alpha_t$ belongs (and at t = 0, the last of all).
            (4.4) has no t - 1 in it.
            Use `alpha_bar[t]`; index -1 means the last."""),
        Mistake("wrapped round at t = 0", mean_through_x0_wrapped).says(r"""
            This looks right everywhere but at t = 0.
            Which element is `alpha_bar[t - 1]` at t = 0?
            Index -1 is the *last*. Before the first step $\bar\alpha$ is 1; or use (4.4), which does without it."""),
        Mistake("cumsum for cumprod", mean_after(lambda t, beta: (1 - beta).cumsum(0)[t])).says(r"""
            This looks like the running *sum* of all $\alpha$.
            Every step *multiplies* what is left of the image.
            `cumprod` instead of `cumsum`."""),
        Mistake("betas added up", mean_after(lambda t, beta: 1 - beta.cumsum(0)[t])).says(r"""
            This looks like $\bar\alpha_t = 1 - (\beta_0 + \dots + \beta_t)$.
            It is nearly right while all $\beta$ are tiny. But can $\bar\alpha_t$ fall below 0?
            Multiply the $\alpha = 1-\beta$ of all steps."""),
    ),
    consequence="This one line is the heart of sampling. The slip with the bar makes the step at "
    "t = 999 multiply by 157 instead of 1.01.",
)


# loss_weight


def weight_with(formula: Callable[..., Tensor]) -> Callable[[int, Tensor], Tensor]:
    """A learner's weight as a function of beta, alpha and alpha_bar."""
    return lambda t, beta: formula(*coefficients(t, beta))


check_loss_weight = Exercise(
    function="loss_weight",
    solution=weight_with(lambda b, a, a_bar: b / (2 * a * (1 - a_bar))),
    cases=[(5, BETA), (1, BETA), (30, torch.linspace(1e-4, 0.02, 100)), (7, BETA)],
    mistakes=(
        Mistake("the 2 forgotten", weight_with(lambda b, a, a_bar: b / (a * (1 - a_bar)))).says(r"""
            This looks like twice the weight.
            The square of the distance is divided by *two* variances in (4.2).
            Start from $\beta_t^2 / (2\sigma_t^2\alpha_t(1-\bar\alpha_t))$ and keep the 2."""),
        Mistake("sigma2 forgotten", weight_with(lambda b, a, a_bar: b**2 / (2 * a * (1 - a_bar)))).says(r"""
            This looks like the weight without $\sigma_t^2$.
            Here $\sigma_t^2 = \beta_t$ stands in the denominator.
            One $\beta_t$ cancels: $\beta_t / (2\alpha_t(1-\bar\alpha_t))$."""),
        Mistake("alpha_bar for alpha", weight_with(lambda b, a, a_bar: b / (2 * a_bar * (1 - a_bar)))).says(r"""
            This looks like $\bar\alpha_t$ where $\alpha_t$ belongs.
            The factor comes from $1/\sqrt{\alpha_t}$ in (4.4), squared.
            $\beta_t / (2\alpha_t(1-\bar\alpha_t))$: one bar only."""),
        Mistake("alpha forgotten", weight_with(lambda b, a, a_bar: b / (2 * (1 - a_bar)))).says(r"""
            This looks like the weight without $\alpha_t$.
            (4.4) has $1/\sqrt{\alpha_t}$ in front. What does it become when the distance is squared?
            Divide by $\alpha_t$."""),
        Mistake("not squared", weight_with(lambda b, a, a_bar: 1 / (2 * a.sqrt() * (1 - a_bar).sqrt()))).says(r"""
            This looks like the factor of (4.4) itself over $2\sigma_t^2$, without the square.
            The loss is a *squared* distance, so every factor of the distance comes out squared.
            Square $\beta_t/\big(\sqrt{\alpha_t}\sqrt{1-\bar\alpha_t}\big)$, then divide by $2\sigma_t^2$."""),
        Mistake("sigma for sigma2", weight_with(lambda b, a, a_bar: b**1.5 / (2 * a * (1 - a_bar)))).says(r"""
            This looks like a division by $2\sigma_t$ instead of $2\sigma_t^2$.
            $\beta_t$ is the variance $\sigma_t^2$ already.
            Divide by $2\beta_t$."""),
        Mistake("the posterior's variance", weight_with(lambda b, a, a_bar: b / (2 * a * (1 - a_bar / a)))).says(r"""
            This looks like the weight for the other choice, $\sigma_t^2 = \tilde\beta_t$, or like $\bar\alpha_{t-1}$
                where $\bar\alpha_t$ belongs.
            The task asks for $\sigma_t^2 = \beta_t$, and (4.7) has no t - 1 in it.
            Put $\sigma_t^2 = \beta_t$ into (4.7); one $\beta_t$ cancels, and `alpha_bar[t]` stays."""),
        Mistake("no brackets below", weight_with(lambda b, a, a_bar: b / 2 * a * (1 - a_bar))).says("""
            This looks like missing brackets: only the 2 ends up below.
            Python reads `b / 2 * a` as `(b / 2) * a`.
            Put brackets around all that stands below: `beta[t] / (2 * ... * ...)`."""),
        Mistake("the last factor above", weight_with(lambda b, a, a_bar: b / (2 * a) * (1 - a_bar))).says(r"""
            This looks like a multiplication by $1-\bar\alpha_t$ where a division belongs.
            Where does your bracket below end?
            Divide by all of $2\,\alpha_t\,(1-\bar\alpha_t)$."""),
        Mistake(
            "one step off", lambda t, beta: weight_with(lambda b, a, a_bar: b / (2 * a * (1 - a_bar)))(t - 1, beta)
        ).says("""
            This looks like the weight of step t - 1.
            In code the index t is the step itself.
            Use index `t` everywhere."""),
        Mistake("root below", weight_with(lambda b, a, a_bar: b / (2 * a * (1 - a_bar).sqrt()))).says(r"""
            This looks like $\sqrt{1-\bar\alpha_t}$, not squared.
            The root stands in (4.4). What becomes of it in the square of the distance?
            Squared, it is $1-\bar\alpha_t$."""),
        Mistake("alpha for alpha_bar", weight_with(lambda b, a, a_bar: b / (2 * a * (1 - a)))).says(r"""
            This looks like $1-\alpha_t$ where $1-\bar\alpha_t$ belongs.
            The last factor of (4.7) has a bar: it is about the noise of all steps so far.
            Take the running product: `(1 - beta).cumprod(0)[t]`."""),
        Mistake("beta cancelled twice", weight_with(lambda b, a, a_bar: 1 / (2 * a * (1 - a_bar)))).says(r"""
            This looks like the weight without any $\beta_t$.
            Above stands $\beta_t^2$, below $\sigma_t^2 = \beta_t$. What is left?
            One $\beta_t$ stays above."""),
    ),
    consequence="Remember it: section 5 asks what happens when this number is left out.",
)


# simple_loss


def toy_model(xt: Tensor, t: Tensor) -> Tensor:
    """A noise predictor that depends on everything it is given.

    Raises:
        ValueError: unless t holds one time an image.
    """
    if t.ndim != 1:
        raise ValueError(f"eps_model wants t as it is, one time an image, shape ({len(xt)},); got {tuple(t.shape)}")
    return torch.tanh(1.3 * xt + 0.2) * (1 + over(t.float(), xt) / 5)


def loss_with(
    mix: Callable[..., Tensor] | None = None,
    target: Callable[..., Tensor] = lambda x0, eps: eps,
    reduce: Callable[[Tensor], Tensor] = lambda error: (error**2).mean(),
    see: Callable[..., tuple[Tensor, Tensor]] = lambda xt, x0, t: (xt, t),
) -> Callable[..., Tensor]:
    """A learner's loss: how x_t is mixed, what the network sees, what it should say, how errors become one number."""

    def loss(eps_model: Callable[..., Tensor], x0: Tensor, t: Tensor, eps: Tensor, alpha_bar: Tensor) -> Tensor:
        a_bar = over(alpha_bar[t], x0)
        xt = (mix or forward_mix)(x0, eps, a_bar)
        return reduce(eps_model(*see(xt, x0, t)) - target(x0, eps))

    return loss


def forward_mix(x0: Tensor, eps: Tensor, a_bar: Tensor) -> Tensor:
    """Ho et al. 2020, Eq. 4."""
    return a_bar.sqrt() * x0 + (1 - a_bar).sqrt() * eps


def loss_with_own_noise(eps_model: Any, x0: Tensor, t: Tensor, eps: Tensor, alpha_bar: Tensor) -> Tensor:
    """The right loss, with noise drawn inside."""
    return loss_with()(eps_model, x0, t, torch.randn_like(x0), alpha_bar)


def loss_towards_xt(eps_model: Any, x0: Tensor, t: Tensor, eps: Tensor, alpha_bar: Tensor) -> Tensor:
    """The network's answer compared with what it was shown."""
    xt = forward_mix(x0, eps, over(alpha_bar[t], x0))
    return F.mse_loss(eps_model(xt, t), xt)


def loss_of_the_step_before(eps_model: Any, x0: Tensor, t: Tensor, eps: Tensor, alpha_bar: Tensor) -> Tensor:
    """alpha_bar[t - 1] in the mix, t told to the network."""
    return F.mse_loss(eps_model(forward_mix(x0, eps, over(alpha_bar[t - 1], x0)), t), eps)


def loss_without_reshape(eps_model: Any, x0: Tensor, t: Tensor, eps: Tensor, alpha_bar: Tensor) -> Tensor:
    """alpha_bar of image i used for column i of every image."""
    a_bar = alpha_bar[t]
    return F.mse_loss(eps_model(a_bar.sqrt() * x0 + (1 - a_bar).sqrt() * eps, t), eps)


def loss_case(channels: int, seed: int) -> tuple[Any, ...]:
    """A model, images as wide as the batch is long (so that a missing reshape goes unnoticed), times and noise."""
    shape = (4, channels, 4, 4)
    t = torch.randint(len(ALPHA_BAR), (4,), generator=torch.Generator().manual_seed(seed))
    return toy_model, numbers(*shape, seed=seed + 1).tanh(), t, numbers(*shape, seed=seed + 2), ALPHA_BAR


check_simple_loss = Exercise(
    function="simple_loss",
    solution=loss_with(),
    cases=[loss_case(1, 10), loss_case(3, 20), loss_case(2, 30)],
    mistakes=(
        Mistake("x0 as the target", loss_with(target=lambda x0, eps: x0)).says("""
            This looks like the network's answer compared with the image.
            What does the network guess in this notebook: the image or the noise?
            Compare `eps_model(xt, t)` with `eps`."""),
        Mistake("alpha_bar not reshaped", loss_without_reshape).says(r"""
            This looks like $\bar\alpha_t$ of image i used for column i of every image.
            `alpha_bar[t]` is (B,), and PyTorch lines shapes up from the *right*: with the width, not with the batch.
            Give it as many dimensions as the images have: `alpha_bar[t].view(-1, 1, 1, 1)`."""),
        Mistake("variance for std", loss_with(mix=lambda x0, eps, a: a.sqrt() * x0 + (1 - a) * eps)).says(r"""
            This looks like noise multiplied by its variance $1-\bar\alpha_t$.
            Look at both coefficients of the forward formula: is one root missing?
            `(1 - alpha_bar_t).sqrt() * eps`."""),
        Mistake("no roots at all", loss_with(mix=lambda x0, eps, a: a * x0 + (1 - a) * eps)).says(r"""
            This looks like a mix of $\bar\alpha_t$ parts image and $1-\bar\alpha_t$ parts noise.
            These are shares of variance. Which numbers multiply the image and the noise themselves?
            Take the root of both."""),
        Mistake("the network sees x0", loss_with(see=lambda xt, x0, t: (x0, t))).says("""
            This looks like the network being shown the clean image.
            There is no noise to be found in `x0`.
            Mix `xt` first, and call `eps_model(xt, t)`."""),
        Mistake("one time for all", loss_with(see=lambda xt, x0, t: (xt, t[:1].expand(len(t))))).says("""
            This looks like the first image's time told for every image.
            Every image of the batch has a time of its own.
            Hand the whole `t`, shape (B,), to the network."""),
        Mistake("no time told", loss_with(see=lambda xt, x0, t: (xt, torch.zeros_like(t)))).says("""
            This looks like the network being told that every image is at t = 0.
            How noisy an image is, the network has to learn from `t`.
            Call `eps_model(xt, t)` with the times you were given."""),
        Mistake("sum for mean", loss_with(reduce=lambda error: (error**2).sum())).says("""
            This looks like a sum over all values instead of a mean.
            With a sum, twice as large images would mean twice as large gradients.
            End with `.mean()`."""),
        Mistake(
            "mean over the batch only", loss_with(reduce=lambda error: (error**2).flatten(1).sum(1).mean())
        ).says("""
            This looks like a sum over the values of an image and a mean over the batch only.
            The paper's square of a norm is that sum; code takes the mean over values too. What does that change?
            Only the scale, which is why everybody does it: use `.mean()` over everything."""),
        Mistake("not squared", loss_with(reduce=lambda error: error.abs().mean())).says("""
            This looks like absolute differences.
            The Kullback-Leibler divergence of Gaussians gave *squares*.
            Square the difference before you take the mean."""),
        Mistake(
            "coefficients swapped", loss_with(mix=lambda x0, eps, a: (1 - a).sqrt() * x0 + a.sqrt() * eps)
        ).says(r"""
            This looks like the two coefficients of the forward formula swapped.
            At small t, $\bar\alpha_t$ is nearly 1, and `xt` should be nearly `x0`.
            `a.sqrt() * x0 + (1 - a).sqrt() * eps`."""),
        Mistake(
            "root forgotten on the image", loss_with(mix=lambda x0, eps, a: a * x0 + (1 - a).sqrt() * eps)
        ).says(r"""
            This looks like the image multiplied by $\bar\alpha_t$, without the root.
            Compare the image's factor with the forward formula.
            `a.sqrt() * x0`."""),
        Mistake("the step before", loss_of_the_step_before).says(r"""
            This looks like $\bar\alpha_{t-1}$ in the mix.
            In code the index t is the step itself, and at t = 0 index -1 is the last.
            Use `alpha_bar[t]`."""),
        Mistake("xt as the target", loss_towards_xt).says("""
            This looks like the network's answer compared with `xt`, which it has just been shown.
            What was hidden in `xt`, for the network to find?
            The target is the noise that you mixed in: `eps`."""),
        Mistake("own noise", loss_with_own_noise).says("""
            This looks like a right loss for noise that you drew yourself.
            The noise is given here, so that your loss can be checked.
            Use the argument `eps`, both in the mix and as the target."""),
        Mistake("one loss an image", loss_with(reduce=lambda error: (error**2).flatten(1).mean(1))).says("""
            This looks like one loss for each image, shape (B,).
            A gradient step needs a single number.
            Take the mean over the batch as well."""),
        Mistake("a half in front", loss_with(reduce=lambda error: 0.5 * (error**2).mean())).says("""
            This looks like half of the loss.
            The 1/2 of the divergence belongs to the weight, and the weight has been dropped.
            The mean of the squares, with nothing in front."""),
        Mistake("the norm, not its square", loss_with(reduce=lambda error: error.norm())).says("""
            This looks like the root of the sum of all squares.
            (4.8) has a *squared* norm, and here the mean is asked for.
            `(... ** 2).mean()`."""),
    ),
    consequence="That is all there is to training: `DenoiseDiffusion.loss` draws `t` and `eps`, and does this.",
)


# reverse_step


def step_with(
    mean: Callable[..., Tensor] | None = None, noise: Callable[[Tensor, int], Any] | None = None
) -> Callable[..., Tensor]:
    """A learner's step back: a mean, and what multiplies the fresh noise as a function of the schedule and t."""

    def step(xt: Tensor, eps: Tensor, t: int, beta: Tensor, z: Tensor) -> Tensor:
        scale = (noise or right_scale)(beta, t)
        return (mean or check_mean_from_eps.solution)(xt, eps, t, beta) + scale * z

    return step


def right_scale(beta: Tensor, t: int) -> Any:
    """sigma = sqrt(beta), and none at the last step."""
    return beta[t].sqrt() if t > 0 else 0.0


def posterior_std(beta: Tensor, t: int) -> Any:
    """Root of the posterior's variance, 0 at t = 0."""
    b, a, a_bar = coefficients(t, beta)
    return (b * (1 - a_bar / a) / (1 - a_bar)).sqrt() if t > 0 else 0.0


def with_wrong_mean(mistake: Mistake) -> Mistake:
    """A step with the right noise on a mean that is wrong in a way known from Exercise 2."""
    looks_like, *hints = mistake.words
    words = (f"The fresh noise is right. The mean is wrong, as it may be in Exercise 2. {looks_like}", *hints)
    return replace(mistake, name=f"mean: {mistake.name}", function=step_with(mean=mistake.function), words=words)


check_reverse_step = Exercise(
    function="reverse_step",
    solution=step_with(),
    cases=[
        (numbers(4, 1, 2, 2, seed=1), numbers(4, 1, 2, 2, seed=2), 5, BETA, numbers(4, 1, 2, 2, seed=3)),
        (numbers(5, seed=4), numbers(5, seed=5), 0, BETA, numbers(5, seed=6)),
        (numbers(2, 3, seed=7), numbers(2, 3, seed=8), 2, BETA, numbers(2, 3, seed=9)),
        (numbers(3, 2, seed=10), numbers(3, 2, seed=11), 1, BETA, numbers(3, 2, seed=12)),
    ],
    mistakes=(
        Mistake("noise at the last step", step_with(noise=lambda beta, t: beta[t].sqrt())).says("""
            This looks right everywhere but at t = 0, where it still adds noise.
            After t = 0 nobody comes to remove the noise.
            Add `sigma * z` only if `t > 0`."""),
        Mistake("variance for std", step_with(noise=lambda beta, t: beta[t] if t > 0 else 0.0)).says(r"""
            This looks like fresh noise multiplied by the variance $\beta_t$.
            To get noise of variance $\beta_t$ from `z`, which has variance 1, multiply by ...?
            Multiply by `beta[t] ** 0.5`."""),
        Mistake("variance for std, and at the last step too", step_with(noise=lambda beta, t: beta[t])).says(r"""
            This looks like fresh noise multiplied by the variance $\beta_t$, and added at t = 0 as well.
            Two things: which power of beta multiplies `z`, and what happens at the very last step?
            Multiply by `beta[t] ** 0.5`, and by nothing at t = 0."""),
        Mistake("no fresh noise", step_with(noise=lambda beta, t: 0.0)).says(r"""
            This looks like the mean alone.
            A step back is a *draw* from a Gaussian.
            Add $\sqrt{\beta_t}\,z$ for t > 0."""),
        Mistake("the wrong end", step_with(noise=lambda beta, t: beta[t].sqrt() if t == 0 else 0.0)).says("""
            This looks like fresh noise at t = 0 only.
            t = 0 is the last step, the one without noise.
            Turn the condition round: noise if `t > 0`."""),
        Mistake("the paper's t", step_with(noise=lambda beta, t: beta[t].sqrt() if t > 1 else 0.0)).says("""
            This looks like no noise at t = 1, which would be right in the paper's count.
            The paper counts from 1, code from 0. Which code index is the last step?
            Code index 0 is the paper's step 1: noise if `t > 0`."""),
        Mistake("noise unscaled", step_with(noise=lambda beta, t: float(t > 0))).says(r"""
            This looks like `z` added as it is.
            `z` has variance 1. Which variance should the fresh noise have?
            Multiply `z` by $\sigma_t = \sqrt{\beta_t}$."""),
        Mistake(
            "all the noise put back",
            step_with(noise=lambda beta, t: (1 - (1 - beta).cumprod(0)[t]).sqrt() if t > 0 else 0.0),
        ).says(r"""
            This looks like $\sqrt{1-\bar\alpha_t}\,z$.
            That is the noise of all steps so far. One step back adds the noise of one step.
            Without the bar: `(1 - alpha[t]) ** 0.5`, which is `beta[t] ** 0.5`."""),
        Mistake(
            "noise inside the bracket", step_with(noise=lambda beta, t: right_scale(beta, t) / (1 - beta[t]).sqrt())
        ).says(r"""
            This looks like the fresh noise inside the bracket, divided by $\sqrt{\alpha_t}$ as well.
            Mean first, then noise of exactly the variance that was asked for.
            Close the bracket and divide before you add `sigma * z`."""),
        Mistake("own noise", lambda xt, eps, t, beta, z: step_with()(xt, eps, t, beta, torch.randn_like(xt))).says("""
            This looks like noise that you drew yourself.
            It would sample just as well. But here `z` is given, so that your step can be checked.
            Use the argument `z`."""),
        Mistake("the posterior's variance", step_with(noise=posterior_std)).says(r"""
            This looks like the other choice, $\sigma_t^2 = \tilde\beta_t$.
            Here the task asks for $\sigma_t^2 = \beta_t$.
            The factor of `z` is `beta[t] ** 0.5`."""),
        *map(with_wrong_mean, check_mean_from_eps.mistakes),
    ),
    consequence="You have written Algorithm 2. The step without noise at the end is missing from quite a few "
    "implementations; look for it in the next one you read.",
)

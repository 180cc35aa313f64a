"""Exercises of notebook 04: from one guess to another, the weight of the loss, the loss, and the step back."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from ddpm_lesson.lesson.kit.exercise import Exercise, Mistake, numbers

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
        Mistake("halved for rooted", (") ** 0.5", ") / 2", "bar**0.5", "bar / 2")).says("""
            This looks like `** 1/2`: Python takes the power first, and then divides by 2.
            What is `9 ** 1/2`? It is not 3.
            Write `** 0.5`, or `** (1 / 2)`, or `.sqrt()`."""),
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
        Mistake(
            "halved for rooted", ("alpha_bar) ** 0.5", "alpha_bar) / 2", "alpha[t] ** 0.5", "alpha[t] / 2")
        ).says("""
            This looks like `** 1/2`: Python takes the power first, and then divides by 2.
            What is `9 ** 1/2`? It is not 3.
            Write `** 0.5`, or `** (1 / 2)`, or `.sqrt()`."""),
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


def loss_weight(t: int, beta: Tensor) -> Tensor:
    """What multiplies the squared distance of the noises in the bound: equation (4.7) with sigma^2 = beta."""
    alpha, alpha_bar = 1 - beta, (1 - beta).cumprod(0)
    return beta[t] / (2 * alpha[t] * (1 - alpha_bar[t]))


check_loss_weight = Exercise(
    solution=loss_weight,
    cases=[(5, BETA), (1, BETA), (0, BETA), (30, torch.linspace(1e-4, 0.02, 100)), (7, BETA)],
    mistakes=(
        Mistake("the 2 forgotten", ("2 * ", "")).says(r"""
            This looks like twice the weight.
            The square of the distance is divided by *two* variances in (4.2).
            Start from $\beta_t^2 / (2\sigma_t^2\alpha_t(1-\bar\alpha_t))$ and keep the 2."""),
        Mistake("sigma2 forgotten", ("beta[t]", "beta[t] ** 2")).says(r"""
            This looks like the weight without $\sigma_t^2$.
            Here $\sigma_t^2 = \beta_t$ stands in the denominator.
            One $\beta_t$ cancels: $\beta_t / (2\alpha_t(1-\bar\alpha_t))$."""),
        Mistake("alpha_bar for alpha", ("alpha[t]", "alpha_bar[t]")).says(r"""
            This looks like $\bar\alpha_t$ where $\alpha_t$ belongs.
            The factor comes from $1/\sqrt{\alpha_t}$ in (4.4), squared.
            $\beta_t / (2\alpha_t(1-\bar\alpha_t))$: one bar only."""),
        Mistake("alpha forgotten", ("alpha[t] * ", "")).says(r"""
            This looks like the weight without $\alpha_t$.
            (4.4) has $1/\sqrt{\alpha_t}$ in front. What does it become when the distance is squared?
            Divide by $\alpha_t$."""),
        Mistake(
            "not squared", ("beta[t]", "1", "alpha[t] * (1 - alpha_bar[t])", "(alpha[t] * (1 - alpha_bar[t])) ** 0.5")
        ).says(r"""
            This looks like the factor of (4.4) itself over $2\sigma_t^2$, without the square.
            The loss is a *squared* distance, so every factor of the distance comes out squared.
            Square $\beta_t/\big(\sqrt{\alpha_t}\sqrt{1-\bar\alpha_t}\big)$, then divide by $2\sigma_t^2$."""),
        Mistake("sigma for sigma2", ("beta[t]", "beta[t] ** 1.5")).says(r"""
            This looks like a division by $2\sigma_t$ instead of $2\sigma_t^2$.
            $\beta_t$ is the variance $\sigma_t^2$ already.
            Divide by $2\beta_t$."""),
        Mistake("the posterior's variance", ("alpha_bar[t]", "alpha_bar[t] / alpha[t]")).says(r"""
            This looks like the weight for the other choice, $\sigma_t^2 = \tilde\beta_t$, or like $\bar\alpha_{t-1}$
                where $\bar\alpha_t$ belongs.
            The task asks for $\sigma_t^2 = \beta_t$, and (4.7) has no t - 1 in it.
            Put $\sigma_t^2 = \beta_t$ into (4.7); one $\beta_t$ cancels, and `alpha_bar[t]` stays."""),
        Mistake("no brackets below", ("(2 *", "2 *", "]))", "])")).says("""
            This looks like missing brackets: only the 2 ends up below.
            Python reads `b / 2 * a` as `(b / 2) * a`.
            Put brackets around all that stands below: `beta[t] / (2 * ... * ...)`."""),
        Mistake("the last factor above", ("alpha[t] *", "alpha[t]) *", "]))", "])")).says(r"""
            This looks like a multiplication by $1-\bar\alpha_t$ where a division belongs.
            Where does your bracket below end?
            Divide by all of $2\,\alpha_t\,(1-\bar\alpha_t)$."""),
        Mistake("one step off", lambda t, beta: loss_weight(t - 1, beta)).says("""
            This looks like the weight of step t - 1.
            In code the index t is the step itself.
            Use index `t` everywhere."""),
        Mistake("root below", ("(1 - alpha_bar[t])", "(1 - alpha_bar[t]) ** 0.5")).says(r"""
            This looks like $\sqrt{1-\bar\alpha_t}$, not squared.
            The root stands in (4.4). What becomes of it in the square of the distance?
            Squared, it is $1-\bar\alpha_t$."""),
        Mistake("alpha for alpha_bar", ("alpha_bar[t]", "alpha[t]")).says(r"""
            This looks like $1-\alpha_t$ where $1-\bar\alpha_t$ belongs.
            The last factor of (4.7) has a bar: it is about the noise of all steps so far.
            Take the running product: `(1 - beta).cumprod(0)[t]`."""),
    ),
    consequence="Remember it: section 5 asks what happens when this number is left out.",
)


class ToyModel(nn.Module):
    """A noise predictor that depends on everything it is given, and has a weight to train."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(1.3))

    def forward(self, xt: Tensor, t: Tensor) -> Tensor:
        """(B, C, H, W), (B,) -> (B, C, H, W).

        Raises:
            ValueError: unless t holds one time an image.
        """
        if t.ndim != 1:
            raise ValueError(f"eps_model wants t as it is, one time an image, shape ({len(xt)},); got {tuple(t.shape)}")
        return torch.tanh(self.scale * xt + 0.2) * (1 + t.view(-1, 1, 1, 1) / 5)


def simple_loss(
    eps_model: Callable[[Tensor, Tensor], Tensor], x0: Tensor, t: Tensor, eps: Tensor, alpha_bar: Tensor
) -> Tensor:
    """L_simple of images (B, C, H, W) at times (B,): equation (4.8)."""
    a = alpha_bar[t].view(-1, 1, 1, 1)
    xt = a.sqrt() * x0 + (1 - a).sqrt() * eps
    error = eps_model(xt, t) - eps
    return (error**2).mean()


def loss_case(channels: int, width: int, seed: int) -> tuple[Callable[..., Tensor], Tensor, Tensor, Tensor, Tensor]:
    """A model, images (4, channels, 3, width), times with both ends among them, and noise."""
    shape = (4, channels, 3, width)
    t = torch.randint(len(ALPHA_BAR), (4,), generator=torch.Generator().manual_seed(seed))
    t[1], t[2] = 0, len(ALPHA_BAR) - 1
    return ToyModel(), numbers(*shape, seed=seed + 1).tanh(), t, numbers(*shape, seed=seed + 2), ALPHA_BAR


check_simple_loss = Exercise(
    solution=simple_loss,
    cases=[loss_case(1, 4, seed=10), loss_case(3, 4, seed=20), loss_case(2, 5, seed=30)],
    mistakes=(
        Mistake("x0 as the target", ("t) - eps", "t) - x0")).says("""
            This looks like the network's answer compared with the image.
            What does the network guess in this notebook: the image or the noise?
            Compare `eps_model(xt, t)` with `eps`."""),
        Mistake("alpha_bar not reshaped", (".view(-1, 1, 1, 1)", "")).says(r"""
            This looks like $\bar\alpha_t$ of image i used for column i of every image.
            `alpha_bar[t]` is (B,), and PyTorch lines shapes up from the *right*: with the width, not with the batch.
            Give it as many dimensions as the images have: `alpha_bar[t].view(-1, 1, 1, 1)`."""),
        Mistake("variance for std", ("(1 - a).sqrt()", "(1 - a)")).says(r"""
            This looks like noise multiplied by its variance $1-\bar\alpha_t$.
            Look at both coefficients of the forward formula: is one root missing?
            `(1 - alpha_bar_t).sqrt() * eps`."""),
        Mistake("halved for rooted", ("a.sqrt()", "a / 2", "(1 - a).sqrt()", "(1 - a) / 2")).says("""
            This looks like `** 1/2`: Python takes the power first, and then divides by 2.
            What is `9 ** 1/2`? It is not 3.
            Write `** 0.5`, or `** (1 / 2)`, or `.sqrt()`."""),
        Mistake("image not dimmed", ("a.sqrt() * x0", "x0")).says("""
            This looks like noise on top of the whole image.
            Compare the image's factor with the forward formula: it is not 1.
            `a.sqrt() * x0 + (1 - a).sqrt() * eps`."""),
        Mistake("noise scaled in place", ("(1 - a).sqrt() * eps", "eps.mul_((1 - a).sqrt())")).says("""
            This looks like noise that was scaled in place, so that the target is scaled noise as well.
            What does `eps` hold once `eps *= ...` or `eps.mul_(...)` has run?
            Mix with a new tensor, `(1 - a).sqrt() * eps`, and leave `eps` as it is for the comparison."""),
        Mistake("no roots at all", ("a.sqrt()", "a", "(1 - a).sqrt()", "(1 - a)")).says(r"""
            This looks like a mix of $\bar\alpha_t$ parts image and $1-\bar\alpha_t$ parts noise.
            These are shares of variance. Which numbers multiply the image and the noise themselves?
            Take the root of both."""),
        Mistake("the network sees x0", ("(xt, t)", "(x0, t)")).says("""
            This looks like the network being shown the clean image.
            There is no noise to be found in `x0`.
            Mix `xt` first, and call `eps_model(xt, t)`."""),
        Mistake("one time for all", ("(xt, t)", "(xt, t[:1].expand(len(t)))")).says("""
            This looks like the first image's time told for every image.
            Every image of the batch has a time of its own.
            Hand the whole `t`, shape (B,), to the network."""),
        Mistake("no time told", ("(xt, t)", "(xt, torch.zeros_like(t))")).says("""
            This looks like the network being told that every image is at t = 0.
            How noisy an image is, the network has to learn from `t`.
            Call `eps_model(xt, t)` with the times you were given."""),
        Mistake("sum for mean", (".mean()", ".sum()")).says("""
            This looks like a sum over all values instead of a mean.
            With a sum, twice as large images would mean twice as large gradients.
            End with `.mean()`."""),
        Mistake("mean over the batch only", (".mean()", ".flatten(1).sum(1).mean()")).says("""
            This looks like a sum over the values of an image and a mean over the batch only.
            The paper's square of a norm is that sum; code takes the mean over values too. What does that change?
            Only the scale, which is why everybody does it: use `.mean()` over everything."""),
        Mistake("not squared", ("(error**2)", "error.abs()")).says("""
            This looks like absolute differences.
            The Kullback-Leibler divergence of Gaussians gave *squares*.
            Square the difference before you take the mean."""),
        Mistake("coefficients swapped", ("= a.sqrt()", "= (1 - a).sqrt()", "+ (1 - a).sqrt()", "+ a.sqrt()")).says(r"""
            This looks like the two coefficients of the forward formula swapped.
            At small t, $\bar\alpha_t$ is nearly 1, and `xt` should be nearly `x0`.
            `a.sqrt() * x0 + (1 - a).sqrt() * eps`."""),
        Mistake("root forgotten on the image", ("a.sqrt()", "a")).says(r"""
            This looks like the image multiplied by $\bar\alpha_t$, without the root.
            Compare the image's factor with the forward formula.
            `a.sqrt() * x0`."""),
        Mistake("the step before", ("[t]", "[t - 1]")).says(r"""
            This looks like $\bar\alpha_{t-1}$ in the mix.
            In code the index t is the step itself, and at t = 0 index -1 is the last.
            Use `alpha_bar[t]`."""),
        Mistake("xt as the target", ("t) - eps", "t) - xt")).says("""
            This looks like the network's answer compared with `xt`, which it has just been shown.
            What was hidden in `xt`, for the network to find?
            The target is the noise that you mixed in: `eps`."""),
        Mistake("own noise", lambda model, x0, t, eps, a: simple_loss(model, x0, t, torch.randn_like(x0), a)).says("""
            This looks like a right loss for noise that you drew yourself.
            The noise is given here, so that your loss can be checked.
            Use the argument `eps`, both in the mix and as the target."""),
        Mistake("one loss an image", (".mean()", ".flatten(1).mean(1)")).says("""
            This looks like one loss for each image, shape (B,).
            A gradient step needs a single number.
            Take the mean over the batch as well."""),
        Mistake("a half in front", ("return", "return 0.5 *")).says("""
            This looks like half of the loss.
            The 1/2 of the divergence belongs to the weight, and the weight has been dropped.
            The mean of the squares, with nothing in front."""),
    ),
    consequence="That is all there is to training: `DenoiseDiffusion.loss` draws `t` and `eps`, and does this.",
)


def reverse_step(
    xt: Tensor, eps: Tensor, t: int, beta: Tensor, z: Tensor, mean: Callable[..., Tensor] = mean_from_eps
) -> Tensor:
    """One step of Algorithm 2, with sigma^2 = beta and ``z`` for the fresh noise."""
    sigma = beta[t] ** 0.5 if t > 0 else 0.0
    return mean(xt, eps, t, beta) + sigma * z


def posterior_var(t: int, beta: Tensor) -> Tensor:
    """Variance of x_{t-1} given x_t and x_0, for t > 0."""
    alpha_bar = (1 - beta).cumprod(0)
    return beta[t] * (1 - alpha_bar[t - 1]) / (1 - alpha_bar[t])


def with_wrong_mean(mistake: Mistake) -> Mistake:
    """A step with the right noise on a mean that is wrong in a way known from Exercise 2."""
    looks_like, *hints = mistake.words
    words = (f"The fresh noise is right. The mean is wrong, as it may be in Exercise 2. {looks_like}", *hints)
    return Mistake(f"mean: {mistake.name}", partial(reverse_step, mean=mistake.function), words)


check_reverse_step = Exercise(
    solution=reverse_step,
    cases=[
        (numbers(4, 1, 2, 2, seed=1), numbers(4, 1, 2, 2, seed=2), 5, BETA, numbers(4, 1, 2, 2, seed=3)),
        (numbers(5, seed=4), numbers(5, seed=5), 0, BETA, numbers(5, seed=6)),
        (numbers(2, 3, seed=7), numbers(2, 3, seed=8), 2, BETA, numbers(2, 3, seed=9)),
        (numbers(3, 2, seed=10), numbers(3, 2, seed=11), 1, BETA, numbers(3, 2, seed=12)),
        (numbers(2, 4, seed=13), numbers(2, 4, seed=14), 7, BETA, numbers(2, 4, seed=15)),
    ],
    mistakes=(
        Mistake("noise at the last step", (" if t > 0 else 0.0", "")).says("""
            This looks right everywhere but at t = 0, where it still adds noise.
            After t = 0 nobody comes to remove the noise.
            Add `sigma * z` only if `t > 0`."""),
        Mistake("variance for std", (" ** 0.5", "")).says(r"""
            This looks like fresh noise multiplied by the variance $\beta_t$.
            To get noise of variance $\beta_t$ from `z`, which has variance 1, multiply by ...?
            Multiply by `beta[t] ** 0.5`."""),
        Mistake("variance for std, and at the last step too", (" ** 0.5 if t > 0 else 0.0", "")).says(r"""
            This looks like fresh noise multiplied by the variance $\beta_t$, and added at t = 0 as well.
            Two things: which power of beta multiplies `z`, and what happens at the very last step?
            Multiply by `beta[t] ** 0.5`, and by nothing at t = 0."""),
        Mistake("the other end", ("t > 0", "t < len(beta) - 1")).says("""
            This looks like no noise at the *first* step back, t = T - 1, and noise at the last.
            Sampling runs from t = T - 1 down to t = 0. Which of the two is the last step?
            `sigma * z` if `t > 0`, and nothing at t = 0."""),
        Mistake("all the noise put back", ("beta[t]", "(1 - (1 - beta).cumprod(0)[t])")).says(r"""
            This looks like $\sqrt{1-\bar\alpha_t}\,z$.
            That is the noise of all steps so far. One step back adds the noise of one step.
            Without the bar: `(1 - alpha[t]) ** 0.5`, which is `beta[t] ** 0.5`."""),
        Mistake("halved for rooted", ("beta[t] ** 0.5", "beta[t] / 2")).says("""
            This looks like `** 1/2`: Python takes the power first, and then divides by 2.
            What is `9 ** 1/2`? It is not 3.
            Write `** 0.5`, or `** (1 / 2)`, or `.sqrt()`."""),
        Mistake("no fresh noise", (" + sigma * z", "")).says(r"""
            This looks like the mean alone.
            A step back is a *draw* from a Gaussian.
            Add $\sqrt{\beta_t}\,z$ for t > 0."""),
        Mistake("the wrong end", ("t > 0", "t == 0")).says("""
            This looks like fresh noise at t = 0 only.
            t = 0 is the last step, the one without noise.
            Turn the condition round: noise if `t > 0`."""),
        Mistake("the paper's t", ("t > 0", "t > 1")).says("""
            This looks like no noise at t = 1, which would be right in the paper's count.
            The paper counts from 1, code from 0. Which code index is the last step?
            Code index 0 is the paper's step 1: noise if `t > 0`."""),
        Mistake("noise unscaled", ("beta[t] ** 0.5", "1.0")).says(r"""
            This looks like `z` added as it is.
            `z` has variance 1. Which variance should the fresh noise have?
            Multiply `z` by $\sigma_t = \sqrt{\beta_t}$."""),
        Mistake("noise inside the bracket", ("sigma * z", "sigma * z / (1 - beta[t]) ** 0.5")).says(r"""
            This looks like the fresh noise inside the bracket, divided by $\sqrt{\alpha_t}$ as well.
            Mean first, then noise of exactly the variance that was asked for.
            Close the bracket and divide before you add `sigma * z`."""),
        Mistake("own noise", ("* z", "* torch.randn_like(xt)")).says("""
            This looks like noise that you drew yourself.
            It would sample just as well. But here `z` is given, so that your step can be checked.
            Use the argument `z`."""),
        Mistake("the posterior's variance", ("beta[t]", "posterior_var(t, beta)")).says(r"""
            This looks like the other choice, $\sigma_t^2 = \tilde\beta_t$.
            Here the task asks for $\sigma_t^2 = \beta_t$.
            The factor of `z` is `beta[t] ** 0.5`."""),
        *map(with_wrong_mean, check_mean_from_eps.known),
    ),
    consequence="You have written Algorithm 2. The step without noise at the end is missing from quite a few "
    "implementations; look for it in the next one you read.",
)

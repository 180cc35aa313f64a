"""The weight of the noise in the bound, and the loss without it."""

from collections.abc import Callable

import torch
from torch import Tensor

from ddpm_lesson.lesson.ch04_noise_prediction.exercises.guesses import ALPHA_BAR, BETA
from ddpm_lesson.lesson.kit.exercise import Exercise, Mistake, halved, numbers
from ddpm_lesson.lesson.kit.toy import Toy


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
    return Toy(), numbers(*shape, seed=seed + 1).tanh(), t, numbers(*shape, seed=seed + 2), ALPHA_BAR


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
        halved(),
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

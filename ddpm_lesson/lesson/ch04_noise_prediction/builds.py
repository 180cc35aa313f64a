"""What notebook 04 builds: the training of a noise predictor on a line, and the best variance of the step back."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from ddpm_lesson.lesson.ch04_noise_prediction.experiments import LINE, TinyNoise, floors, missed
from ddpm_lesson.lesson.kit.build import Build, Stage, unlike
from ddpm_lesson.lesson.kit.mixture import TWO_BUMPS
from ddpm_lesson.schedule import NoiseSchedule

SHORT = NoiseSchedule.linear(20, beta_start=0.01, beta_end=0.5).to(torch.float64)
SHORTER = NoiseSchedule.linear(12, beta_start=0.02, beta_end=0.6).to(torch.float64)


def train_noise(eps_model, optimizer, batches, alpha_bar):
    """One gradient step on the simple loss for each batch (B, D) of data; returns the losses, one a batch."""
    losses = []
    for x0 in batches:
        t = torch.randint(0, len(alpha_bar), (len(x0),))
        eps = torch.randn_like(x0)
        a = alpha_bar[t].view(-1, 1)
        xt = a.sqrt() * x0 + (1 - a).sqrt() * eps
        loss = nn.functional.mse_loss(eps_model(xt, t), eps)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.detach())
    return torch.stack(losses)


class Spy(nn.Module):
    """A noise predictor with one weight that keeps all that it is asked; it answers that weight everywhere."""

    def __init__(self):
        super().__init__()
        self.answer = nn.Parameter(torch.tensor(0.5))
        self.asked: list[tuple[Tensor, Tensor]] = []

    def forward(self, xt: Tensor, t: Tensor) -> Tensor:
        self.asked.append((xt.detach(), t))
        return self.answer.expand(xt.shape)


def mixes_noise(train: Callable[..., Any]) -> str | None:
    """Times, noise and loss, read off what the network is asked."""
    spy, x0 = Spy(), torch.full((8, 500, 2), 4.0)
    steps, optimizer = [], torch.optim.SGD(spy.parameters(), 0.0)
    optimizer.register_step_post_hook(lambda *_: steps.append(1))
    losses = train(spy, optimizer, x0, SHORT.alpha_bar.float())
    shapes = [(tuple(xt.shape), tuple(t.shape)) for xt, t in spy.asked]
    if shapes != [((500, 2), (500,))] * 8:
        return f"For 8 batches of shape (500, 2), BUILT asked for xt and t of these shapes: {shapes}."
    xt, t = torch.cat([xt for xt, _ in spy.asked]), torch.cat([t for _, t in spy.asked])
    if t.is_floating_point() or t.min() < 0 or t.max() > 19:
        return f"The times that BUILT drew run from {t.min()} to {t.max()}; with 20 steps they are 0 .. 19."
    counts = torch.bincount(t, minlength=20)
    if counts.min() < 130 or counts.max() > 270:  # 200 each, give or take 14
        return (
            f"Of 4,000 times that BUILT drew, {counts[0]} were 0 and {counts[-1]} were 19; about 200 of each are right."
        )
    bar = SHORT.alpha_bar.float()[t][:, None]
    eps = (xt - 4 * bar.sqrt()) / (1 - bar).sqrt()
    for i in (0, 7, 19):
        mean, std = float(eps[t == i].mean()), float(eps[t == i].std())
        if abs(mean) > 0.25 or abs(std - 1) > 0.18:  # five standard errors of 400 draws
            return f"At t = {i} the noise that BUILT mixed in has mean {mean:.2f} and standard deviation {std:.2f}."
    if abs(float((eps[:, 0] * eps[:, 1]).mean())) > 0.1 or torch.allclose(eps[:500], eps[500:1000], atol=1e-2):
        return "BUILT uses the same noise twice: each value of each batch needs its own."
    wanted = (eps - 0.5).square().view(8, -1).mean(1)
    finding = unlike(losses, wanted, 1e-3 * wanted, "The loss of BUILT")
    if not finding and (losses.requires_grad or len(steps) != 8):
        return f"For 8 batches BUILT took {len(steps)} steps; its losses must carry no gradient (`.detach()`)."
    return finding


def comes_near_the_floor(train: Callable[..., Any]) -> str | None:
    """600 batches of the two bumps: the squared distance to the exact answer, over all times."""
    net = TinyNoise(32)
    batches = TWO_BUMPS.sample(600 * 256).float().view(600, 256, 1)
    train(net, torch.optim.Adam(net.parameters(), 1e-2), batches, SHORTER.alpha_bar.float())
    off = float(missed(net, SHORTER).mean())
    if not off < 0.05:
        return f"After 600 batches with BUILT a network is off by {off:.3f} in the mean square; below 0.05 is easy."
    return None


build_train_noise = Build(
    train_noise,
    [
        Stage(mixes_noise).says("""
            Algorithm 1: a time for each point, evenly from all; fresh noise; the two roots; the mean squared error.
            `torch.randint(0, len(alpha_bar), (len(x0),))`, `torch.randn_like(x0)`, and both factors from
                `alpha_bar[t]`."""),
        Stage(comes_near_the_floor).says("""
            Three calls make a step: forget the old gradient, compute the new one, move. In each turn, in this order.
            `optimizer.zero_grad()`, `loss.backward()`, `optimizer.step()`; and `loss.detach()` only for the list."""),
    ],
    r"The network came near $\mathbb{E}[\epsilon \mid x_t]$, which it was never shown, because the squared error "
    "leaves it nothing better. The same ten lines train on images.",
)


def best_variance(floor, beta):
    """The sigma2 (T,) with the least bound, for a network whose squared error of eps is floor (T,), a value each."""
    alpha = 1 - beta
    alpha_bar = alpha.cumprod(0)
    alpha_bar_prev = alpha_bar / alpha
    beta_tilde = beta * (1 - alpha_bar_prev) / (1 - alpha_bar)
    return beta_tilde + beta**2 / (alpha * (1 - alpha_bar)) * floor


def two_extremes(best: Callable[..., Any]) -> str | None:
    """Data of one point, where nothing is missed, and data that are noise already."""
    for name, floor, wanted in (
        ("one point", torch.zeros(20), SHORT.beta_tilde),
        ("noise", SHORT.alpha_bar, SHORT.beta),
    ):
        finding = unlike(best(floor.double(), SHORT.beta), wanted, 1e-6, f"For data that are {name}, BUILT")
        if finding:
            return finding
    return None


def spread_on_the_grid(best: Callable[..., Any]) -> str | None:
    """The two bumps: the variance of the exact step back, averaged over x_t on a grid."""
    right = []
    for t, (beta, bar) in enumerate(zip(SHORT.beta.tolist(), SHORT.alpha_bar.tolist(), strict=True)):
        weight = TWO_BUMPS.noised(bar).prob(LINE[::8])
        before = float(SHORT.alpha_bar[t - 1]) if t else 1.0
        spread = torch.tensor([TWO_BUMPS.step_back(x, beta, before).var for x in LINE[::8].tolist()])
        right.append(float((weight * spread).sum() / weight.sum()))
    wanted = torch.tensor(right)
    return unlike(best(floors(SHORT), SHORT.beta), wanted, 1e-4, "For the two bumps BUILT")


build_best_variance = Build(
    best_variance,
    [
        Stage(two_extremes).says(r"""
            Put the derivative of (4.2) by $\sigma_t^2$ to 0. By (4.6), what is the squared distance, on average?
            $\tilde\beta_t$ and, on top of it, the mean squared distance of the means;
                $\bar\alpha_{t-1} = \bar\alpha_t / \alpha_t$ is 1 at the first step."""),
        Stage(spread_on_the_grid).says(r"""
            Right for the two extremes. Which power of $\beta_t$ does (4.6) have?
            (4.6) multiplies the squared error of the noise by $\beta_t^2 / (\alpha_t (1 - \bar\alpha_t))$."""),
    ],
    "It is the variance of $x_{t-1}$ given $x_t$, averaged over $x_t$: for two bumps, an integral that knows nothing "
    "of (4.2) says the same. Bao et al. (2022, *Analytic-DPM*) sample with this number and need far fewer steps.",
)

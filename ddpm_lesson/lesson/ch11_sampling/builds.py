"""The build of notebook 11: Algorithm 2 and DDIM in one function."""

from typing import Any

import torch
from torch import Tensor, nn

from ddpm_lesson.lesson.kit.build import Build, Stage, unlike
from ddpm_lesson.lesson.kit.exercise import numbers
from ddpm_lesson.lesson.kit.mixture import TWO_BUMPS, ExactNoise
from ddpm_lesson.schedule import NoiseSchedule

BETA = torch.linspace(0.01, 0.3, 12, dtype=torch.float64)
TIMES = [11, 10, 6, 5, 2, 0]  # both ends, and steps of unequal size
POINT = torch.tensor([[[1.8, -0.5, 0.1]]], dtype=torch.float64)  # (1, 1, 3), with a value that a clip would change


def sample(eps_model, x, beta, times, eta, generator):
    alpha_bar = (1 - beta).cumprod(0)
    for i in range(len(times)):
        a = alpha_bar[times[i]]
        prev = alpha_bar[times[i + 1]] if i + 1 < len(times) else torch.ones_like(a)
        with torch.no_grad():
            eps = eps_model(x, torch.full((len(x),), times[i]))
        x0_hat = (x - (1 - a).sqrt() * eps) / a.sqrt()
        sigma2 = eta**2 * (1 - prev) / (1 - a) * (1 - a / prev)
        z = torch.randn(x.shape, generator=generator, dtype=x.dtype)
        x = prev.sqrt() * x0_hat + (1 - prev - sigma2).sqrt() * eps + sigma2.sqrt() * z
    return x


class KnowsThePoint(nn.Module):
    """The exact noise for data that are one point, after ``beta``; notes what it is asked."""

    def __init__(self, beta: Tensor):
        super().__init__()
        self.alpha_bar = torch.stack([(1 - beta[: t + 1]).prod() for t in range(len(beta))])
        self.gain = nn.Parameter(torch.ones((), dtype=beta.dtype))
        self.asked: list[tuple[Tensor, list[int]]] = []

    def forward(self, xt: Tensor, t: Tensor) -> Tensor:
        """(B, 1, 1, 3) and (B,) to (B, 1, 1, 3)."""
        if t.shape != xt.shape[:1]:
            raise ValueError(f"t must have one time an image, ({len(xt)},); got {tuple(t.shape)}")
        self.asked.append((xt.detach().clone(), t.unique().tolist()))
        a = self.alpha_bar[t].view(-1, 1, 1, 1)
        return self.gain * (xt - a.sqrt() * POINT) / (1 - a).sqrt()


def chain(built, eta: float, n: int = 4, times: list[int] = TIMES, seed: int = 1) -> tuple[KnowsThePoint, Any]:
    """A run from noise that fits the first time: the model with what it was asked, and the end."""
    model = KnowsThePoint(BETA)
    a = model.alpha_bar[times[0]]
    x = a.sqrt() * POINT + (1 - a).sqrt() * numbers(n, 1, 1, 3, seed=2, dtype=torch.float64)
    return model, built(model, x, BETA, list(times), eta, torch.Generator().manual_seed(seed))


def visits_its_times(built) -> str:
    """Each time once and in order, all images at the same time; without fresh noise the end has none."""
    for times in (TIMES, [11], [7, 0], list(range(11, -1, -1))):
        for eta in (0.0, 1.0):
            model, x0 = chain(built, eta, times=times)
            asked = [t[0] if len(t) == 1 else t for _, t in model.asked]
            if asked != times:
                return f"With times = {times} the model was asked at {asked}."
            what = f"For data that are one point, with times = {times} and eta = {eta:g}, BUILT"
            if eta == 0 and (wrong := unlike(x0, POINT.expand(4, 1, 1, 3), 1e-9, what)):
                return wrong
            if x0.requires_grad:
                return "The answer drags the graph of all steps along, and memory fills: ask the model under `no_grad`."
    return ""


def draws_from_its_generator(built) -> str:
    """The states on the way: the same from the same generator; with eta = 0 from any. NaN is for the next stage."""

    def states(eta: float, seed: int) -> Tensor:
        return torch.stack([x for x, _ in chain(built, eta, seed=seed)[0].asked])

    if states(1.0, 1).isnan().any():
        return ""
    if not torch.equal(states(1.0, 1), states(1.0, 1)):
        return "Two runs with eta = 1 and the same generator differ: draw all noise from `generator`."
    if torch.equal(states(1.0, 1), states(1.0, 2)):
        return "With eta = 1 another generator changes nothing: where is the fresh noise?"
    if not torch.equal(states(0.0, 1), states(0.0, 2)):
        return "With eta = 0 the way depends on the generator: there must be no fresh noise."
    return ""


def has_the_right_noise(built) -> str:
    """Data that are one point: the law of each state is q(x_t | x_0), and Bayes says how much of it is fresh.

    Both for 10,000 images of three numbers; five standard errors.
    """
    n = 30_000
    error = 5 * (2 / n) ** 0.5
    for eta in (0.0, 0.6, 1.0):
        model, x0 = chain(built, eta, n=10_000)
        for (x, (t,)), (x_prev, (s,)) in zip(model.asked, model.asked[1:], strict=False):
            a, a_prev = model.alpha_bar[t], model.alpha_bar[s]
            noise, noise_prev = x - a.sqrt() * POINT, x_prev - a_prev.sqrt() * POINT
            step = f"With eta = {eta:g}, from t = {t} to {s}:"
            if x_prev.isnan().any():
                return f"{step} NaN, so a root of a negative number: is sigma squared above 1 - alpha_bar of t = {s}?"
            if noise_prev.mean((0, 1, 2)).abs().max() > 5 * (3 / n * (1 - a_prev)) ** 0.5:
                return f"{step} the images are too bright or too dark for sqrt(alpha_bar) x0."
            share = float(noise_prev.square().mean() / (1 - a_prev))
            if abs(share - 1) > error:
                return f"{step} the noise that the next state holds has {share:.3f} times the right variance."
            keep = (noise * noise_prev).mean() / noise.square().mean()
            fresh = float((noise_prev - keep * noise).square().mean())
            beta = 1 - a / a_prev
            bayes = eta**2 / (1 / (1 - a_prev) + (1 - beta) / beta)  # precisions add
            if abs(fresh - bayes) > error * bayes + 1e-12:
                return f"{step} the fresh noise has the variance {fresh:.4f}; {float(bayes):.4f} is right."
            if keep <= 0:
                return f"{step} the noise that stays has changed its sign."
        if wrong := unlike(x0, POINT.expand_as(x0), 1e-9, f"With eta = {eta:g}, from t = 0 to the end, BUILT"):
            return f"{wrong} Before t = 0 alpha_bar is 1: sigma squared must be 0 there."
    return ""


def draws_the_data(built) -> str:
    """A mixture of two bumps and its exact noise: the samples must be as near to it as draws of it nearly are."""
    schedule = NoiseSchedule.linear(60, 1e-3, 0.2)
    model, x = ExactNoise(TWO_BUMPS, schedule), numbers(4000, 1, 1, 1, seed=3)
    for eta, times in ((1.0, list(range(59, -1, -1))), (0.0, list(range(59, -1, -1)))):
        x0 = built(model, x, schedule.beta, times, eta, torch.Generator().manual_seed(4))
        off = TWO_BUMPS.distance(x0.detach())
        if not off < 0.03:
            return (
                f"With a perfect model and eta = {eta:g} the samples lie {off:.3f} from the data; below 0.03 is easy."
            )
    return ""


build_sample = Build(
    sample,
    (
        Stage(visits_its_times).says("""
            A loop over `times`, one question a time. Before the last one alpha_bar is 1, so that the noise is gone.
            `prev = alpha_bar[times[i + 1]]`, and 1 behind the last; `torch.full((len(x),), t)`; the model under
                `torch.no_grad()`; `x = ...`, never `x += ...`; and no clip: data may lie beyond 1."""),
        Stage(draws_from_its_generator).says("""
            Fresh noise comes from the generator that is handed over, and eta is its factor.
            `torch.randn(x.shape, generator=generator, dtype=x.dtype)`."""),
        Stage(has_the_right_noise).says("""
            (11.6): what of the old noise stays, and what is fresh, must add up to 1 - alpha_bar of the next time. The
                fresh part is eta squared times the posterior variance.
            `sigma2 = eta**2 * (1 - prev) / (1 - a) * (1 - a / prev)`; the rest, `(1 - prev - sigma2).sqrt()`, stands
                before `eps`."""),
        Stage(draws_the_data).says("""
            For one point it is right. Does every step ask the model anew, about the present x?
            `eps = eps_model(x, t)` inside the loop, and nothing clipped here."""),
    ),
    "One function for Algorithm 2 (eta = 1, all times) and DDIM (eta = 0, as few as you like). In notebook 13 it draws "
    "from your network.",
)

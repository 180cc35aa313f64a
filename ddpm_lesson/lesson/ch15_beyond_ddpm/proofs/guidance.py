"""Targets of the network, and guidance by labels: (15.8) to (15.12)."""

import math
from typing import Any

import torch
from torch import Tensor

from ddpm_lesson.diffusion import DenoiseDiffusion
from ddpm_lesson.lesson.ch15_beyond_ddpm import experiments as ex
from ddpm_lesson.lesson.ch15_beyond_ddpm.proofs.flow import LEVELS, LINE, X, equation, slope
from ddpm_lesson.lesson.kit.mixture import GaussianMixture
from ddpm_lesson.lesson.kit.proof import Formula, largest, numbers, root
from ddpm_lesson.schedule import NoiseSchedule

# Targets


def velocity_on_the_circle(x0: Any, eps: Any, alpha_bar: Any) -> Any:
    """The target v (Salimans and Ho 2022, section 4)."""
    return root(alpha_bar) * eps - root(1 - alpha_bar) * x0


@equation(
    "15.8",
    r"v = \frac{\mathrm{d}x_t}{\mathrm{d}\varphi} = \sqrt{\bar\alpha_t}\,\epsilon - \sqrt{1-\bar\alpha_t}\,x_0, \quad "
    r"\cos\varphi = \sqrt{\bar\alpha_t}",
    "automatic differentiation along the circle; the package's target",
    1e-10,
)
def v_is_a_velocity(formula: Formula = velocity_on_the_circle) -> float:
    """An image turned into its noise by the angle phi, differentiated; at every time of a short chain."""
    schedule = NoiseSchedule.linear(50, 1e-3, 0.2).to(torch.float64)
    (x0, eps), t = numbers(2, 50, 1, seed=4), torch.arange(50)
    model = DenoiseDiffusion(torch.nn.Identity(), schedule=schedule, prediction="v")
    alpha_bar = schedule.alpha_bar[:, None]
    phi = alpha_bar.sqrt().acos()
    right = slope(lambda phi: phi.cos() * x0 + phi.sin() * eps, phi)
    return largest([formula(x0, eps, alpha_bar) - right, model.target(x0, eps, t) - right])


def weights(snr: Tensor) -> dict[str, Tensor]:
    """What an error of the image counts in the loss of each target."""
    return {"x0": torch.ones_like(snr), "eps": snr, "v": snr + 1}


@equation(
    "15.9",
    r"\lVert\epsilon - \epsilon_\theta\rVert^2 = \mathrm{SNR}\,\lVert x_0 - \hat x_0\rVert^2, \quad "
    r"\lVert v - v_\theta\rVert^2 = (\mathrm{SNR} + 1)\,\lVert x_0 - \hat x_0\rVert^2",
    "the package's losses and estimates, in float64",
    1e-10,
)
def one_regression(formula: Formula = weights) -> float:
    """A network that answers nonsense: its loss at every time, and the error of the image that it leads to."""
    schedule = NoiseSchedule.linear(50, 1e-3, 0.2).to(torch.float64)
    (x0, eps), t = numbers(2, 50, 1, seed=3), torch.arange(50)
    errors, found = [], formula(schedule.snr)
    for kind in ("x0", "eps", "v"):
        model = DenoiseDiffusion(torch.nn.Identity(), schedule=schedule, clip_x0=False, prediction=kind)
        model.eps_model.forward = lambda xt, t: (3 * xt).sin()
        xt = model.q_sample(x0, t, eps)
        missed = (model.eps_model(xt, t) - model.target(x0, eps, t)) ** 2
        errors.append(missed / (model.denoise(xt, t) - x0) ** 2 / found[kind][:, None] - 1)
    return largest(errors)


# Guidance


def guide(null: Tensor, label: Tensor, scale: float) -> Tensor:
    """Classifier-free guidance (Ho and Salimans 2022, Eq. 6)."""
    return null + scale * (label - null)


@equation(
    "15.10",
    r"\epsilon_s = \epsilon_\varnothing + s\,(\epsilon_c - \epsilon_\varnothing) "
    r"= -\sqrt{1-\bar\alpha_t}\;\nabla \log\big(q(x_t \mid c)^{s}\, q(x_t)^{1-s}\big)",
    "automatic differentiation",
    1e-10,
)
def guidance_is_a_slope(formula: Formula = guide) -> float:
    """Of the densities of two classes at three noise levels, for four scales."""
    label = GaussianMixture([1.0], ex.CLASSES.means[1:], ex.CLASSES.stds[1:])
    errors = []
    for a in LEVELS:
        c, both = label.noised(a), ex.CLASSES.noised(a)
        for s in (0.0, 1.0, 2.0, 5.0):
            right = -math.sqrt(1 - a) * slope(lambda x, s=s: s * c.log_prob(x) + (1 - s) * both.log_prob(x), X)  # noqa: B023
            errors.append(formula(ex.CLASSES.exact_eps(X, a), label.exact_eps(X, a), s) - right)
    return largest(errors)


def guide_by_classifier(null: Tensor, label_slope: Tensor, alpha_bar: float, scale: float) -> Tensor:
    """Classifier guidance, by the slope of log p(c | x_t) (Dhariwal and Nichol 2021, Algorithm 2)."""
    return null - scale * math.sqrt(1 - alpha_bar) * label_slope


@equation(
    "15.11",
    r"q(x_t \mid c)^{s}\, q(x_t)^{1-s} \propto q(x_t)\, p(c \mid x_t)^{s}, \qquad "
    r"\epsilon_s = \epsilon_\varnothing - s\,\sqrt{1-\bar\alpha_t}\;\nabla \log p(c \mid x_t)",
    "both densities; automatic differentiation of a perfect classifier",
    1e-10,
)
def guidance_by_a_classifier(formula: Formula = guide_by_classifier) -> float:
    """The classifier is Bayes' rule for two noisy classes; the other side are the two answers of (15.10)."""
    label = GaussianMixture([1.0], ex.CLASSES.means[1:], ex.CLASSES.stds[1:])
    errors = []
    for a in LEVELS:
        c, both = label.noised(a), ex.CLASSES.noised(a)

        def log_label(x: Tensor, both: GaussianMixture = both) -> Tensor:
            return both.responsibilities(x)[..., 1].log()

        null, answer = ex.CLASSES.exact_eps(X, a), label.exact_eps(X, a)
        for s in (0.0, 1.0, 2.0, 5.0):
            errors.append(formula(null, slope(log_label, X), a, s) - guide(null, answer, s))
            gap = s * c.log_prob(X) + (1 - s) * both.log_prob(X) - both.log_prob(X) - s * log_label(X)
            errors.append(gap - gap[0])  # in proportion: the same factor at every x
    return largest(errors)


def guided_stds(a: float, b: float, s: float) -> tuple[float, float]:
    """Of the samples, and of the tilted density, if the class is N(m, a^2) and everything N(0, b^2)."""
    return a**s * b ** (1 - s), (s / a**2 + (1 - s) / b**2) ** -0.5


@equation(
    "15.12",
    r"\mathrm{std}_\text{guided} = a^{s}\,b^{1-s}, \qquad \Big(\tfrac{s}{a^2} + \tfrac{1-s}{b^2}\Big)^{-1/2} "
    r"= \mathrm{std}\big[p(x\mid c)^s\,p(x)^{1-s}\big]",
    "two points that follow the guided noise; the density on a grid",
    1e-4,
)
def not_the_tilted_density(formula: Formula = guided_stds) -> float:
    """The points start at plus and minus one standard deviation of the noise; the class lies at 0.8."""
    errors = []
    for a, b, s in ((0.5, 1.0, 1.0), (0.5, 1.0, 3.0), (0.7, 0.9, 2.0)):
        label, both = GaussianMixture([1.0], [0.8], [a]), GaussianMixture([1.0], [0.0], [b])
        log_p = s * label.log_prob(LINE) + (1 - s) * both.log_prob(LINE)
        p = log_p.softmax(-1)
        tilted = ((p * LINE**2).sum() - (p * LINE).sum() ** 2).sqrt()
        low, high = followed(label, both, s)
        errors += [right / found - 1 for found, right in zip(formula(a, b, s), ((high - low) / 2, tilted), strict=True)]
    return largest(errors)


def followed(label: GaussianMixture, both: GaussianMixture, scale: float, n: int = 400) -> Tensor:
    """Where guided noise takes y = -r and y = r from r = 1000 to 0.0001, (2,); Runge and Kutta's rule in log r."""

    def speed(y: Tensor, log_r: float) -> Tensor:
        r = math.exp(log_r)
        alpha_bar = 1 / (1 + r * r)
        x = math.sqrt(alpha_bar) * y
        return r * guide(both.exact_eps(x, alpha_bar), label.exact_eps(x, alpha_bar), scale)

    y, log_r, h = torch.tensor([-1000.0, 1000.0], dtype=torch.float64), math.log(1000), math.log(1e-7) / n
    for _ in range(n):
        k1 = speed(y, log_r)
        k2 = speed(y + h / 2 * k1, log_r + h / 2)
        k3 = speed(y + h / 2 * k2, log_r + h / 2)
        k4 = speed(y + h * k3, log_r + h)
        y, log_r = y + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4), log_r + h
    return y

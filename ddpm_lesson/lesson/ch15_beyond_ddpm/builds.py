"""The build of notebook 15: a sampler for flows, with guidance and Heun's method."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ddpm_lesson.lesson.ch15_beyond_ddpm.experiments import RANKS, ExactVelocity
from ddpm_lesson.lesson.kit.build import Build, Stage, unlike
from ddpm_lesson.lesson.kit.exercise import numbers
from ddpm_lesson.lesson.kit.mixture import TWO_BUMPS

POINTS = torch.tensor([0.3, -1.4, 0.6], dtype=torch.float64)  # the data of classes 0 and 1, and without a label
LABELS = torch.tensor([0, 1, 1, 0, 0])
ROUNDING = 1e-4  # whoever works in float32 is right as well


def flow_sample(velocity_model, x, n_steps, labels, null, scale):
    dt = 1 / n_steps

    def velocity(x, t):
        times = torch.full((len(x),), 1000 * t, dtype=x.dtype)
        with torch.no_grad():
            without = velocity_model(x, times, torch.full_like(labels, null))
            return without + scale * (velocity_model(x, times, labels) - without)

    for i in range(n_steps, 0, -1):
        v = velocity(x, i / n_steps)
        if i > 1:
            v = (v + velocity(x - dt * v, (i - 1) / n_steps)) / 2
        x = x - dt * v
    return x


class KnowsThePoints(nn.Module):
    """The exact velocity if each class is one point, everywhere the same; notes what it is asked."""

    def __init__(self):
        super().__init__()
        self.gain = nn.Parameter(torch.ones(()))
        self.asked: list[tuple[float, int]] = []  # a time, for how many images

    def forward(self, xt: Tensor, t: Tensor, class_labels: Tensor) -> Tensor:
        """(B, ...), (B,), (B,) -> (B, ...)."""
        if not t.shape == class_labels.shape == xt.shape[:1]:
            raise ValueError(f"t and labels must be ({len(xt)},); got {tuple(t.shape)} and {tuple(class_labels.shape)}")
        self.asked.append((float(t[0]), len(xt)))
        along = len(xt), *[1] * (xt.ndim - 1)
        return self.gain * (xt - POINTS[class_labels].view(along).to(xt)) / (t.view(along) / 1000)


class Run(NamedTuple):
    """Noise, the labels of its images, and the label that means none; and where scale s must take them."""

    x: Tensor
    labels: Tensor
    null: int

    def ends(self, scale: float) -> Tensor:
        """The point of each label with scale 1, that of no label with scale 0; the shape of ``x``."""
        points = POINTS[self.null] + scale * (POINTS[self.labels] - POINTS[self.null])
        return points.view(-1, *[1] * (self.x.ndim - 1)).expand(self.x.shape)


def runs() -> tuple[Run, Run]:
    """On a line in float64, and images in float32 with another label for none."""
    line = numbers(5, 1, seed=1, dtype=torch.float64)
    return Run(line, LABELS.clone(), 2), Run(numbers(3, 2, 4, 4, seed=2), torch.tensor([1, 2, 1]), 0)


def asks_at_its_times(built) -> str:
    """From 1000 down in equal steps, no time more often than Heun needs, and never at 0."""
    for n in (1, 2, 5):
        model, run = KnowsThePoints(), runs()[0]
        x0 = built(model, run.x, n, run.labels, run.null, 1.0)
        visited = list(dict.fromkeys(round(t, 3) for t, _ in model.asked))
        wanted = [round(1000 * i / n, 3) for i in range(n, 0, -1)]
        if visited != wanted:
            return f"With n_steps = {n} the model was asked at {visited}; {wanted} are its times, data being at 0."
        images, enough = sum(size for _, size in model.asked), 2 * (2 * n - 1) * len(run.x)
        if images > enough:
            return f"With n_steps = {n} the model was asked about {images} images; {enough} are enough."
        if not model.training:
            return "BUILT leaves the model in another mode than it found it in."
        finding = unlike(x0, run.x.shape)
        if finding:
            return finding
        if x0.requires_grad:
            return "The answer drags the graph of all steps along: ask the model under `no_grad`."
    return ""


def arrives(built, settings: Sequence[tuple[int, float]]) -> str:
    """Straight paths to one point a class, for some numbers of steps and scales: right with any number of steps."""
    for n, scale in settings:
        for run in runs():
            kind = f"of shape {tuple(run.x.shape)}, with null = {run.null},"
            what = f"For classes that are one point each, noise {kind} n_steps = {n} and scale = {scale:g}, BUILT"
            x0 = built(KnowsThePoints(), run.x, n, run.labels, run.null, scale)
            finding = unlike(x0, run.ends(scale), ROUNDING, what)
            if finding:
                return finding
    return ""


def arrives_at_the_points(built) -> str:
    """With scale 1 and 0, at the points themselves."""
    return arrives(built, [(n, scale) for n in (1, 2, 7) for scale in (1.0, 0.0)])


def guides(built) -> str:
    """With other scales: the mix of the points lies on straight paths too."""
    return arrives(built, [(3, 3.0), (4, 0.4)])


class Unlabelled(ExactVelocity):
    """The exact velocity of the two bumps, whatever the label."""

    def forward(self, xt: Tensor, t: Tensor, class_labels: Tensor) -> Tensor:
        return super().forward(xt, t)


class Curved(nn.Module):
    """A velocity that bends, whatever the label."""

    def forward(self, xt: Tensor, t: Tensor, class_labels: Tensor) -> Tensor:
        return torch.sin(2 * xt + t[:, None] / 1000)


def draws_in_second_order(built) -> str:
    """Two steps along a velocity that bends, worked out; and two bumps, where 200 ranks end with 16 steps."""
    x = numbers(5, 1, seed=4, dtype=torch.float64)
    first = torch.sin(2 * x + 1)
    half = x - 0.25 * (first + torch.sin(2 * (x - 0.5 * first) + 0.5))
    wanted, what = half - 0.5 * torch.sin(2 * half + 0.5), "For two steps along the velocity sin(2 x + t) BUILT"
    finding = unlike(built(Curved(), x.clone(), 2, LABELS.clone(), 2, 1.0), wanted, ROUNDING, what)
    if finding:
        return finding
    start = torch.special.ndtri(RANKS)[:, None]
    labels = torch.zeros(200, dtype=torch.int64)
    ends = built(Unlabelled(), start, 16, labels, 2, 1.0)
    off = float((ends.detach().flatten() - TWO_BUMPS.quantile(RANKS)).square().mean().sqrt())
    if not off < 0.02:
        return f"For two bumps and 16 steps BUILT ends {off:.3f} from where the exact path ends; Heun stays below 0.02."
    return ""


build_flow_sample = Build(
    flow_sample,
    (
        Stage(
            asks_at_its_times,
            "From t = 1, which is noise, in steps of `1 / n_steps` to t = 0; the model is told 1000 t for every image.",
            "`for i in range(n_steps, 0, -1)`, `torch.full((len(x),), 1000 * t, dtype=x.dtype)`, under "
            "`torch.no_grad()`; the last step is Euler's, so that t = 0 is never asked.",
        ),
        Stage(
            arrives_at_the_points,
            "The velocity points from data to noise, and you go the other way. Which of two answers is scale 1?",
            "`x = x - dt * v`; `without + scale * (given - without)`.",
        ),
        Stage(
            guides,
            "Scales between 0 and 1 and above: a straight line through both answers.",
            "`without + scale * (given - without)`, and `without` is asked with `null` for every label.",
        ),
        Stage(
            draws_in_second_order,
            "Every step but the last is taken twice: to look, and with the mean of the two velocities.",
            "`v = (v + velocity(x - dt * v, (i - 1) / n_steps)) / 2` if `i > 1`.",
        ),
    ),
    "A dozen lines. Take Euler's steps at times that crowd towards noise, and it is the sampler of today's large image "
    "models, but for their networks.",
)

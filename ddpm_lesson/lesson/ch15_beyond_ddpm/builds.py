"""The build of notebook 15: a sampler for flows, with guidance and Heun's method."""

import torch
from torch import Tensor, nn

from ddpm_lesson.lesson.ch15_beyond_ddpm.experiments import RANKS, ExactVelocity
from ddpm_lesson.lesson.kit.build import Build, Stage, unlike
from ddpm_lesson.lesson.kit.exercise import numbers
from ddpm_lesson.lesson.kit.mixture import TWO_BUMPS

POINTS = torch.tensor([0.3, -1.4, 0.6], dtype=torch.float64)  # the data of classes 0 and 1, and without a label
LABELS = torch.tensor([0, 1, 1, 0, 0])


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
    """The exact velocity if each class is one point; notes the times and labels that it is asked with."""

    def __init__(self):
        super().__init__()
        self.gain = nn.Parameter(torch.ones((), dtype=torch.float64))
        self.asked: list[tuple[float, list[int]]] = []

    def forward(self, xt: Tensor, t: Tensor, class_labels: Tensor) -> Tensor:
        """(B, 1), (B,), (B,) -> (B, 1)."""
        if not t.shape == class_labels.shape == xt.shape[:1]:
            raise ValueError(f"t and labels must be ({len(xt)},); got {tuple(t.shape)} and {tuple(class_labels.shape)}")
        self.asked.append((float(t[0]), class_labels.tolist()))
        return self.gain * (xt - POINTS[class_labels][:, None]) / (t[:, None] / 1000)


def run(built, n_steps: int, scale: float) -> tuple[KnowsThePoints, Tensor, Tensor]:
    """A run from noise: the model with what it was asked, what it did to the start, and the end."""
    model, x = KnowsThePoints(), numbers(5, 1, seed=1, dtype=torch.float64)
    start = x.clone()
    x0 = built(model, x, n_steps, LABELS.clone(), 2, scale)
    return model, x - start, x0


def asks_at_its_times(built) -> str:
    """From 1000 down in equal steps, each time but the first twice as often, and never at 0; nothing in place."""
    for n in (1, 2, 5):
        model, changed, x0 = run(built, n, 1.0)
        visited = sorted({round(t, 6) for t, _ in model.asked}, reverse=True)
        wanted = [round(1000 * i / n, 6) for i in range(n, 0, -1)]
        if visited != wanted:
            return f"With n_steps = {n} the model was asked at {visited}; {wanted} are its times, data being at 0."
        if changed.any():
            return "BUILT changes `x` in place: whoever gave it finds it overwritten."
        finding = unlike(x0, (5, 1))
        if finding:
            return finding
        if x0.requires_grad:
            return "The answer drags the graph of all steps along: ask the model under `no_grad`."
    return ""


def arrives_at_the_points(built) -> str:
    """Straight paths to one point a class, with scale 1 and 0: right with any number of steps."""
    for n in (1, 2, 7):
        for scale, wanted in ((1.0, POINTS[LABELS]), (0.0, POINTS[2].expand(5))):
            what = f"For classes that are one point each, with n_steps = {n} and scale = {scale:g}, BUILT"
            finding = unlike(run(built, n, scale)[2], wanted[:, None], 1e-9, what)
            if finding:
                return finding
    return ""


def guides(built) -> str:
    """The same points with other scales: the mix of the points lies on straight paths too."""
    for n, scale in ((3, 3.0), (4, 0.4)):
        wanted = POINTS[2] + scale * (POINTS[LABELS] - POINTS[2])
        what = f"For classes that are one point each, with n_steps = {n} and scale = {scale:g}, BUILT"
        finding = unlike(run(built, n, scale)[2], wanted[:, None], 1e-9, what)
        if finding:
            return finding
    return ""


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
    finding = unlike(built(Curved(), x.clone(), 2, LABELS.clone(), 2, 1.0), wanted, 1e-9, what)
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
    "Fifteen lines: the sampler of today's large image models, but for their networks.",
)

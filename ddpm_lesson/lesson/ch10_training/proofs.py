"""Proofs of notebook 10: averages of weights, steps of Adam, parts of a batch, and what a loss is made of."""

import math
from bisect import bisect
from collections.abc import Callable, Sequence
from itertools import product
from statistics import pvariance

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import ConstantLR, LinearLR, SequentialLR
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from ddpm_lesson.diffusion import DenoiseDiffusion
from ddpm_lesson.lesson.ch10_training.measure import spread, straight_line_loss
from ddpm_lesson.lesson.kit.proof import Formula, ProofBook, largest, numbers
from ddpm_lesson.lesson.kit.toy import Toy
from ddpm_lesson.schedule import NoiseSchedule
from ddpm_lesson.train import TrainConfig
from ddpm_lesson.train.batches import Batch
from ddpm_lesson.train.loop import average_with_warmup, backward, learning_rate
from ddpm_lesson.train.processes import start_accelerator

BOOK = ProofBook(10)
equation, prove, ledger = BOOK.equation, BOOK.prove, BOOK.ledger


def weights_of_the_past(n: int, decay: float) -> Tensor:
    """What each of the weights w_0 .. w_n counts in their running average after n steps, (n+1,)."""
    counts = (1 - decay) * decay ** torch.arange(n, -1, -1, dtype=torch.float64)
    counts[0] = decay**n
    return counts


def averages(rule: Callable[..., None], weights: Tensor) -> Tensor:
    """What PyTorch's ``AveragedModel`` holds after each of the weights (n+1, D) in turn, under a rule."""
    model = nn.ParameterList([nn.Parameter(weights[0].clone())])
    ema, out = AveragedModel(model, multi_avg_fn=rule), []
    for row in weights:
        model[0].data.copy_(row)
        ema.update_parameters(model)
        out.append(ema.module[0].detach().clone())
    return torch.stack(out)


@equation(
    "10.1", r"\bar w_n = d^n w_0 + \sum_{k=1}^{n} (1-d)\, d^{\,n-k}\, w_k", "torch's AveragedModel, step by step", 1e-12
)
def average_is_a_sum(formula: Formula = weights_of_the_past) -> float:
    """For weights that wander at random, three decays and every n up to 40."""
    weights, errors = numbers(41, 3).cumsum(0), []
    for decay in (0.5, 0.9, 0.99):
        ema = averages(get_ema_multi_avg_fn(decay), weights)
        errors += [formula(n, decay) @ weights[: n + 1] - ema[n] for n in range(41)]
    return largest(errors)


@equation(
    "10.2",
    r"d^{\,h} = \tfrac12 \;\Longleftrightarrow\; h = \frac{\ln 2}{-\ln d}",
    "multiplied out, then bisection",
    1e-9,
)
def half_of_the_past(formula: Formula = lambda decay: math.log(0.5) / math.log(decay)) -> float:
    """The h at which d^h, multiplied out and interpolated in the exponent, passes one half; relative."""
    errors = []
    for decay in (0.9, 0.98, 0.9995, 0.9999):
        left, n = 1.0, 0
        while left * decay > 0.5:
            left, n = left * decay, n + 1
        part = bisect(range(2**50), -0.5, key=lambda i: -left * decay ** (i / 2**50)) / 2**50
        errors.append(formula(decay) / (n + part) - 1)
    return largest(errors)


@equation(
    "10.3",
    r"\prod_{k=1}^{n} \frac{1+k}{10+k} = \frac{10!}{(n+2)(n+3)\cdots(n+10)}",
    "the package's average, step by step",
    1e-12,
)
def first_weights_are_forgotten(formula: Formula = lambda n: math.factorial(10) / math.perm(n + 10, 9)) -> float:
    """Weights that are 1 at first and 0 from then on: their average is the share of the first."""
    ema = averages(average_with_warmup(0.9999), torch.eye(51, 1, dtype=torch.float64))
    return largest(formula(n) - ema[n] for n in range(1, 51))


@equation(
    "10.4",
    r"w_1 - w_0 = -\eta\,\frac{g}{\lvert g \rvert + \varepsilon} \approx -\eta\,\mathrm{sign}(g)",
    "torch's Adam",
    1e-12,
)
def adam_starts_at_full_speed(formula: Formula = lambda g, lr, eps: -lr * g / (g.abs() + eps)) -> float:
    """What Adam adds to the weights in its very first step, for gradients from tiny to huge."""
    gradient = torch.tensor([-1e3, -1.0, -1e-3, 1e-7, 0.0, 1e-2, 50.0], dtype=torch.float64)
    weight = nn.Parameter(torch.zeros_like(gradient))
    weight.grad = gradient.clone()
    torch.optim.Adam([weight], lr=0.1, eps=1e-8).step()
    return largest([formula(gradient, 0.1, 1e-8) - weight.detach()])


@equation(
    "10.5",
    r"\eta_k = \eta\,\min\Big(1,\ \frac{k+1}{W},\ \frac{K-k}{C}\Big)",
    "torch's schedulers, the smaller of two",
    1e-12,
)
def schedule_of_the_rate(formula: Formula = learning_rate) -> float:
    """Against the smaller of two: LinearLR up, and ConstantLR, then LinearLR down; in the last case they overlap."""
    errors = []
    for warmup, steps, cooldown in ((5, 40, 10), (10, 30, 20), (1, 12, 4), (15, 20, 15)):
        config = TrainConfig(lr=0.3, warmup_steps=warmup, train_steps=steps, cooldown_steps=cooldown)
        up, down = (torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=config.lr) for _ in range(2))
        flat, fall = ConstantLR(down, 1.0, 0), LinearLR(down, 1.0, 1 / cooldown, cooldown - 1)
        rise = LinearLR(up, 1 / warmup, 1.0, max(1, warmup - 1))
        schedulers = rise, SequentialLR(down, [flat, fall], [steps - cooldown])
        for k in range(steps):
            errors.append(formula(config, k) - min(scheduler.get_last_lr()[0] for scheduler in schedulers))
            for scheduler in schedulers:
                scheduler.optimizer.step()
                scheduler.step()
    return largest(errors)


@equation(
    "10.6",
    r"\min_{A,b}\ \tfrac1D\,\mathbb{E}\,\lVert \epsilon - A x_t - b \rVert^2 = "
    r"\frac1D\sum_{i=1}^{D} \frac{\bar\alpha_t v_i}{\bar\alpha_t v_i + 1 - \bar\alpha_t}",
    "least squares on covariances",
    1e-10,
)
def best_straight_line(formula: Formula = straight_line_loss) -> float:
    """Against the normal equations, with a full covariance of the data: 1 - Cov(eps, x) Cov(x)^-1 Cov(x, eps)."""
    root, schedule = numbers(5, 5), NoiseSchedule.linear(20, 1e-3, 0.3)
    covariance = root @ root.T
    alpha_bar, one = schedule.to(torch.float64).alpha_bar.view(-1, 1, 1), torch.eye(5, dtype=torch.float64)
    shared = (1 - alpha_bar).sqrt() * one  # Cov(eps, x_t), (T, 5, 5)
    rest = one - shared @ torch.linalg.solve(alpha_bar * covariance + (1 - alpha_bar) * one, shared)
    return largest([formula(torch.linalg.eigvalsh(covariance), schedule) - rest.diagonal(dim1=1, dim2=2).mean(1)])


def variance_of_batch(losses: Tensor, n: int) -> list[float]:
    """Variance of the mean loss of a batch: each image at a random t, and all t visited evenly."""
    return [spread(losses).of_batch(n, stratified=even) for even in (False, True)]


@equation(
    "10.7",
    r"\mathrm{Var}\Big[\frac1B\sum_{i=1}^{B}\ell_i\Big] = \frac1B\Big("
    r"\mathbb{E}_t\,\mathrm{Var}[\ell \mid t] + \mathrm{Var}_t\,\mathbb{E}[\ell \mid t]\Big)",
    "every possible batch",
    1e-12,
)
def where_the_wobble_comes_from(formula: Formula = variance_of_batch) -> float:
    """Three times and four images: all 12^3 batches of three, and all 4^3 that visit each time once."""
    losses = torch.rand(3, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    losses *= torch.tensor([[3.0], [1.0], [0.2]], dtype=torch.float64)
    batches = product(losses.flatten().tolist(), repeat=3), product(*losses.tolist())
    exact = (pvariance(sum(batch) / 3 for batch in every) for every in batches)
    return largest(got - right for got, right in zip(formula(losses, 3), exact, strict=True))


def gradient_in_parts(diffusion: DenoiseDiffusion, batch: Batch, parts: Sequence[slice]) -> Tensor:
    """The gradient that the package adds up over the parts of a batch."""
    backward(diffusion, batch, parts, start_accelerator("no", torch.device("cpu")))
    return diffusion.eps_model.w.grad


@equation(
    "10.8",
    r"\nabla \frac1B\sum_{i=1}^{B} \ell_i = \frac1m\sum_{j=1}^{m} \nabla \frac{m}{B}\sum_{i \in P_j} \ell_i",
    "autograd on the whole batch",
    1e-12,
)
def parts_make_the_whole(formula: Formula = gradient_in_parts) -> float:
    """12 points in 1, 2, 3, 4 and 12 parts."""
    (x0, eps), errors = numbers(2, 12, 3), []
    batch = Batch(x0, eps, torch.arange(12) % 10)
    for m in (1, 2, 3, 4, 12):
        diffusion = DenoiseDiffusion(Toy().double(), schedule=NoiseSchedule.linear(10, 1e-2, 0.4).to(torch.float64))
        got = formula(diffusion, batch, [slice(i * 12 // m, (i + 1) * 12 // m) for i in range(m)])
        (whole,) = torch.autograd.grad(diffusion.loss(*batch), diffusion.eps_model.parameters())
        errors.append(got - whole)
    return largest(errors)

"""The equations of notebook 10: each holds, and wrong ones in their place are found out."""

import math

import pytest
import torch

from ddpm_lesson.diffusion import DenoiseDiffusion
from ddpm_lesson.lesson.ch10_training import proofs as training
from ddpm_lesson.lesson.ch10_training.measure import spread, straight_line_loss
from ddpm_lesson.lesson.ch10_training.proofs import prove
from ddpm_lesson.train.batches import part_of
from ddpm_lesson.train.loop import learning_rate


def no_memory_of_the_start(n, decay):
    counts = training.weights_of_the_past(n, decay)
    counts[0] = (1 - decay) * decay**n
    return counts


def gradient_with(change):
    """The gradient in parts, with another weight for the parts."""

    def gradient(diffusion, batch, parts):
        total = torch.zeros(2, dtype=torch.float64)
        for part in parts:
            loss = DenoiseDiffusion.loss(diffusion, *part_of(batch, part))
            total += change(torch.autograd.grad(loss, diffusion.eps_model.parameters())[0], len(parts))
        return total

    return gradient


def variance_with(change):
    """Variances of a batch, by another formula of within, between and the batch size."""

    def variance(losses, batch_size):
        return tuple(change(*spread(losses), batch_size))

    return variance


def rise_times_fall(config, k):
    rise, fall = (k + 1) / config.warmup_steps, (config.train_steps - k) / config.cooldown_steps
    return config.lr * min(1, rise) * min(1, fall)


def one_after_the_other(config, k):
    if k < config.warmup_steps:
        return config.lr * (k + 1) / config.warmup_steps
    return config.lr * min(1, (config.train_steps - k) / config.cooldown_steps)


PLANTED = [
    ("10.1", no_memory_of_the_start),
    ("10.1", lambda n, decay: training.weights_of_the_past(n, 1 - decay)),
    ("10.1", lambda n, decay: training.weights_of_the_past(n, decay).flip(0)),
    ("10.2", lambda decay: math.log(2) / (1 - decay)),
    ("10.2", lambda decay: 1 / (1 - decay)),
    ("10.2", lambda decay: 1.0001 * math.log(0.5) / math.log(decay)),
    ("10.2", lambda decay: math.log(0.5) / math.log(decay) + 0.001),
    ("10.3", lambda n: math.factorial(10) / math.prod(range(n + 1, n + 10))),
    ("10.3", lambda n: math.factorial(9) / math.prod(range(n + 2, n + 11))),
    ("10.4", lambda gradient, lr, eps: -lr * gradient),
    ("10.4", lambda gradient, lr, eps: -lr * gradient / (gradient.abs() + eps).sqrt()),
    ("10.4", lambda gradient, lr, eps: -0.1 * lr * gradient / (gradient.abs() + eps)),
    ("10.5", lambda config, k: learning_rate(config, k - 1)),
    ("10.5", lambda config, k: config.lr * min(1, (k + 1) / config.warmup_steps)),
    ("10.5", lambda config, k: config.lr * min(1, k / config.warmup_steps, 1)),
    ("10.5", rise_times_fall),
    ("10.5", one_after_the_other),
    ("10.8", gradient_with(lambda gradient, m: gradient)),  # the sum of the means
    ("10.8", gradient_with(lambda gradient, m: gradient / m**2)),
    ("10.7", variance_with(lambda within, between, b: (within / b, within / b))),
    ("10.7", variance_with(lambda within, between, b: ((within + between) / b, (within + between) / b))),
    ("10.7", variance_with(lambda within, between, b: (within / b + between, within / b))),
    ("10.7", variance_with(lambda within, between, b: (within + between, within))),
    ("10.6", lambda variances, schedule: straight_line_loss(variances.sqrt(), schedule)),
    ("10.6", lambda variances, schedule: 1 - straight_line_loss(variances, schedule)),
    ("10.6", lambda variances, schedule: straight_line_loss(variances.mean()[None], schedule)),
]


@pytest.mark.parametrize(("number", "formula"), PLANTED)
def test_a_wrong_formula_is_found_out(number, formula):
    assert not prove(number, formula=formula).holds

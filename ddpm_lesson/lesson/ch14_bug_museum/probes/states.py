"""Probes: which weights, how old, and counted how?"""

import tempfile

import torch
from torch import nn

from ddpm_lesson import checkpoint, data
from ddpm_lesson.bound import prior_bits, variational_bound
from ddpm_lesson.doctor import Finding
from ddpm_lesson.lesson.ch14_bug_museum.probes.subjects import SHORT, plain, randn, short
from ddpm_lesson.lesson.kit.probe import fresh_generator
from ddpm_lesson.train import get_preset, loop

SMALL = get_preset(
    "digits", n_channels=8, ch_mults=(1,), is_attn=(False,), n_groups=4, dropout=0.5, n_steps=20, sample_steps=None
)


def memory_of_average(seed: int = 0) -> Finding:
    """Is the average near weights that have been the same for a hundred steps?"""
    average, rule = [torch.zeros(1)], loop.average_with_warmup(0.9999)
    for n in range(1, 101):
        rule(average, [torch.ones(1)], n)
    return Finding(
        float(average[0]) > 0.9, f"after 100 steps {1 - float(average[0]):.0%} of the average is its beginning"
    )


def small_state(seed: int) -> loop.TrainState:
    """A run before its first step, of which weights and average differ."""
    state = loop.TrainState(SMALL, (1, 8, 8), "cpu")
    for start, network in ((seed, state.diffusion.eps_model), (seed + 1, state.ema.module)):
        generator = fresh_generator(start)
        with torch.no_grad():
            for p in network.parameters():
                p.copy_(torch.randn(p.shape, generator=generator))
    return state


def same(one: nn.Module, other: nn.Module) -> bool:
    """Whether two networks have the same weights."""
    return all(torch.equal(x, y) for x, y in zip(one.parameters(), other.parameters(), strict=True))


def sampled_weights(seed: int = 0) -> Finding:
    """Are samples drawn with the average?"""
    state = small_state(seed)
    ok = same(state.averaged().eps_model, state.ema.module)
    return Finding(ok, f"samples are drawn with {'the average' if ok else 'the weights of the last step'}")


def resumption(seed: int = 0) -> Finding:
    """Is all of a run there again after it was saved and taken up?"""
    state = small_state(seed)
    for p in state.diffusion.eps_model.parameters():
        p.grad = torch.ones_like(p)
    state.optimizer.step()
    state.step = 1
    again = loop.TrainState(SMALL, (1, 8, 8), "cpu")
    with tempfile.TemporaryDirectory() as folder:
        checkpoint.save_training(state, folder)
        checkpoint.load_training(again, folder)
    model, average = again.diffusion.eps_model, again.ema.module
    if same(model, state.ema.module):
        return Finding(False, "after a resumption the weights are those of the average")
    if not same(model, state.diffusion.eps_model):
        return Finding(False, "after a resumption the weights are not those that were saved")
    ok = same(average, state.ema.module)
    return Finding(ok, f"after a resumption weights are back, the average is {'too' if ok else 'not'}")


def bits(seed: int = 0) -> Finding:
    """Do the terms of the bound add up, and is L_T what the closed form says?"""
    x0, d = torch.full((1, 1, 4, 4), 0.5), short()
    _, alpha_bar = plain(**SHORT)
    a = torch.tensor(alpha_bar[-1], dtype=torch.float64)
    right = float(0.5 * ((1 - a) + a * 0.25 - 1 - (1 - a).log()) / torch.tensor(2.0).log())
    found = float(prior_bits(d.schedule, x0))
    if abs(found - right) > 1e-3 * right:
        return Finding(False, f"L_T of a grey image is {found / right:.2g} of what it must be")
    bound = variational_bound(d, x0, fresh_generator(seed))
    share = float(bound.total / (bound.L_T + bound.L_t.sum(1)))
    return Finding(abs(share - 1) < 1e-5, f"the bound is {share:.3f} of the sum of its terms")


@torch.no_grad()
def shipped_weights(seed: int = 0) -> Finding:
    """Does a network that was trained before, with the package as it was, still know noise where it sees it?"""
    d = checkpoint.load("digits", "cpu")
    x0 = data.load_images("digits", "test")[:32]
    eps, t = randn(seed, *x0.shape), torch.arange(32) * 25 + 100
    loss = float(d.loss(x0, eps, t))
    return Finding(loss < 0.1, f"shipped weights have a loss of {loss:.2f} on digits, for less than 0.1")

"""Probes: who is told which time?"""

import torch

from ddpm_lesson.doctor import Finding
from ddpm_lesson.lesson.ch14_bug_museum.probes.subjects import Says, randn, short, small_unet
from ddpm_lesson.sample import steps
from ddpm_lesson.unet import blocks


def times_of_sampler(seed: int = 0) -> Finding:
    """From T - 1 down, within 0 .. T-1?"""
    for T, n in ((1000, 50), (1000, 1000), (10, 3), (7, 7)):
        times = steps.spaced_times(T, n)
        if times != sorted(set(times), reverse=True) or times[0] != T - 1 or times[-1] < 0 or len(times) != n:
            return Finding(False, f"{n} of {T} times go from {times[0]} to {times[-1]}")
    return Finding(True, "times fall from T - 1")


def what_the_network_is_told(seed: int = 0) -> Finding:
    """Is the network told the time that the loop says it is at?"""
    network, t = Says(), torch.arange(20)
    d = short(network)
    d.loss(randn(seed, 20, 1), t=t)
    d.denoise(randn(seed, 20, 1), t)
    if network.told != [t.tolist()] * 2:
        return Finding(False, f"at t = 9 the network is told {network.told[-1][9]}")
    for name, chain in (
        ("all steps", steps.ddpm_steps(d, (2, 1))),
        ("6 steps of DDPM", steps.ddpm_steps(d, (2, 1), n_steps=6)),
        ("6 steps of DDIM", steps.ddim_steps(d, (2, 1), 6)),
    ):
        network.told.clear()
        said = [step.t for step in chain]
        told = network.told[:: -(-len(network.told) // len(said))]  # a step may ask more than once
        wrong = [(t, answer[0]) for t, answer in zip(said, told, strict=True) if answer != [t, t]]
        if wrong:
            return Finding(False, f"{name}: at t = {wrong[0][0]} the network is told {wrong[0][1]}")
    return Finding(True, "the network is told the t that the sampler is at")


def embedding(seed: int = 0) -> Finding:
    """Are neighbouring times told apart, and does the embedding begin with its sines?"""
    table = blocks.TimeEmbedding(64).sinusoids(torch.arange(1000))
    apart = float((table[1:] - table[:-1]).norm(dim=1).min())
    if apart < 0.5:
        return Finding(False, f"neighbouring times are {apart:.2g} apart in the embedding, for at least 0.5")
    if table[0, :8].any():
        return Finding(False, f"at t = 0 the embedding begins with {table[0, 0]:g}, for sin 0")
    return Finding(True, f"neighbouring times are at least {apart:.2g} apart, and sines come first")


@torch.no_grad()
def vary_t(seed: int = 0) -> Finding:
    """Does the same x get another answer at another t?"""
    network, x = small_unet(seed), randn(seed, 1, 1, 8, 8).expand(3, -1, -1, -1)
    early, middle, late = network(x, torch.tensor([0, 500, 999]))
    apart = float((early - late).std() / middle.std())
    return Finding(apart > 1e-3, f"from t = 0 to 999 the answer to the same x changes by {apart:.1%}")

"""Probes: do labels arrive, and does guidance pull as far as it says?

Two classes, a bump of a mixture each: what a perfect network says with a label and without one is known.
"""

from dataclasses import replace

import torch
from torch import Tensor

from ddpm_lesson import data, diffusion, schedule
from ddpm_lesson.doctor import Finding
from ddpm_lesson.lesson.ch14_bug_museum.probes.states import SMALL
from ddpm_lesson.lesson.ch14_bug_museum.probes.subjects import SHORT, plain, randn, small_unet
from ddpm_lesson.lesson.kit.mixture import ExactLabelled, GaussianMixture
from ddpm_lesson.sample import guided
from ddpm_lesson.train import batches

CLASSES = GaussianMixture((0.6, 0.4), (-0.3, 0.3), (0.3, 0.3))  # they overlap, so that a label says something new
LABEL = 1  # that the sweep asks for
SCALES = (0.0, 1.0, 3.0)
LABELLED = replace(SMALL, n_classes=10, batch_size=2000)


def labelled(steps: dict[str, float] = SHORT) -> diffusion.DenoiseDiffusion:
    """A chain, short unless told otherwise, with the perfect network for both classes."""
    chain = schedule.NoiseSchedule.linear(**steps).to(torch.float64)
    return diffusion.DenoiseDiffusion(ExactLabelled(CLASSES, chain), schedule=chain, clip_x0=False)


def tilted_noise(xt: Tensor, labels: Tensor, alpha_bar: float, scale: float) -> Tensor:
    """Guided noise by Bayes, from densities alone: -sqrt(1 - alpha_bar) times the slope of log p(x) p(label | x)^scale.

    Args:
        xt: values at a time with ``alpha_bar``, (B, C).
        labels: (B,).
        alpha_bar, scale: plain numbers.
    """
    x, noised = xt.clone().requires_grad_(), CLASSES.noised(alpha_bar)
    log_label = noised.responsibilities(x)[torch.arange(len(x)), :, labels].log()
    log_p = noised.log_prob(x).sum() + scale * log_label.sum()
    return -((1 - alpha_bar) ** 0.5) * torch.autograd.grad(log_p, x)[0]


@torch.no_grad()
def guided_noise(seed: int = 0) -> Finding:
    """Is what guidance makes of the two answers what Bayes says, in every channel and at every scale?"""
    d, (_, alpha_bar) = labelled(), plain(**SHORT)
    labels, xt = torch.tensor([0, 1]).repeat(4), randn(seed, 8, 4).double()
    for scale in SCALES:
        for t in (0, 10, 19):
            said = guided(d, labels, scale).eps_model(xt, torch.full((8,), t))
            with torch.enable_grad():
                right = tilted_noise(xt, labels, alpha_bar[t], scale)
            off = (said - right).abs().amax(0)
            if not off.max() < 1e-4:
                return Finding(False, f"at scale {scale:g} and t = {t}, {where(off)} off by {off.max():.2g}")
    return Finding(True, "guided noise is that of Bayes at scales 0, 1 and 3")


def where(off: Tensor) -> str:
    """Which channels are off, in words."""
    wrong = [str(i + 1) for i, value in enumerate(off) if not value < 1e-4]
    return "guided noise is" if len(wrong) == len(off) else f"channel {', '.join(wrong)} of guided noise is"


@torch.no_grad()
def agreement(scale: float, steps: dict[str, float] = SHORT, n: int = 200) -> float:
    """How well ``n`` samples guided to ``LABEL`` agree with it: the mean of p(LABEL | x).

    The steps are those of DDIM, in plain numbers: the package's sampler has probes of its own.
    """
    _, alpha_bar = plain(**steps)
    network = guided(labelled(steps), torch.tensor([LABEL]), scale).eps_model
    xt = torch.special.ndtri((torch.arange(n, dtype=torch.float64) + 0.5) / n)[:, None]  # x_T, evenly
    for t in reversed(range(len(alpha_bar))):
        a, b = alpha_bar[t], alpha_bar[t - 1] if t else 1.0
        eps = network(xt, torch.full((n,), t))
        xt = (b / a) ** 0.5 * (xt - (1 - a) ** 0.5 * eps) + (1 - b) ** 0.5 * eps
    return float(CLASSES.responsibilities(xt)[..., LABEL].mean())


def exact_agreement() -> tuple[float, float]:
    """What it must be at the scales 0 and 1: the mean over all data, which is the class's share, and over the class."""
    share = float(CLASSES.weights[LABEL])
    alone = GaussianMixture([1.0], CLASSES.means[LABEL:], CLASSES.stds[LABEL:])
    x = alone.quantile((torch.arange(1000) + 0.5) / 1000)
    return share, float(CLASSES.responsibilities(x)[:, LABEL].mean())


def guidance_sweep(seed: int = 0) -> Finding:
    """Do samples care for the label as little as they must at scale 0, as they must at 1, and more beyond?"""
    found, wanted = [agreement(scale) for scale in SCALES], exact_agreement()
    ok = all(abs(one - other) < 0.03 for one, other in zip(found, wanted, strict=False)) and found[2] > found[1] + 0.1
    said, must = (", ".join(f"{value:.0%}" for value in values) for values in (found, wanted))
    return Finding(ok, f"at scales 0, 1, 3 samples agree with their label by {said}, for {must} and more")


def labels_in_training(seed: int = 0) -> Finding:
    """Does every image of a batch come with its own label or with none, and none as often as asked?"""
    own = torch.arange(LABELLED.batch_size) % 10
    images = (20 * own).to(torch.uint8).view(-1, 1, 1, 1).expand(-1, 1, 8, 8)  # the label is as bright as it is high
    dataset, device = data.ImageDataset(images, own), torch.device("cpu")
    with batches.seeded(seed, device):
        batch = batches.draw_batch(dataset, LABELLED, 0, labelled())
    shown = batch.x0[:, 0, 0, 0].unique(return_inverse=True)[1]
    given = batch.class_labels != LABELLED.n_classes
    wrong = float((batch.class_labels != shown)[given].double().mean())
    if wrong:
        return Finding(False, f"{wrong:.0%} of labels are not those of their images")
    share, wanted = float((~given).double().mean()), LABELLED.label_dropout
    error = (wanted * (1 - wanted) / len(given)) ** 0.5
    return Finding(abs(share - wanted) < 5 * error, f"{share:.0%} of labels are left out, for {wanted:.0%}")


@torch.no_grad()
def vary_label(seed: int = 0) -> Finding:
    """Does the same x get another answer with another label, and does who takes no labels refuse one?"""
    x, t, labels = randn(seed, 1, 1, 8, 8).expand(3, -1, -1, -1), torch.full((3,), 500), torch.arange(3)
    said = small_unet(seed, n_classes=2)(x, t, labels)  # the third label says none
    apart = min(float((said[i] - said[i - 1]).std() / said.std()) for i in range(3))
    if apart < 1e-3:
        return Finding(False, f"another label changes the answer by {apart:.1%}")
    try:
        small_unet(seed)(x, t, labels)
    except ValueError:
        return Finding(
            True, f"another label changes the answer by at least {apart:.0%}, and who takes none refuses one"
        )
    return Finding(False, "a network without classes takes labels, and its answer is the same with any")

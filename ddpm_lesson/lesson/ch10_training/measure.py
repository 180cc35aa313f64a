"""What a loss says: at which times it is made, how much of its wobble is luck, and what is a good one."""

from typing import NamedTuple

import torch
from torch import Tensor

from ddpm_lesson.diffusion import DenoiseDiffusion
from ddpm_lesson.lesson.kit.probe import fresh_generator, image_losses
from ddpm_lesson.schedule import NoiseSchedule


def losses_by_time(diffusion: DenoiseDiffusion, x0: Tensor, times: Tensor, seed: int = 0) -> Tensor:
    """The loss of every image x0 (B, C, H, W) at every one of the times (n,), with noise of its own: (n, B)."""
    generator, rows, x0 = fresh_generator(seed), [], x0.to(diffusion.device)
    for t in times.tolist():
        eps = torch.randn(x0.shape, generator=generator).to(x0)
        rows.append(image_losses(diffusion, x0, eps, torch.full((len(x0),), t, device=x0.device)))
    return torch.stack(rows).cpu()


class Spread(NamedTuple):
    """Where the variance of one image's loss comes from."""

    within: float  # from the image and its noise, at one t: the mean of the variances
    between: float  # from drawing t: the variance of the means

    def of_batch(self, batch_size: int, *, stratified: bool = False) -> float:
        """Variance of the mean over a batch; ``stratified`` if the batch visits all t evenly."""
        return (self.within + (0.0 if stratified else self.between)) / batch_size


def spread(losses: Tensor) -> Spread:
    """The law of total variance for losses (n times, B images), all equally likely."""
    losses = losses.double()
    return Spread(float(losses.var(1, correction=0).mean()), float(losses.mean(1).var(correction=0)))


def straight_line_loss(variances: Tensor, schedule: NoiseSchedule) -> Tensor:
    """The loss of the best guess of eps that is linear in x_t, for every t: (T,).

    Along an axis on which the data have variance v, x_t has alpha_bar v + 1 - alpha_bar, and its share of data stays
    unexplained. ``variances`` (D,) are those along the principal axes, as ``principal_variances`` tells.
    """
    s = schedule.to(torch.float64)
    data = s.alpha_bar[:, None] * variances.double()[None]  # (T, D)
    return (data / (data + s.one_minus_alpha_bar[:, None])).mean(1)


def principal_variances(images: Tensor) -> Tensor:
    """Eigenvalues of the covariance of images (N, C, H, W): (C H W,)."""
    return torch.linalg.eigvalsh(images.flatten(1).double().T.cov(correction=0)).clamp_min(0)


def average_of(weights: Tensor, decay: float, *, warm_up: bool = True) -> tuple[Tensor, Tensor]:
    """The running average of weights (n+1,) after every step, and what each step counts in the last: both (n+1,).

    With ``warm_up`` the k-th update uses min(decay, (1 + k) / (10 + k)), as in training.
    """
    shares, averages = torch.eye(len(weights), dtype=weights.dtype)[0], [weights[0]]
    for k in range(1, len(weights)):
        d = min(decay, (1 + k) / (10 + k)) if warm_up else decay
        shares *= d
        shares[k] = 1 - d
        averages.append(d * averages[-1] + (1 - d) * weights[k])
    return torch.stack(averages), shares

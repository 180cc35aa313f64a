"""When a sample is decided: runs that part at some t, and a network that is a straight line from some t on."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from ddpm_lesson.diffusion import DenoiseDiffusion
from ddpm_lesson.sample import spaced_times


@torch.no_grad()
def agreement(
    diffusion: DenoiseDiffusion,
    read: Callable[[Tensor], Tensor],
    shape: tuple[int, int, int, int],
    t: int,
    seed: int,
    n_steps: int = 40,
) -> float:
    """How often two runs that go on from the same x_t, with noise of their own, end in the same class.

    Args:
        diffusion: the model; its steps have the posterior's variance.
        read: images (B, C, H, W) -> (B, classes), the largest of which is the answer.
        shape: of the batch of runs.
        t: where they part, 0 .. T-1; the nearest time of the chain is taken.
        seed: of all noise.
        n_steps: of a whole run.
    """
    times = sorted(spaced_times(diffusion.n_steps, n_steps))
    chain = diffusion.spaced(times, sigma="posterior")
    parting = min(range(n_steps), key=lambda i: abs(times[i] - t)) + 1
    generator = torch.Generator().manual_seed(seed)

    def walk(xt: Tensor, first: int, last: int) -> Tensor:
        for i in reversed(range(last, first)):
            xt = chain.p_sample(xt, torch.full((len(xt),), i), generator=generator)
        return xt

    xt = walk(torch.randn(shape, generator=generator), n_steps, parting)
    one, other = (read(walk(xt, parting, 0)).argmax(1) for _ in range(2))
    return float((one == other).double().mean())


class StraightAbove(nn.Module):
    """A network up to some t, and the best guess that is linear in x_t from there on, (10.6).

    Args:
        diffusion: the model with the network.
        images: (N, C, H, W), the data of the straight line.
        start: the first t of the straight line.
    """

    def __init__(self, diffusion: DenoiseDiffusion, images: Tensor, start: int):
        super().__init__()
        self.network, self.alpha_bar, self.start = diffusion.eps_model, diffusion.alpha_bar, start
        flat = images.flatten(1).double()
        self.mean = flat.mean(0).float()
        self.variances, self.axes = (x.float() for x in torch.linalg.eigh(flat.T.cov(correction=0)))

    def forward(self, xt: Tensor, t: Tensor) -> Tensor:
        """Guess of eps, (B, C, H, W)."""
        a = self.alpha_bar[t][:, None]
        along = (xt.flatten(1) - a.sqrt() * self.mean) @ self.axes  # (B, D)
        line = (((1 - a).sqrt() / (a * self.variances + 1 - a)) * along) @ self.axes.T
        straight = (t >= self.start)[:, None, None, None]
        return torch.where(straight, line.view_as(xt), self.network(xt, t))

"""What a noise predictor can do with and without knowing t: exactly, for data from a mixture, and trained."""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ddpm_lesson.diffusion import DenoiseDiffusion
from ddpm_lesson.lesson.kit.mixture import ExactNoise, GaussianMixture
from ddpm_lesson.sample import eval_mode
from ddpm_lesson.schedule import NoiseSchedule
from ddpm_lesson.unet import ResidualBlock, Swish, TimeEmbedding

CLOCKS = ("none", "t", "t / T", "one-hot", "sinusoids")


def alpha_bars(schedule: NoiseSchedule) -> list[float]:
    """alpha_bar of every t, in double precision."""
    return schedule.to(torch.float64).alpha_bar.tolist()


def time_posterior(data: GaussianMixture, schedule: NoiseSchedule, xt: Tensor) -> Tensor:
    """p(t | x_t) by Bayes, for a t that was drawn evenly.

    Args:
        data: what every value of x0 comes from, independently.
        schedule: the noise of the forward steps.
        xt: (B, N); the N values of a row share their time, as the pixels of an image do.

    Returns:
        (B, T), rows that sum to 1.
    """
    log_q = [data.noised(alpha_bar).log_prob(xt).sum(1) for alpha_bar in alpha_bars(schedule)]
    return torch.stack(log_q, dim=1).softmax(1)


def timeless_eps(data: GaussianMixture, schedule: NoiseSchedule, xt: Tensor) -> Tensor:
    """E[eps | x_t] when t is not told: the answers for all t, each weighted with p(t | x_t).

    Args:
        data, schedule, xt: as in ``time_posterior``.

    Returns:
        (B, N), the best answer in the mean square of whoever does not know t.
    """
    weight = time_posterior(data, schedule, xt).T[:, :, None]  # (T, B, 1)
    each = (data.exact_eps(xt, alpha_bar) for alpha_bar in alpha_bars(schedule))
    return sum(w * eps for w, eps in zip(weight, each, strict=True))


def price_of_no_clock(data: GaussianMixture, schedule: NoiseSchedule, n_pixels: int, n_images: int, seed: int) -> float:
    """How much larger the best loss is for whoever does not know t, by Monte Carlo.

    Args:
        data: what every pixel of x0 comes from, independently.
        schedule: the noise of the forward steps.
        n_pixels: values of an image, which all have the same t.
        n_images: drawn images, their times spread evenly.
        seed: of images and noise.
    """
    generator = torch.Generator().manual_seed(seed)
    t = torch.arange(n_images) * schedule.n_steps // n_images  # spread evenly
    x0 = data.sample(n_images * n_pixels, generator).view(n_images, n_pixels)
    alpha_bar = torch.tensor(alpha_bars(schedule), dtype=torch.float64)[t, None]
    eps = torch.randn(x0.shape, dtype=torch.float64, generator=generator)
    xt = alpha_bar.sqrt() * x0 + (1 - alpha_bar).sqrt() * eps
    told = ExactNoise(data, schedule)(xt, t)
    return float((told - timeless_eps(data, schedule, xt)).square().mean())


class LineNoise(nn.Module):
    """A small eps_theta for points on a line, told the time in the way called ``clock``.

    The time goes through lin1, Swish and lin2 and is added to the hidden layer, as in the blocks of the U-Net.
    Only what goes into lin1 differs between the clocks.

    Args:
        clock: ``"none"`` (always 0), ``"t"`` (the whole number), ``"t / T"``, ``"one-hot"`` (a column for every t), or
            ``"sinusoids"`` (32 of them, from ``TimeEmbedding``).
        n_steps: T.
        width: of the hidden layers.

    Raises:
        ValueError: if there is no such clock.
    """

    def __init__(self, clock: str, n_steps: int, width: int = 64):
        super().__init__()
        if clock not in CLOCKS:
            raise ValueError(f"clock must be one of {', '.join(CLOCKS)}; got {clock!r}")
        self.clock = clock
        self.n_steps = n_steps
        self.first, self.middle, self.last = nn.Linear(1, width), nn.Linear(width, width), nn.Linear(width, 1)
        self.embedding = TimeEmbedding(128)
        n_inputs = {"one-hot": n_steps, "sinusoids": 32}.get(clock, 1)
        self.lin1, self.lin2 = nn.Linear(n_inputs, 128), nn.Linear(128, width)
        self.act = Swish()

    def time_input(self, t: Tensor) -> Tensor:
        """What the network is told about ``t`` (B,): (B, 1), (B, T) or (B, 32)."""
        if self.clock == "sinusoids":
            return self.embedding.sinusoids(t)
        if self.clock == "one-hot":
            return F.one_hot(t, self.n_steps).float()
        scale = {"none": 0, "t": 1, "t / T": 1 / self.n_steps}[self.clock]
        return scale * t.float()[:, None]

    def forward(self, xt: Tensor, t: Tensor) -> Tensor:
        """(B, 1) points at times (B,) -> (B, 1)."""
        shift = self.lin2(self.act(self.lin1(self.time_input(t))))  # (B, width)
        h = self.act(self.first(4 * xt) + shift)
        return self.last(self.act(self.middle(h)))


def train_on_line(
    clock: str,
    data: GaussianMixture,
    schedule: NoiseSchedule,
    *,
    train_steps: int = 1500,
    batch_size: int = 256,
    lr: float = 5e-3,
    seed: int = 0,
) -> DenoiseDiffusion:
    """Train ``LineNoise`` on points of a mixture with L_simple (Ho et al. 2020, Algorithm 1).

    With one seed every clock sees the same points, times and noises, and starts from the same hidden layers.

    Args:
        clock: how the network is told the time.
        data, schedule: what to learn.
        train_steps, batch_size, lr: Adam's steps, points a step, and its first learning rate, which falls to 0.
        seed: of weights, points, times and noise.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        diffusion = DenoiseDiffusion(LineNoise(clock, schedule.n_steps), schedule=schedule, clip_x0=False)
        torch.manual_seed(seed + 1)
        points = data.sample(train_steps * batch_size, torch.Generator().manual_seed(seed)).float()
        optimizer = torch.optim.Adam(diffusion.parameters(), lr)
        decay = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, train_steps)
        for x0 in points.view(train_steps, batch_size, 1):
            loss = diffusion.loss(x0)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            decay.step()
    return diffusion


@torch.no_grad()
def answers(diffusion: DenoiseDiffusion, xt: Tensor) -> Tensor:
    """What a network on the line says to every point ``xt`` (N,) at every t: (T, N)."""
    network, points = eval_mode(diffusion).eps_model, xt.float()[:, None]
    times = (torch.full((len(xt),), t) for t in range(diffusion.n_steps))
    return torch.stack([network(points, t)[:, 0] for t in times]).double()


def excess_error(said: Tensor, data: GaussianMixture, schedule: NoiseSchedule, xt: Tensor) -> Tensor:
    """Mean squared distance of answers to the exact E[eps | x_t, t] for every t, by quadrature: (T,).

    This is what a loss has above its floor.

    Args:
        said: the answers, (T, N); or (N,), the same for all t.
        data, schedule: what is true.
        xt: (N,), an even grid that holds all likely points.
    """
    errors = []
    for one, alpha_bar in zip(said.expand(schedule.n_steps, -1), alpha_bars(schedule), strict=True):
        square = (one - data.exact_eps(xt, alpha_bar)) ** 2
        errors.append(torch.trapezoid(square * data.noised(alpha_bar).prob(xt), xt))
    return torch.stack(errors)


@torch.no_grad()
def turn_steps(embedding: TimeEmbedding) -> Tensor:
    """How many steps of t each clock hand takes for a whole turn, fastest hand first: (n_sinusoids / 2,).

    Read off where the hands stand at t = 1.
    """
    sines, cosines = embedding.sinusoids(torch.tensor([1])).double().chunk(2, dim=1)
    return 2 * math.pi / torch.atan2(sines, cosines)[0]


@torch.no_grad()
def added_by_blocks(network: nn.Module, t: Tensor) -> Tensor:
    """What all residual blocks of a U-Net add to their channels at times ``t`` (N,), side by side: (N, channels)."""
    tau = network.time_emb(t)
    blocks = (module for module in network.modules() if isinstance(module, ResidualBlock))
    return torch.cat([block.time_emb(block.time_act(tau)) for block in blocks], dim=1)


@torch.no_grad()
def loss_when_told(
    diffusion: DenoiseDiffusion, x0: Tensor, t: int, told: Sequence[int], generator: torch.Generator | None = None
) -> Tensor:
    """The squared error of eps on images noised to time ``t``, when the network is told other times: (len(told),).

    Args:
        diffusion: a trained model.
        x0: images, (B, C, H, W) in [-1, 1].
        t: the true time.
        told: what the network is told instead, one after the other, about the same noisy images.
        generator: of the noise.
    """
    eps = torch.randn(x0.shape, generator=generator).to(x0)
    xt = diffusion.q_sample(x0, torch.full((len(x0),), t, device=x0.device), eps)
    network = eval_mode(diffusion).eps_model
    guesses = (network(xt, torch.full((len(x0),), s, device=x0.device)) for s in told)
    return torch.stack([(guess - eps).square().mean() for guess in guesses])

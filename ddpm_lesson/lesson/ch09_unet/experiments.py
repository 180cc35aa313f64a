"""Where everything stands in a U-Net: its levels, what is kept and handed across, and what every route is worth."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ddpm_lesson.diffusion import DenoiseDiffusion
from ddpm_lesson.lesson.kit.probe import fresh_noise
from ddpm_lesson.lesson.kit.xray import Part, hooked, layers, parts
from ddpm_lesson.sample import eval_mode
from ddpm_lesson.unet import UNet, UpBlock

Route = int | str | None  # a level, "middle", or none at all


class Cost(NamedTuple):
    """What a part holds and does."""

    part: Part
    parameters: int
    macs: int  # multiply-adds for one image


def costs(unet: UNet, image_size: int) -> list[Cost]:
    """Parameters and multiply-adds of every part of a network; they add up to those of the whole.

    Args:
        unet: the network, with or without sensible weights.
        image_size: height and width of the images.

    Raises:
        ValueError: if the network cannot halve such images often enough.
    """
    found = layers(unet, image_size)

    def total(part: Part) -> Cost:
        own = [layer for layer in found if f"{layer.name}.".startswith(f"{part.name}.")]
        return Cost(part, sum(layer.parameters for layer in own), sum(layer.macs for layer in own))

    return [total(part) for part in parts(unet)]


def routes(unet: UNet) -> list[Route]:
    """The ways from one half of the network to the other: the kept maps of every level, and the middle."""
    return [*range(len(unet.settings["ch_mults"])), "middle"]


@contextmanager
def neighbours(unet: UNet, route: Route) -> Iterator[None]:
    """While it lasts, every image of a batch gets its neighbour's maps by one route, and its own by all others.

    Args:
        unet: the network.
        route: a level, for the maps kept there; ``"middle"``, for what the middle makes; None, for nothing.
    """
    blocks = [part.module for part in parts(unet) if isinstance(part.module, UpBlock) and part.level == route]
    hooks = [
        block.register_forward_pre_hook(lambda _, given: (given[0], given[1].roll(1, 0), given[2])) for block in blocks
    ]
    if route == "middle":
        hooks.append(unet.middle.register_forward_hook(lambda _, __, output: output.roll(1, 0)))
    with hooked(hooks):
        yield


@torch.no_grad()
def route_losses(
    diffusion: DenoiseDiffusion,
    x0: Tensor,
    times: Sequence[int],
    *,
    same_noise: bool = False,
    seed: int = 0,
    n_noises: int = 1,
) -> dict[Route, Tensor]:
    """The loss when one route after the other carries the neighbour's maps, at each time.

    Args:
        diffusion: a model whose network is a ``UNet``.
        x0: images, (B, C, H, W), at least two.
        times: where to measure.
        same_noise: whether neighbours share their noise, so that only their images differ.
        seed: of the noise; never that of a sample, see ``fresh_noise``.
        n_noises: how often each image is noised; losses are means.

    Returns:
        route -> (len(times),) mean squared errors of the noise; None stands for the network as it is.
    """
    unet = eval_mode(diffusion).eps_model
    noises = fresh_noise(x0.expand(n_noises, *x0.shape), seed)
    noises = noises[:, :1].expand_as(noises) if same_noise else noises
    losses: dict[Route, list[Tensor]] = {route: [] for route in (None, *routes(unet))}
    for time in times:
        t = torch.full((len(x0),), time, device=x0.device)
        noisy = [(diffusion.q_sample(x0, t, eps), eps) for eps in noises]
        for route, found in losses.items():
            with neighbours(unet, route):
                found.append(torch.stack([(unet(xt, t) - eps).square().mean() for xt, eps in noisy]).mean().cpu())
    return {route: torch.stack(found) for route, found in losses.items()}


@torch.no_grad()
def randomised(unet: nn.Module, seed: int = 0) -> nn.Module:
    """The network itself with a random value in every parameter: an untrained one answers 0, whatever it is.

    Weights keep the size of what passes through them; gains stay near 1, and shifts and biases near 0.
    """
    generator = torch.Generator().manual_seed(seed)
    for parameter in unet.parameters():
        noise = torch.randn(parameter.shape, generator=generator).to(parameter)
        if parameter.ndim > 1:
            parameter.copy_(noise * parameter[0].numel() ** -0.5)
        else:
            parameter.add_(noise, alpha=0.1)
    return unet


def loud(unet: UNet) -> UNet:
    """The network itself with no layer at zero: every weight Xavier-uniform, the zeroed ones too."""
    for module in unet.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            nn.init.xavier_uniform_(module.weight)
    return unet


class FirstStep(NamedTuple):
    """One of the first steps of a training."""

    loss: float
    reached: float  # share of the parameters that a gradient reaches


def first_steps(unet: UNet, x0: Tensor, n_steps: int, batch_size: int = 32, lr: float = 2e-3) -> Iterator[FirstStep]:
    """The first steps of a training with Adam; seeded, and the caller's random numbers stay as they were.

    Args:
        unet: the network, which is changed.
        x0: images to draw batches from, (B, C, H, W).
        n_steps, batch_size, lr: of the training.
    """
    diffusion, optimiser = DenoiseDiffusion(unet), torch.optim.Adam(unet.parameters(), lr)
    batches = torch.randint(len(x0), (n_steps, batch_size), generator=torch.Generator().manual_seed(0))
    n_parameters = sum(p.numel() for p in unet.parameters())
    for step, batch in enumerate(batches):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(step)
            loss = diffusion.loss(x0[batch])
        optimiser.zero_grad()
        loss.backward()
        reached = sum(p.numel() for p in unet.parameters() if p.grad is not None and p.grad.any())
        yield FirstStep(loss.item(), reached / n_parameters)
        optimiser.step()

"""The whole U-Net: what its settings cost, and what its levels see."""

from functools import lru_cache
from math import gcd
from typing import Any

import torch
from torch import Tensor

from ddpm_lesson.diffusion import DenoiseDiffusion
from ddpm_lesson.lesson.ch09_unet.plots import LevelMaps, levels_picture, unet_picture
from ddpm_lesson.lesson.kit.figure import SCALE, Picture, noted, picture, stacked
from ddpm_lesson.lesson.kit.panel import Panel, choice, slider, stops
from ddpm_lesson.lesson.kit.probe import fresh_noise
from ddpm_lesson.lesson.kit.xray import Part, activations, blank_unet, parts
from ddpm_lesson.unet import DownBlock, MiddleBlock, UpBlock

MULTIPLIERS = {
    "1 1 1 1": (1, 1, 1, 1),
    "1 2 2 2 (paper)": (1, 2, 2, 2),
    "1 2 2 4": (1, 2, 2, 4),
    "1 2 4 16 (compound)": (1, 2, 4, 16),
    "1 2 4 (MNIST)": (1, 2, 4),
    "1 1 2 2 4 4 (LSUN)": (1, 1, 2, 2, 4, 4),
}
ATTENTION = {"none": (), "8×8": (8,), "16×16": (16,), "32, 16, 8": (32, 16, 8), "everywhere": None}
SIZES = (16, 28, 32, 64, 128, 256)


def workable(
    n_channels: int, ch_mults: tuple[int, ...], attention: str, n_blocks: int, image_size: int
) -> tuple[dict[str, Any], int, str]:
    """The nearest settings that work, the nearest side that can be halved often enough, and what was changed."""
    notes, halvings = [], 2 ** (len(ch_mults) - 1)
    n_groups = gcd(32, n_channels)
    if n_groups < 32:
        notes.append(f"32 groups do not divide a width of {n_channels}. Shown instead: {n_groups} groups.")
    if image_size % halvings:
        larger = image_size + halvings - image_size % halvings
        notes.append(f"Sides must be divisible by {halvings}; got {image_size}. Shown instead: {larger}.")
        image_size = larger
    sides, wanted = [image_size >> i for i in range(len(ch_mults))], ATTENTION[attention]
    is_attn = tuple(wanted is None or side in wanted for side in sides)
    if wanted and not any(is_attn):
        notes.append(f"No level has maps of {attention}: only the middle has attention.")
    settings = {"n_channels": n_channels, "ch_mults": ch_mults, "is_attn": is_attn, "n_blocks": n_blocks}
    return settings | {"n_groups": n_groups}, image_size, " ".join(notes)


def show_xray() -> Panel:
    """The U-Net and its cost, drawn from the live module, as its settings change."""

    @lru_cache(maxsize=512)
    def draw(n_channels: int, ch_mults: tuple[int, ...], attention: str, n_blocks: int, image_size: int) -> Picture:
        settings, side, note = workable(n_channels, ch_mults, attention, n_blocks, image_size)
        return noted(unet_picture(blank_unet(**settings), side), note)

    return Panel(
        "What makes a U-Net large, and what makes it slow?",
        draw,
        n_channels=stops("base width", (32, 48, 64, 96, 128, 192, 256), 128),
        ch_mults=stops("multipliers", MULTIPLIERS.items(), (1, 2, 2, 2)),
        attention=choice("attention at", ATTENTION, "16×16"),
        n_blocks=slider("blocks a level", 1, 3, 2),
        image_size=stops("image size", SIZES, 32),
    )


AMPLIFIED = "10 · (guess - ε)"
N_MAPS, SEEN_AT = 3, (50, 300, 900)  # maps a place, and the times by which they are chosen


def show_levels(diffusion: DenoiseDiffusion, x0: Tensor) -> Panel:
    """What every level of a trained network makes of a noisy image, as t moves.

    Shown are the channels that vary most over the pixels, on average over all images and a few times.

    Args:
        diffusion: a model whose network is a ``UNet``.
        x0: images of one channel, (B, 1, H, W) in [-1, 1].
    """
    places = last_blocks(diffusion)
    eps = fresh_noise(x0)

    def look(t: int, images: slice) -> dict[str, Tensor]:
        times = torch.full((len(x0[images]),), t, device=x0.device)
        xt = diffusion.q_sample(x0[images], times, eps[images])
        seen = activations(diffusion.eps_model, xt, times, [*(place.name for place in places), "final"])
        noise = {"guess of ε": seen["final"], "ε": eps[images], AMPLIFIED: 10 * (seen["final"] - eps[images])}
        return seen | noise | {"xₜ": xt, "guess of x₀": diffusion.predict_x0(xt, times, seen["final"])}

    seen = [look(t, slice(None)) for t in SEEN_AT]
    spread = {p.name: torch.stack([s[p.name].std((2, 3)).mean(0) for s in seen]).mean(0) for p in places}
    chosen = {name: sorted(values.topk(N_MAPS).indices.tolist()) for name, values in spread.items()}

    @lru_cache(maxsize=1024)
    def draw(t: int, image: int) -> Picture:
        seen = {name: values[0].cpu() for name, values in look(t, slice(image, image + 1)).items()}
        shown = [LevelMaps(p.way, p.level, chosen[p.name], seen[p.name][chosen[p.name]]) for p in places]
        error = float((seen["guess of ε"] - seen["ε"]).square().mean())
        ends = {name: seen[name][0] for name in ("xₜ", "guess of x₀", "guess of ε", "ε", AMPLIFIED)}
        return levels_picture(shown, ends, t, f"image {image}, mean squared error of the noise {error:.2g}")

    early, late = draw(SEEN_AT[0], 0), draw(SEEN_AT[-1], 0)
    return Panel(
        "Which levels see the digit, which see the noise, and when?",
        draw,
        static=picture(stacked(early.image(), late.image()), f"{early.alt}. {late.alt}", SCALE),
        t=slider("t", 0, diffusion.n_steps - 1, SEEN_AT[0]),
        image=slider("image", 0, len(x0) - 1, 0),
    )


def last_blocks(diffusion: DenoiseDiffusion) -> list[Part]:
    """The last block of every level on each way, and the middle, in the order of the forward pass."""
    blocks = [p for p in parts(diffusion.eps_model) if isinstance(p.module, DownBlock | MiddleBlock | UpBlock)]
    last = {(part.way, part.level): part for part in blocks}
    return list(last.values())

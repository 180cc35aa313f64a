"""Attention: where a pixel looks, and what the scale of the scores does."""

from functools import lru_cache

import torch
from torch import Tensor

from ddpm_lesson.diffusion import DenoiseDiffusion
from ddpm_lesson.lesson.ch07_attention_block.experiments import looks
from ddpm_lesson.lesson.ch07_attention_block.plots import ScalePlot, query_picture
from ddpm_lesson.lesson.kit.figure import Picture
from ddpm_lesson.lesson.kit.panel import Panel, choice, slider, stops

WIDTHS = (1, 4, 16, 64, 256, 1024)
SCALES = {"1 / sqrt(d_k)": -0.5, "none": 0.0, "1 / d_k": -1.0}  # name -> power of d_k that multiplies the scores
N_KEYS = 16


def show_attention(diffusion: DenoiseDiffusion, x0: Tensor) -> Panel:
    """Where a pixel of a feature map looks, in every attention block of a trained network.

    Args:
        diffusion: a trained model with attention blocks that all work at one resolution; heads are averaged.
        x0: one image, (1, C, H, W) in [-1, 1].
    """
    x0 = x0.to(diffusion.device)
    eps = torch.randn(x0.shape, generator=torch.Generator().manual_seed(0)).to(x0)

    @lru_cache(maxsize=256)
    def look(t: int) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        times = torch.tensor([t], device=x0.device)
        xt = diffusion.q_sample(x0, times, eps)
        eps_theta, maps = looks(diffusion.eps_model, xt, times)
        x0_hat = diffusion.predict_x0(xt, times, eps_theta).clamp(-1, 1)
        return xt[0].cpu(), x0_hat[0].cpu(), {name: each[0].mean(0).cpu() for name, each in maps.items()}

    def draw(row: int, column: int, t: int, block: str) -> Picture:
        xt, x0_hat, maps = look(t)
        where = f"block {block}, t = {t} of {diffusion.n_steps}"
        return query_picture(xt, x0_hat, maps[block][row, column], (row, column), where)

    start = diffusion.n_steps // 4
    maps = look(start)[2]
    height, width = next(iter(maps.values())).shape[:2]
    return Panel(
        "Where does a pixel look for help, and how does that change with the noise?",
        draw,
        row=slider("row", 0, height - 1, height // 2),
        column=slider("column", 0, width - 1, width // 2),
        t=slider("t", 0, diffusion.n_steps - 1, start, 10),
        block=choice("block", maps, list(maps)[-1]),
    )


def show_score_scale() -> Panel:
    """What the softmax makes of scores for narrow and wide heads, with and without the scale."""
    plot = ScalePlot(N_KEYS)

    def draw(d_k: int, scale: str, seed: int) -> Picture:
        q, *keys = torch.randn(N_KEYS + 1, d_k, generator=torch.Generator().manual_seed(seed))
        plain = torch.stack(keys) @ q
        return plot.draw(plain * d_k ** SCALES[scale], plain, f"d_k = {d_k}, scale {scale}, draw {seed}")

    return Panel(
        "How wide may a head become before its softmax sees one key only, and which scale prevents that?",
        draw,
        d_k=stops("d_k", WIDTHS, 64),
        scale=choice("scale", SCALES),
        seed=slider("draw", 0, 9, 7),  # a draw like most
    )

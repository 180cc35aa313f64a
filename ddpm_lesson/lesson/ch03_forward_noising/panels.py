"""The way into noise: the schedule, and x_t."""

from functools import lru_cache

import torch
from torch import Tensor, nn

from ddpm_lesson.bound import prior_bits
from ddpm_lesson.data import DATASETS, DataError, load_images
from ddpm_lesson.diffusion import DenoiseDiffusion
from ddpm_lesson.lesson.ch03_forward_noising.plots import SchedulePlot, xt_picture
from ddpm_lesson.lesson.kit.figure import Picture, noted
from ddpm_lesson.lesson.kit.panel import Panel, choice, log_slider, slider, stops
from ddpm_lesson.sample import forward_steps
from ddpm_lesson.schedule import NoiseSchedule

T_STOPS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 4000)
N_IMAGES = 9
ENDS = (1e-4, 0.02)  # beta_start and beta_end of the paper


def show_schedule(image: Tensor | None = None) -> Panel:
    """The beta-schedule explorer: how fast does an image drown?

    Args:
        image: (C, H, W) in [-1, 1]; a handwritten digit unless given.
    """
    image = load_images("digits", "test")[0] if image is None else image
    eps = torch.randn(image.shape, generator=torch.Generator().manual_seed(0))
    plot = SchedulePlot(NoiseSchedule.linear())

    def draw(kind: str, T: int, beta_start: float, beta_end: float) -> Picture:
        T, beta_end, note = sensible(kind, T, beta_start, beta_end)
        ends = {} if kind == "cosine" else {"beta_start": beta_start, "beta_end": beta_end}
        schedule = NoiseSchedule.from_settings({"kind": kind, "n_steps": T, **ends})
        times = torch.linspace(0, T - 1, min(T, N_IMAGES)).round().long()
        shape = (len(times), *image.shape)
        diffusion = DenoiseDiffusion(nn.Identity(), schedule=schedule, prediction="v")  # alpha_bar may end at 0
        xt = diffusion.q_sample(image.expand(shape), times, eps.expand(shape))
        return noted(plot.draw(schedule, times.tolist(), xt, float(prior_bits(schedule, image[None]))), note)

    return Panel(
        "How small must the steps be, and how many, so that nothing of the image is left at the end?",
        draw,
        kind=choice("schedule", ("linear", "quadratic", "sigmoid", "cosine")),
        T=stops("T", T_STOPS, 1000),
        beta_start=log_slider("beta_start", -6, -1, ENDS[0]),
        beta_end=log_slider("beta_end", -5, -0.05, ENDS[1]),
    )


def sensible(kind: str, T: int, beta_start: float, beta_end: float) -> tuple[int, float, str]:
    """T and beta_end of the nearest schedule that makes sense, and a note on what was changed and why."""
    notes = []
    if T < 2:
        notes.append(f"T must be at least 2, or there is no way from start to end; got {T}. Shown instead: T = 2.")
    if kind == "cosine":
        if (beta_start, beta_end) != ENDS:
            notes.append(f"cosine takes no beta_start and beta_end; {beta_start:.1e} and {beta_end:.1e} are not used.")
    elif beta_end < beta_start:
        notes.append(
            f"beta_end must not be below beta_start; got {beta_end:.1e} below {beta_start:.1e}. "
            f"Shown instead: beta_end = {beta_start:.1e}."
        )
        beta_end = beta_start
    return max(T, 2), beta_end, " ".join(notes)


def show_xt(drawn: Tensor | None = None) -> Panel:
    """The x_t explorer: one image, one noise, and what q_sample makes of them, beside the chain of small steps.

    Args:
        drawn: images (8, C, H, W) in [-1, 1] to offer before those of the data sets.
    """
    diffusion = DenoiseDiffusion(nn.Identity())
    names = [*DATASETS] if drawn is None else ["drawn", *DATASETS]

    @lru_cache(maxsize=8)
    def images(name: str) -> Tensor:
        return drawn if name == "drawn" else load_images(name, "test", download=False)[:8]

    @lru_cache(maxsize=4)
    def noise_and_chain(name: str, index: int, seed: int) -> tuple[Tensor, list[Tensor]]:
        x0 = images(name)[index, None]
        generator = torch.Generator().manual_seed(seed)
        eps = torch.randn(x0.shape, generator=generator)
        return eps, list(forward_steps(diffusion, x0, generator))

    def draw(name: str, index: int, t: int, seed: int) -> Picture:
        note = ""
        try:
            x0 = images(name)[index, None]
        except DataError as error:
            note, name = f"{error}. Shown instead: {names[0]}.", names[0]
            x0 = images(name)[index, None]
        eps, chain = noise_and_chain(name, index, seed)
        xt = diffusion.q_sample(x0, torch.tensor([t]), eps)
        mean, var = diffusion.q_xt_x0(torch.ones(1, 1, 1, 1), torch.tensor([t]))
        signal, noise, snr_db = float(mean), float(var) ** 0.5, float(diffusion.schedule.snr_db[t])
        alt = (
            f"{name} image {index} with noise {seed} at t = {t} of {diffusion.n_steps}, signal-to-noise "
            f"{snr_db:.1f} dB: x_0, eps, x_t = {signal:.3f} x_0 + {noise:.3f} eps, and x_t after {t + 1} small steps"
        )
        parts = f"{signal:.2f} x_0 + {noise:.2f} eps, {snr_db:.0f} dB"
        return noted(xt_picture(x0, eps, xt, chain[t], parts, alt), note)

    return Panel(
        "When does the image disappear? And is x_t after many small steps noisier than x_t in one shot?",
        draw,
        name=choice("data set", names),
        index=slider("image", 0, 7, 0),
        t=slider("t", 0, diffusion.n_steps - 1, 200),
        seed=slider("seed of noise", 0, 9, 0),
    )

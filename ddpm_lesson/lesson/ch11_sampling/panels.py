"""The way back: states of a run, the variance of a step, samplers, and what lies between or behind."""

from collections.abc import Iterable
from itertools import product

import torch
from torch import Tensor

from ddpm_lesson.diffusion import DenoiseDiffusion
from ddpm_lesson.lesson.ch11_sampling.plots import (
    StepVariances,
    completions_picture,
    mix_picture,
    rms,
    rows_picture,
    state_picture,
)
from ddpm_lesson.lesson.ch11_sampling.proofs import exact_variance
from ddpm_lesson.lesson.ch11_sampling.race import SAMPLERS, ddim
from ddpm_lesson.lesson.kit.figure import Picture
from ddpm_lesson.lesson.kit.panel import Panel, choice, log_slider, slider, stops
from ddpm_lesson.sample import (
    ReverseStep,
    final_samples,
    inpaint_steps,
    interpolate_steps,
    spaced_times,
)
from ddpm_lesson.schedule import NoiseSchedule


def show_states(steps: Iterable[ReverseStep], T: int, what: str = "images") -> Panel:
    """Scrub through the states of one run: x_t, the estimate x0_hat, and what changed in the estimate.

    Args:
        steps: states from noise to image.
        T: number of diffusion steps of the model.
        what: what the images are, for the alternative text.

    Raises:
        ValueError: if there are no states.
    """
    steps = [ReverseStep(step.t, step.xt.cpu(), step.x0_hat.cpu()) for step in steps]
    if not steps:
        raise ValueError("steps must hold at least one state of the reverse process; got none")

    def draw(step: int) -> Picture:
        return state_picture(steps[step], steps[step - 1] if step else None, T, what)

    return Panel(
        "When does the network change its mind, and about what?",
        draw,
        static=draw(len(steps) // 2),
        step=slider("steps back", 0, len(steps) - 1, 0),
    )


def show_step_variance() -> Panel:
    """beta', beta_tilde' and the right variance between them, for a number of steps and a width of the data."""
    schedule = NoiseSchedule.linear().to(torch.float64)
    plot = StepVariances()

    def draw(n_steps: int, std: float) -> Picture:
        times = spaced_times(schedule.n_steps, n_steps)[::-1]
        s = schedule.spaced(times)
        right = exact_variance(torch.tensor(std, dtype=torch.float64), s.alpha_bar, s.alpha_bar_prev)
        return plot.draw(times, s.beta, right, s.beta_tilde, std)

    return Panel(
        "Which variance is right, and when does it matter which one you take?",
        draw,
        n_steps=stops("steps", (5, 10, 20, 50, 100, 250, 500), 10),
        std=log_slider("s of the data", -2, 0.3, 0.1),
    )


CONTESTANTS = {
    "DDIM, eta = 0": SAMPLERS["ddim"],
    "DDIM, eta = 0.5": ddim(0.5),
    "eta = 1, which is beta_tilde": ddim(1.0),
    "sigma² = beta": SAMPLERS["beta"],
}


def show_samplers(
    diffusion: DenoiseDiffusion,
    shape: tuple[int, int, int],
    counts: tuple[int, ...] = (5, 10, 20),
    n_seeds: int = 2,
    n_images: int = 8,
) -> Panel:
    """Samples by sampler, number of steps and seed; all of them drawn beforehand.

    Args:
        diffusion: a trained model.
        shape: of an image, (C, H, W).
        counts: numbers of steps.
        n_seeds: how many batches to choose from.
        n_images: images of each.
    """
    drawn = {}
    for (name, steps), n in product(CONTESTANTS.items(), counts):
        generator = torch.Generator().manual_seed(0)
        samples = final_samples(steps(diffusion, (n_seeds * n_images, *shape), n, generator)).cpu()
        drawn[name, n] = samples.view(n_seeds, n_images, *shape)

    def draw(sampler: str, n_steps: int, seed: int) -> Picture:
        here, there = drawn[sampler, n_steps][seed], drawn["DDIM, eta = 0", counts[-1]][seed]
        far = rms(here - there)
        alt = (
            f"{n_images} samples, seed {seed}, {sampler}, {n_steps} steps, over those of DDIM with {counts[-1]} steps "
            f"from the same noise: root mean square difference {far:.2f}"
        )
        captions = [""] * n_images
        captions[n_images // 2] = f"{sampler}: the rows differ by {far:.2f}"  # long, so in the middle
        return rows_picture({f"{n_steps} steps": here, f"DDIM, {counts[-1]}": there}, alt, captions)

    return Panel(
        "How few steps are enough, and what goes wrong below that?",
        draw,
        sampler=choice("sampler", CONTESTANTS),
        n_steps=stops("steps", counts, counts[0]),
        seed=slider("seed", 0, n_seeds - 1, 0),
    )


WEIGHTS = torch.linspace(0, 1, 11)


def show_interpolation(
    diffusion: DenoiseDiffusion, images: tuple[Tensor, Tensor], times: tuple[int, ...], n_steps: int = 10
) -> Panel:
    """Between two images, through x_t; everything is computed beforehand.

    Args:
        diffusion: a trained model.
        images: two, each (C, H, W) in [-1, 1].
        times: t to offer.
        n_steps: of the way back.
    """
    ends = tuple(image.to(diffusion.device) for image in images)
    runs = {}
    for t, mix in product(times, ("linear", "spherical")):
        generator = torch.Generator().manual_seed(0)
        steps = list(interpolate_steps(diffusion, ends, t, WEIGHTS, generator, n_steps=n_steps, mix=mix))
        runs[t, mix] = steps[0].xt.cpu(), steps[-1].x0_hat.cpu()

    def draw(t: int, weight: float, mix: str) -> Picture:
        xt, x0_hat = runs[t, mix]
        at = round(10 * weight)
        alt = f"Two images mixed at t = {t} of {diffusion.n_steps}, {mix}, weight {weight:.1f}, x_t with a root mean "
        return mix_picture(images, xt, x0_hat, WEIGHTS.tolist(), at, f"{alt}square of {rms(xt[at]):.2f}")

    return Panel(
        "How far must two images sink into noise before what lies between them is a digit again?",
        draw,
        t=stops("t", times, times[len(times) // 2]),
        weight=slider("weight of b", 0.0, 1.0, 0.5, 0.1),
        mix=choice("mix", ("linear", "spherical")),
    )


def halves(shape: tuple[int, int, int]) -> dict[str, Tensor]:
    """Masks by name: True where the image is known."""
    rows, columns = (torch.arange(n) for n in shape[1:])
    top, left = (rows < shape[1] // 2)[:, None], (columns < shape[2] // 2)[None]
    middle = ((rows - (shape[1] - 1) / 2).abs() < shape[1] / 4)[:, None] & (
        (columns - (shape[2] - 1) / 2).abs() < shape[2] / 4
    )[None]
    masks = {"top half": top, "left half": left, "bottom half": ~top, "right half": ~left, "frame": ~middle}
    return {name: mask.expand(shape) for name, mask in masks.items()}


def show_inpainting(
    diffusion: DenoiseDiffusion,
    known: Tensor,
    n_steps: int = 15,
    rounds: tuple[int, ...] = (1, 3),
    n_seeds: int = 2,
    n_images: int = 6,
) -> Panel:
    """Completions of an image of which a part is known, with sigma² = beta_tilde; all of them drawn beforehand.

    Args:
        diffusion: a trained model.
        known: the image, (C, H, W) in [-1, 1].
        n_steps, rounds: number of steps, and how often each is taken.
        n_seeds: how many sets of completions to choose from.
        n_images: completions in each.
    """
    masks = halves(tuple(known.shape))
    each = n_seeds * n_images
    images = known.to(diffusion.device).expand(each * len(masks), *known.shape)
    mask = torch.stack(list(masks.values())).repeat_interleave(each, 0).to(images.device)
    drawn = {}
    for resample in rounds:
        generator = torch.Generator().manual_seed(0)
        steps = inpaint_steps(diffusion, images, mask, generator, n_steps=n_steps, resample=resample, sigma="posterior")
        found = final_samples(steps).cpu().view(len(masks), n_seeds, n_images, *known.shape)
        drawn[resample] = dict(zip(masks, found, strict=True))

    def draw(part: str, resample: int, seed: int) -> Picture:
        alt = (
            f"An image, its {part} that is known, and {n_images} completions, seed {seed}, every step {resample} times"
        )
        return completions_picture(known, masks[part], drawn[resample][part][seed], alt)

    return Panel(
        "What can the hidden part be, given the part you see?",
        draw,
        part=choice("known", masks),
        resample=stops("rounds a step", rounds, rounds[0]),
        seed=slider("seed", 0, n_seeds - 1, 0),
    )

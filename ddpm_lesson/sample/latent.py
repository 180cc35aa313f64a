"""Between two images: mix what the sampler starts from, and go back from the mix."""

from collections.abc import Iterator

import torch
from torch import Tensor

from ddpm_lesson.diffusion import DenoiseDiffusion, noise_like, same_shape
from ddpm_lesson.sample.steps import ReverseStep, ddim_steps


def slerp(a: Tensor, b: Tensor, weight: Tensor | float) -> Tensor:
    """From ``a`` to ``b`` on an arc instead of a straight line, so that the length of what lies between stays.

    Shoemake 1985; Song et al. 2021 (DDIM), section D.5.

    Args:
        a, b: (B, ...), of one shape.
        weight: 0 for ``a``, 1 for ``b``; a number, or (B,) with one for every element.

    Returns:
        The shape of ``a``. Where ``a`` and ``b`` point the same way, the straight line.

    Raises:
        ValueError: if the shapes differ, or there are more weights than elements, or fewer.
    """
    same_shape("b", b, a)
    rows = (len(a), *[1] * (a.ndim - 1))
    weight = torch.as_tensor(weight, dtype=a.dtype, device=a.device)
    if weight.shape not in ((), (1,), (len(a),)):
        raise ValueError(f"weight must be a number or ({len(a)},), one an element; got {tuple(weight.shape)}")
    weight = weight.expand(len(a)).view(rows)
    cosine = torch.cosine_similarity(a.flatten(1), b.flatten(1)).clamp(-1, 1).view(rows)
    angle = cosine.acos()
    parallel = angle.sin().abs() < 1e-4
    arc = ((1 - weight) * angle).sin() * a + (weight * angle).sin() * b
    return torch.where(parallel, torch.lerp(a, b, weight), arc / angle.sin().masked_fill(parallel, 1.0))


MIXES = {"linear": torch.lerp, "spherical": slerp}


def interpolate_steps(
    diffusion: DenoiseDiffusion,
    x0: tuple[Tensor, Tensor],
    t: int,
    weights: Tensor,
    generator: torch.Generator | None = None,
    *,
    n_steps: int = 20,
    mix: str = "linear",
) -> Iterator[ReverseStep]:
    """Between two images: noise both up to time t, mix them there, and go back.

    Ho et al. 2020, section 4.4. The way back is DDIM's with eta = 0, so that nothing but the weight differs.

    Args:
        diffusion: a trained model.
        x0: the two images, each (C, H, W) in [-1, 1].
        t: how far into the noise, 0 .. T-1.
        weights: (B,), 0 for the first image and 1 for the second.
        generator: where the noise of the two images comes from.
        n_steps: how many of the times 0 .. t to visit on the way back, fewer if there are not as many.
        mix: ``"linear"`` (the paper's) or ``"spherical"``.

    Yields:
        ``(t, xt, x0_hat)`` for falling t; each (B, C, H, W), one image a weight.

    Raises:
        ValueError: if ``mix`` is unknown or ``t`` is out of range.
    """
    if mix not in MIXES:
        raise ValueError(f"mix must be one of {', '.join(MIXES)}; got {mix!r}")
    images = torch.stack(x0)
    one, other = diffusion.q_sample(images, torch.full((2,), t, device=images.device), noise_like(images, generator))
    shape = (len(weights), *images.shape[1:])
    weights = weights.to(images).view(-1, *[1] * (images.ndim - 1))
    mixed = MIXES[mix](one.expand(shape), other.expand(shape), weights if mix == "linear" else weights.flatten())
    return ddim_steps(diffusion, shape, min(n_steps, t + 1), start=mixed, t_start=t)

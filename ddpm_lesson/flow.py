"""Flow matching: straight paths between data and noise, and a network that learns how fast to go along them.

A sibling of ``DenoiseDiffusion`` for times in [0, 1]. As everywhere in this package, and as in diffusers and Esser et
al. 2024, t = 0 is data and t = 1 noise. Lipman et al. 2023 and Liu et al. 2023 count from noise at 0 to data at 1, and
their velocity has the other sign.
"""

import copy
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ddpm_lesson.diffusion import check_batch, noise_like, same_shape
from ddpm_lesson.sample.steps import check_start, eval_mode
from ddpm_lesson.schedule import check_steps


class FlowMatching(nn.Module):
    """A velocity field from data to noise, x_t = (1 - t) x0 + t eps (Liu et al. 2023; Lipman et al. 2023).

    Args:
        velocity_model: the network, ``velocity_model(xt, 1000 t)`` of the shape of ``xt``, so that a ``UNet`` finds the
            times it was made for; labels, if the loss is given any, are its third argument.
    """

    def __init__(self, velocity_model: nn.Module):
        super().__init__()
        self.velocity_model = velocity_model
        self.trusts_times = False  # see trusting

    @property
    def eps_model(self) -> nn.Module:
        """The network, as training and checkpoints call that of a ``DenoiseDiffusion``."""
        return self.velocity_model

    @property
    def device(self) -> torch.device:
        """Where the model lives."""
        return next(self.parameters()).device

    def trusting(self) -> "FlowMatching":
        """This very model for a loop that makes its own times: as that of ``DenoiseDiffusion``."""
        model = copy.copy(self)
        model.trusts_times = True
        return model

    def velocity(self, xt: Tensor, t: Tensor, class_labels: Tensor | None = None) -> Tensor:
        """dx/dt at ``xt`` (B, ...) and times ``t`` (B,) in [0, 1]: the network's mean of eps - x0.

        Raises:
            ValueError: if t does not fit, or the network returns another shape.
        """
        check_flow_times(t, xt, trusted=self.trusts_times)
        labels = () if class_labels is None else (class_labels,)
        v = self.velocity_model(xt, 1000 * t, *labels)
        same_shape("the velocity", v, xt)
        return v

    def q_sample(self, x0: Tensor, t: Tensor, eps: Tensor) -> Tensor:
        """x_t on the straight line from ``x0`` at t = 0 to ``eps`` at t = 1; errors as in ``loss``."""
        check_flow_times(t, x0, trusted=self.trusts_times)
        same_shape("eps", eps, x0)
        return torch.lerp(x0, eps, t.view(-1, *[1] * (x0.ndim - 1)).to(x0))

    def loss(
        self,
        x0: Tensor,
        noise: Tensor | None = None,
        t: Tensor | None = None,
        class_labels: Tensor | None = None,
    ) -> Tensor:
        """How well the network guesses the velocity eps - x0 of a straight path, at a time drawn for every image.

        Liu et al. 2023, Eq. 1; Lipman et al. 2023, Eq. 14.

        Args:
            x0: data in [-1, 1], (B, ...).
            noise: eps, the other end of each path, the shape of ``x0``; drawn unless given.
            t: times, (B,) in [0, 1]; drawn evenly unless given.
            class_labels: (B,), for a network that takes them.

        Returns:
            A scalar, the mean over all values.

        Raises:
            ValueError: if ``x0`` is no batch, ``noise`` or the network's answer has another shape, or t does not fit.
        """
        check_batch(x0)
        t = torch.rand(len(x0), device=x0.device) if t is None else t
        eps = torch.randn_like(x0) if noise is None else noise
        return F.mse_loss(self.velocity(self.q_sample(x0, t, eps), t, class_labels), eps - x0)


class FlowStep(NamedTuple):
    """Where the flow stands before it leaves time t."""

    t: float  # from 1 down
    xt: Tensor
    x0_hat: Tensor  # where its velocity would carry it in one straight step; at the last step, the sample


SOLVERS = ("euler", "heun")


def flow_steps(
    flow: FlowMatching,
    shape: Sequence[int],
    n_steps: int = 50,
    generator: torch.Generator | None = None,
    *,
    solver: str = "euler",
    start: Tensor | None = None,
    class_labels: Tensor | None = None,
) -> Iterator[FlowStep]:
    """From noise at t = 1 to data at t = 0, against the velocity.

    Args:
        flow: the model; its dropout is off for the samples, and its mode is left as it is.
        shape: of the batch, such as (B, C, H, W).
        n_steps: how many equal steps.
        generator: where the noise at the start comes from.
        solver: ``"euler"``, or ``"heun"``, which asks the network 2 n_steps - 1 times: its last step is Euler's.
        start: the noise to start from; drawn unless given.
        class_labels: (B,), for a network that takes them.

    Yields:
        ``(t, xt, x0_hat)`` for falling t. The last ``x0_hat`` is the sample.

    Raises:
        ValueError: if an argument is unknown or out of range, or ``start`` has another shape.
    """
    if solver not in SOLVERS:
        raise ValueError(f"solver must be one of {', '.join(SOLVERS)}; got {solver!r}")
    check_steps(n_steps)
    if solver == "heun" and n_steps == 1:
        raise ValueError("n_steps must be at least 2 for solver 'heun', whose last step is Euler's; got 1")
    check_start(start, shape)
    return _flow_steps(eval_mode(flow.trusting()), shape, n_steps, generator, solver, start, class_labels)


@torch.no_grad()
def _flow_steps(
    flow: FlowMatching,
    shape: Sequence[int],
    n_steps: int,
    generator: torch.Generator | None,
    solver: str,
    start: Tensor | None,
    class_labels: Tensor | None,
) -> Iterator[FlowStep]:
    """The loop of ``flow_steps``, once its arguments are known to be right."""
    like = next(flow.parameters(), torch.empty(0)).new_empty(tuple(shape))
    xt = noise_like(like, generator) if start is None else start
    dt = 1 / n_steps
    for i in range(n_steps, 0, -1):
        t = xt.new_full((len(xt),), i * dt)
        v = flow.velocity(xt, t, class_labels)
        yield FlowStep(i * dt, xt, xt - i * dt * v)
        if solver == "heun" and i > 1:
            v = (v + flow.velocity(xt - dt * v, t - dt, class_labels)) / 2
        xt = xt - dt * v


def check_flow_times(t: Tensor, x: Tensor, *, trusted: bool = False) -> None:
    """Raise a ValueError unless ``t`` holds a time in [0, 1] for every element of the batch ``x``.

    Their values are not looked at if they are ``trusted``, nor inside of ``torch.compile``, which has none.
    """
    check_batch(x)
    if not (isinstance(t, Tensor) and t.is_floating_point() and t.shape == (len(x),)):
        got = f"{t.dtype} of shape {tuple(t.shape)}" if isinstance(t, Tensor) else repr(t)
        raise ValueError(
            f"t must be a tensor of floating-point values of shape ({len(x)},), one time an element; got {got}"
        )
    if trusted or torch.compiler.is_compiling():
        return
    if not ((t >= 0) & (t <= 1)).all():
        raise ValueError(f"t must lie in [0, 1], 0 for data and 1 for noise; got {float(t.min())} .. {float(t.max())}")

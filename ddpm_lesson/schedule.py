"""Noise schedules: from beta to alpha to alpha_bar.

Index t = 0 .. T-1 is the paper's step t+1, so ``alpha_bar_prev[0]`` is 1.
Everything is computed in float64 and stored in float32.
"""

import inspect
import math
from collections.abc import Sequence
from numbers import Integral
from typing import Any

import torch
from torch import Tensor


class NoiseSchedule:
    """How much noise each of the T forward steps adds, and what follows from it.

    Use one of the constructors: ``linear`` (the paper's), ``cosine``, ``quadratic``, ``sigmoid`` or ``from_betas``.

    Attributes, each of shape (T,):
        beta: variance of the noise that step t adds (Ho et al. 2020, Eq. 2).
        alpha: 1 - beta.
        alpha_bar: product of alpha up to and including t (Ho et al. 2020, Eq. 4).
        alpha_bar_prev: alpha_bar one step earlier; 1 at t = 0.
        one_minus_alpha_bar, one_minus_alpha_bar_prev: stored as well, because subtracting in float32 would leave
            few correct digits where alpha_bar is close to 1.
        beta_tilde: variance of the posterior q(x_{t-1} | x_t, x_0) (Ho et al. 2020, Eq. 7).
        snr: signal-to-noise ratio alpha_bar / (1 - alpha_bar), for data of unit power.
    """

    def __init__(self, beta: Tensor, settings: dict[str, Any], dtype: torch.dtype = torch.float32):
        """``beta`` in float64; ``settings`` rebuild the schedule, see ``from_settings``."""
        self._beta = check_betas(beta)
        self.settings = settings
        self.n_steps = len(beta)

        alpha = 1 - beta
        alpha_bar = alpha.cumprod(0)
        one_minus_alpha_bar = -torch.expm1(torch.log1p(-beta).cumsum(0))  # 1 - alpha_bar, without cancellation
        alpha_bar_prev = torch.cat((beta.new_ones(1), alpha_bar[:-1]))
        one_minus_alpha_bar_prev = torch.cat((beta.new_zeros(1), one_minus_alpha_bar[:-1]))
        beta_tilde = beta * one_minus_alpha_bar_prev / one_minus_alpha_bar

        self.beta = beta.to(dtype)
        self.alpha = alpha.to(dtype)
        self.alpha_bar = alpha_bar.to(dtype)
        self.alpha_bar_prev = alpha_bar_prev.to(dtype)
        self.one_minus_alpha_bar = one_minus_alpha_bar.to(dtype)
        self.one_minus_alpha_bar_prev = one_minus_alpha_bar_prev.to(dtype)
        self.beta_tilde = beta_tilde.to(dtype)
        self.snr = (alpha_bar / one_minus_alpha_bar).to(dtype)

    @classmethod
    def linear(cls, n_steps: int = 1000, beta_start: float = 1e-4, beta_end: float = 0.02) -> "NoiseSchedule":
        """beta grows linearly (Ho et al. 2020, section 4).

        Args:
            n_steps: T, at least 1.
            beta_start, beta_end: beta at the first and the last step, in (0, 1); the end not below the start.

        Raises:
            ValueError: if an argument is out of range.
        """
        check_range(n_steps, beta_start, beta_end)
        beta = torch.linspace(beta_start, beta_end, n_steps, dtype=torch.float64)
        return cls(beta, _settings("linear", n_steps, beta_start, beta_end))

    @classmethod
    def quadratic(cls, n_steps: int = 1000, beta_start: float = 1e-4, beta_end: float = 0.02) -> "NoiseSchedule":
        """sqrt(beta) grows linearly (``quad`` in the code of Ho et al. 2020). Arguments and errors as in ``linear``."""
        check_range(n_steps, beta_start, beta_end)
        beta = torch.linspace(beta_start**0.5, beta_end**0.5, n_steps, dtype=torch.float64) ** 2
        return cls(beta, _settings("quadratic", n_steps, beta_start, beta_end))

    @classmethod
    def sigmoid(cls, n_steps: int = 1000, beta_start: float = 1e-4, beta_end: float = 0.02) -> "NoiseSchedule":
        """beta rises along a logistic curve over [-6, 6], as in diffusers. Arguments and errors as in ``linear``."""
        check_range(n_steps, beta_start, beta_end)
        rise = torch.linspace(-6, 6, n_steps, dtype=torch.float64).sigmoid()
        return cls(beta_start + (beta_end - beta_start) * rise, _settings("sigmoid", n_steps, beta_start, beta_end))

    @classmethod
    def cosine(cls, n_steps: int = 1000, s: float = 0.008, beta_max: float = 0.999) -> "NoiseSchedule":
        """alpha_bar follows a squared cosine (Nichol and Dhariwal 2021, Eq. 17).

        Args:
            n_steps: T, at least 1.
            s: small offset that keeps beta from vanishing near t = 0, at least 0.
            beta_max: upper limit for beta, in (0, 1).

        Raises:
            ValueError: if an argument is out of range.
        """
        check_steps(n_steps)
        check_fraction("beta_max", beta_max)
        if not s >= 0:
            raise ValueError(f"s must be at least 0; got {s}")
        u = torch.arange(n_steps + 1, dtype=torch.float64) / n_steps
        f = torch.cos((u + s) / (1 + s) * math.pi / 2) ** 2
        beta = (1 - f[1:] / f[:-1]).clamp(max=beta_max)
        return cls(beta, {"kind": "cosine", "n_steps": int(n_steps), "s": s, "beta_max": beta_max})

    @classmethod
    def from_betas(cls, betas: Sequence[float] | Tensor) -> "NoiseSchedule":
        """A schedule of your own.

        Args:
            betas: beta for every step, each in (0, 1); the last of several may be 1, see ``zero_terminal_snr``.

        Raises:
            ValueError: if ``betas`` is empty, not one-dimensional or leaves (0, 1).
        """
        beta = torch.as_tensor(betas).detach().cpu().to(torch.float64)
        return cls(beta, {"kind": "from_betas", "betas": beta.tolist()})

    @classmethod
    def from_settings(cls, settings: dict[str, Any]) -> "NoiseSchedule":
        """Rebuild a schedule from its ``settings``; ValueError if its ``kind`` or another of them is unknown."""
        arguments = dict(settings)
        kind = arguments.pop("kind", None)
        if kind == "from_betas" and "betas" in arguments:
            return cls.from_betas(arguments["betas"])
        if kind not in KINDS:
            raise ValueError(f"schedule must be one of {', '.join(KINDS)} or a NoiseSchedule; got {kind!r}")
        known = inspect.signature(getattr(cls, kind)).parameters
        if unknown := arguments.keys() - known:
            raise ValueError(f"settings of a {kind} schedule are {', '.join(known)}; got {', '.join(sorted(unknown))}")
        return getattr(cls, kind)(**arguments)

    def spaced(self, times: Sequence[int]) -> "NoiseSchedule":
        """The schedule of the shorter chain that visits only ``times``: the same alpha_bar there, larger steps between.

        Nichol and Dhariwal 2021, section 4: beta of a step is 1 - alpha_bar[t] / alpha_bar[t before it].

        Args:
            times: which of 0 .. T-1 to visit, in any order, each once. Index i of the new schedule is the i-th
                smallest of them.

        Raises:
            ValueError: if ``times`` is empty, repeats a time or leaves 0 .. T-1.
        """
        times = sorted(times)
        if not times or len(set(times)) < len(times) or not 0 <= times[0] <= times[-1] < self.n_steps:
            raise ValueError(f"times must be different whole numbers in 0 .. {self.n_steps - 1}; got {times}")
        log_alpha_bar = torch.log1p(-self._beta).cumsum(0)[times]
        step = log_alpha_bar.diff(prepend=log_alpha_bar.new_zeros(1))
        return NoiseSchedule.from_betas(-torch.expm1(step)).to(self.beta.dtype)

    def zero_terminal_snr(self) -> "NoiseSchedule":
        """This schedule, bent so that it ends in pure noise: alpha_bar_T = 0, the first step as it was.

        Lin et al. 2023, Algorithm 1: sqrt(alpha_bar) is shifted and scaled. Its network must predict v or x0.

        Raises:
            ValueError: if the schedule has one step only, which cannot be both.
        """
        if self.n_steps < 2:
            raise ValueError(
                f"n_steps must be at least 2 to start as before and end with alpha_bar = 0; got {self.n_steps}"
            )
        root = (1 - self._beta).cumprod(0).sqrt()
        alpha_bar = ((root - root[-1]) * root[0] / (root[0] - root[-1])) ** 2
        alpha = alpha_bar / torch.cat((alpha_bar.new_ones(1), alpha_bar[:-1]))
        return NoiseSchedule.from_betas(1 - alpha).to(self.beta.dtype)

    @property
    def snr_db(self) -> Tensor:
        """Signal-to-noise ratio in decibels, 10 log10 of ``snr``, (T,)."""
        return 10 * self.snr.log10()

    def to(self, dtype: torch.dtype) -> "NoiseSchedule":
        """The same schedule stored in another ``dtype``; float64 keeps every digit that was computed."""
        return NoiseSchedule(self._beta, self.settings, dtype)

    def __len__(self) -> int:
        return self.n_steps

    def __repr__(self) -> str:
        end = f"alpha_bar at the last step {self.alpha_bar[-1]:.3g}"
        return f"NoiseSchedule({self.settings['kind']}, n_steps={self.n_steps}, {end})"


KINDS = ("linear", "cosine", "quadratic", "sigmoid")


def _settings(kind: str, n_steps: int, beta_start: float, beta_end: float) -> dict[str, Any]:
    return {"kind": kind, "n_steps": int(n_steps), "beta_start": beta_start, "beta_end": beta_end}


def check_range(n_steps: int, beta_start: float, beta_end: float) -> None:
    """Raise a ValueError that names the argument that cannot make a schedule, if any."""
    check_steps(n_steps)
    check_fraction("beta_start", beta_start)
    check_fraction("beta_end", beta_end)
    if beta_end < beta_start:
        raise ValueError(f"beta_end must not be below beta_start; got {beta_end} below {beta_start}")


def check_steps(n_steps: int) -> None:
    """Raise a ValueError if there cannot be so many steps."""
    if isinstance(n_steps, bool) or not isinstance(n_steps, Integral) or n_steps < 1:
        raise ValueError(f"n_steps must be a whole number of at least 1; got {n_steps!r}")


def check_fraction(name: str, value: float) -> None:
    """Raise a ValueError if the argument called ``name`` is not strictly between 0 and 1."""
    if not 0 < value < 1:
        raise ValueError(f"{name} must lie strictly between 0 and 1; got {value}")


def check_betas(beta: Tensor) -> Tensor:
    """Return ``beta`` if it is a row of numbers in (0, 1); raise a ValueError that says what is wrong if not."""
    if beta.ndim != 1 or len(beta) == 0:
        raise ValueError(f"betas must be one number a step, shape (T,) with T at least 1; got {tuple(beta.shape)}")
    bad = ~((beta > 0) & (beta < 1))
    bad[-1] &= beta[-1] != 1 or len(beta) == 1  # the last step may leave nothing of what came before
    if bad.any():
        t = int(bad.nonzero()[0])
        raise ValueError(f"betas must lie strictly between 0 and 1; got {float(beta[t])} at t = {t}")
    return beta

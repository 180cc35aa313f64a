"""The diffusion process: noise an image forward, estimate it back, and the loss that trains the network.

Index t = 0 .. T-1 is the paper's step t+1. x0 and xt hold a batch of anything: (B, C, H, W) images or (B, D) points.
"""

import copy
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ddpm_lesson.runtime import get_device
from ddpm_lesson.schedule import NoiseSchedule


def gather(values: Tensor, t: Tensor, ndim: int = 4) -> Tensor:
    """Pick ``values[t]`` for every element of a batch, shaped to broadcast over it.

    Args:
        values: one number a time step, (T,).
        t: times, (B,), whole numbers in 0 .. T-1.
        ndim: dimensions of the batch to broadcast over.

    Returns:
        (B, 1, ..., 1) with ``ndim`` dimensions.

    Raises:
        ValueError: if t has the wrong type or shape, or leaves 0 .. T-1.
    """
    check_times(t, len(values))
    return pick(values, t, ndim)


PREDICTIONS = ("eps", "x0", "v")
SERIES = ("beta", "alpha", "alpha_bar", "alpha_bar_prev", "one_minus_alpha_bar", "one_minus_alpha_bar_prev")


class DenoiseDiffusion(nn.Module):
    """A denoising diffusion model: a fixed forward process and a learned way back (Ho et al. 2020).

    Args:
        eps_model: the network, ``eps_model(xt, t) -> eps_theta`` of the shape of ``xt``; labels, if the loss is given
            any, are its third argument.
        n_steps: T; 1000 unless given, or what ``schedule`` says if that is a ``NoiseSchedule``.
        device: where to put the model; stays where it is unless given.
        schedule: ``"linear"``, ``"cosine"``, ``"quadratic"``, ``"sigmoid"`` or a ``NoiseSchedule``.
        sigma: variance of the reverse step: ``"beta"`` or ``"posterior"``, the two choices of section 3.2.
        clip_x0: clip the estimate of x0 to [-1, 1], where the data lives; a number, to [-clip_x0, clip_x0].
        prediction: what the network returns: ``"eps"``, ``"x0"``, or ``"v"``, which is sqrt(alpha_bar) eps -
            sqrt(1 - alpha_bar) x0 (Salimans and Ho 2022, section 4).

    Raises:
        ValueError: if an argument is unknown or out of range, ``n_steps`` contradicts ``schedule``, or the network
            predicts the noise of a schedule that ends with alpha_bar = 0.
    """

    beta: Tensor  # the buffers, (T,) each
    alpha: Tensor
    alpha_bar: Tensor
    alpha_bar_prev: Tensor
    one_minus_alpha_bar: Tensor
    one_minus_alpha_bar_prev: Tensor
    sigma2: Tensor

    def __init__(
        self,
        eps_model: nn.Module,
        n_steps: int | None = None,
        device: torch.device | str | None = None,
        *,
        schedule: str | NoiseSchedule = "linear",
        sigma: str = "beta",
        clip_x0: bool | float = True,
        prediction: str = "eps",
    ):
        super().__init__()
        if not isinstance(schedule, NoiseSchedule):
            schedule = NoiseSchedule.from_settings({"kind": schedule, "n_steps": 1000 if n_steps is None else n_steps})
        elif n_steps not in (None, schedule.n_steps):
            raise ValueError(f"n_steps must be {schedule.n_steps} like the schedule, or left out; got {n_steps}")
        if not isinstance(clip_x0, int | float) or not clip_x0 >= 0:
            raise ValueError(f"clip_x0 must be True, False or a number of at least 0; got {clip_x0!r}")
        check_prediction(prediction, schedule)
        self.eps_model = eps_model
        self.prediction = prediction
        self.schedule = schedule
        self.n_steps = schedule.n_steps
        self.sigma = sigma
        self.clip_x0 = clip_x0
        self.trusts_times = False  # see trusting

        for name in SERIES:
            self.register_buffer(name, getattr(schedule, name).clone(), persistent=False)
        self.register_buffer("sigma2", reverse_variance(schedule, sigma).clone(), persistent=False)
        if device is not None:
            self.to(get_device(device))

    @property
    def device(self) -> torch.device:
        """Where the model lives."""
        return self.beta.device

    def trusting(self) -> "DenoiseDiffusion":
        """This very model for a loop that makes its own times: their values are right, and nobody looks at them.

        A look at a value on a GPU waits until the GPU has caught up.
        """
        model = copy.copy(self)
        model.trusts_times = True
        return model

    def spaced(self, times: Sequence[int], *, sigma: str | None = None) -> "DenoiseDiffusion":
        """The same network on a shorter chain that visits only ``times``; nothing is trained anew.

        Nichol and Dhariwal 2021, section 4.

        Args:
            times: which of 0 .. T-1 to visit. Index i of the new model is the i-th smallest of them.
            sigma: variance of the new reverse steps, ``"beta"`` or ``"posterior"``; as in this model unless given.

        Raises:
            ValueError: if ``times`` or ``sigma`` does not fit.
        """
        return DenoiseDiffusion(
            AtTimes(self.eps_model, sorted(times)),
            device=self.device,
            schedule=self.schedule.spaced(times).to(self.beta.dtype),
            sigma=self.sigma if sigma is None else sigma,
            clip_x0=self.clip_x0,
            prediction=self.prediction,
        )

    # Forward: from data to noise

    def q_xt_x0(self, x0: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and variance of q(x_t | x_0).

        Ho et al. 2020, Eq. 4.

        Args:
            x0: data, (B, ...).
            t: times, (B,).

        Returns:
            The mean, the shape of ``x0``, and the variance, (B, 1, ...).

        Raises:
            ValueError: if t is not (B,) whole numbers in 0 .. T-1.
        """
        self._check(t, x0)
        mean = self._at(self.alpha_bar, t, x0).sqrt() * x0
        var = self._at(self.one_minus_alpha_bar, t, x0)
        return mean, var

    def q_sample(self, x0: Tensor, t: Tensor, eps: Tensor | None = None) -> Tensor:
        """Draw x_t from q(x_t | x_0) in one shot: sqrt(alpha_bar) x0 + sqrt(1 - alpha_bar) eps.

        Ho et al. 2020, Eq. 4.

        Args:
            x0, t: as in ``q_xt_x0``.
            eps: the noise, the shape of ``x0``; drawn unless given.

        Raises:
            ValueError: if t or the shape of ``eps`` does not fit.
        """
        mean, var = self.q_xt_x0(x0, t)
        if eps is None:
            eps = torch.randn_like(x0)
        same_shape("eps", eps, x0)
        return mean + var.sqrt() * eps

    def q_posterior(self, x0: Tensor, xt: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and variance of q(x_{t-1} | x_t, x_0): the step back, for someone who knows x_0.

        Ho et al. 2020, Eq. 6 and Eq. 7.

        Args:
            x0, xt: data and its noisy version, (B, ...).
            t: times, (B,).

        Returns:
            The mean, the shape of ``xt``, and the variance, (B, 1, ...). At t = 0 they are x0 and 0.

        Raises:
            ValueError: if t or the shapes do not fit.
        """
        self._check(t, xt)
        same_shape("x0", x0, xt)
        beta = self._at(self.beta, t, xt)
        alpha = self._at(self.alpha, t, xt)
        alpha_bar_prev = self._at(self.alpha_bar_prev, t, xt)
        one_minus_alpha_bar = self._at(self.one_minus_alpha_bar, t, xt)
        one_minus_alpha_bar_prev = self._at(self.one_minus_alpha_bar_prev, t, xt)
        x0_coef = alpha_bar_prev.sqrt() * beta / one_minus_alpha_bar
        xt_coef = alpha.sqrt() * one_minus_alpha_bar_prev / one_minus_alpha_bar
        mean = x0_coef * x0 + xt_coef * xt
        var = beta * one_minus_alpha_bar_prev / one_minus_alpha_bar
        return mean, var

    # The same x_t, told two ways: by its x_0 or by its noise

    def predict_x0(self, xt: Tensor, t: Tensor, eps: Tensor) -> Tensor:
        """The x0 that, with noise ``eps``, becomes ``xt``. Ho et al. 2020, Eq. 4 solved for x0.

        Raises:
            ValueError: if t or the shape of ``eps`` does not fit.
        """
        self._check(t, xt)
        same_shape("eps", eps, xt)
        alpha_bar = self._at(self.alpha_bar, t, xt)
        one_minus_alpha_bar = self._at(self.one_minus_alpha_bar, t, xt)
        return (xt - one_minus_alpha_bar.sqrt() * eps) / alpha_bar.sqrt()

    def predict_eps(self, xt: Tensor, t: Tensor, x0: Tensor) -> Tensor:
        """The noise that turns ``x0`` into ``xt``. Ho et al. 2020, Eq. 4 solved for eps.

        Raises:
            ValueError: if t or the shape of ``x0`` does not fit.
        """
        self._check(t, xt)
        same_shape("x0", x0, xt)
        alpha_bar = self._at(self.alpha_bar, t, xt)
        one_minus_alpha_bar = self._at(self.one_minus_alpha_bar, t, xt)
        return (xt - alpha_bar.sqrt() * x0) / one_minus_alpha_bar.sqrt()

    # Back: from noise to data

    def denoise(self, xt: Tensor, t: Tensor) -> Tensor:
        """The network's estimate x0_hat of the data behind ``xt``, clipped to [-1, 1] if ``clip_x0``.

        Ho et al. 2020, Eq. 15; from v, Salimans and Ho 2022, section 4.

        Raises:
            ValueError: if t does not fit.
        """
        self._check(t, xt)
        output = self.eps_model(xt, t)
        if self.prediction == "eps":
            x0_hat = self.predict_x0(xt, t, output)
        elif self.prediction == "x0":
            x0_hat = output
        else:
            signal, noise = self._at(self.alpha_bar, t, xt).sqrt(), self._at(self.one_minus_alpha_bar, t, xt).sqrt()
            x0_hat = signal * xt - noise * output
        return x0_hat.clamp(-self.clip_x0, self.clip_x0) if self.clip_x0 else x0_hat

    @torch.no_grad()
    def p_sample(
        self, xt: Tensor, t: Tensor, *, x0_hat: Tensor | None = None, generator: torch.Generator | None = None
    ) -> Tensor:
        """One reverse step: draw x_{t-1} from p_theta(x_{t-1} | x_t), without noise at t = 0.

        Ho et al. 2020, Algorithm 2, written through x0_hat so that the estimate can be clipped. Keeps no graph.

        Args:
            xt: noisy data, (B, ...).
            t: times, (B,).
            x0_hat: what ``denoise(xt, t)`` said, if you have it already.
            generator: where the noise comes from, on the CPU or on the device of ``xt``.

        Returns:
            x_prev, the shape of ``xt``.

        Raises:
            ValueError: if t or the shape of ``x0_hat`` does not fit.
        """
        if x0_hat is None:
            x0_hat = self.denoise(xt, t)
        mean, _ = self.q_posterior(x0_hat, xt, t)
        sigma = self._at(self.sigma2, t, xt).sqrt()
        not_last = (t > 0).view(sigma.shape)
        return mean + not_last * sigma * noise_like(xt, generator)

    def target(self, x0: Tensor, eps: Tensor, t: Tensor) -> Tensor:
        """What the network should return for the x_t of ``x0`` and ``eps``: one of the two, or v of both."""
        if self.prediction == "v":
            signal, noise = self._at(self.alpha_bar, t, x0).sqrt(), self._at(self.one_minus_alpha_bar, t, x0).sqrt()
            return signal * eps - noise * x0
        return eps if self.prediction == "eps" else x0

    def loss(
        self,
        x0: Tensor,
        noise: Tensor | None = None,
        t: Tensor | None = None,
        class_labels: Tensor | None = None,
        *,
        weights: Tensor | None = None,
    ) -> Tensor:
        """L_simple: how well the network guesses the noise, or its other target, at a time drawn anew for every image.

        Ho et al. 2020, Eq. 14 and Algorithm 1, as a mean over all values.

        Args:
            x0: data in [-1, 1], (B, ...).
            noise: eps, the shape of ``x0``; drawn unless given.
            t: times, (B,) whole numbers in 0 .. T-1; drawn unless given.
            class_labels: (B,), for a network that takes them.
            weights: what an error at each time counts, (T,), such as ``min_snr_weights``; 1 unless given.

        Returns:
            A scalar. For eps, to answer 0 everywhere costs 1.

        Raises:
            ValueError: if ``x0`` is empty or holds whole numbers, ``noise`` or what the network returns has another
                shape, or ``t`` is out of range.
        """
        check_batch(x0)
        t = torch.randint(self.n_steps, (len(x0),), device=x0.device) if t is None else t
        eps = torch.randn_like(x0) if noise is None else noise
        xt = self.q_sample(x0, t, eps)
        output = self.eps_model(xt, t) if class_labels is None else self.eps_model(xt, t, class_labels)
        same_shape(f"{self.prediction}_theta", output, xt)
        target = self.target(x0, eps, t)
        if weights is None:
            return F.mse_loss(output, target)
        if weights.shape != (self.n_steps,):
            raise ValueError(f"weights must be one number a time, ({self.n_steps},); got {tuple(weights.shape)}")
        return (self._at(weights.to(xt), t, xt) * (output - target) ** 2).mean()

    def _check(self, t: Tensor, x: Tensor) -> None:
        """Raise a ValueError unless ``t`` holds one time for every element of the batch ``x``, where the model is."""
        check_batch(x)
        if isinstance(t, Tensor) and not t.device == x.device == self.device:
            raise ValueError(f"the batch and t must be on {self.device}, like the model; got {x.device} and {t.device}")
        check_times(t, self.n_steps, trusted=self.trusts_times)
        if len(t) != len(x):
            raise ValueError(f"t must hold one time for each of the {len(x)} elements of the batch; got {len(t)}")

    def _at(self, values: Tensor, t: Tensor, x: Tensor) -> Tensor:
        """``gather`` for the batch ``x`` and times that are known to be right."""
        return pick(values, t, x.ndim)


class AtTimes(nn.Module):
    """A network on a shorter chain: it is asked about step i, and told the time that it was trained with.

    Args:
        eps_model: the noise predictor.
        times: of the shorter chain, rising.
    """

    times: Tensor

    def __init__(self, eps_model: nn.Module, times: Sequence[int]):
        super().__init__()
        self.eps_model = eps_model
        self.register_buffer("times", torch.tensor(times), persistent=False)

    def forward(self, xt: Tensor, t: Tensor, *labels: Tensor) -> Tensor:
        """eps_theta for ``xt`` (B, ...) at steps ``t`` (B,) of the shorter chain."""
        return self.eps_model(xt, self.times[t], *labels)


def pick(values: Tensor, t: Tensor, ndim: int) -> Tensor:
    """``gather`` without a look at ``t``."""
    return values[t.long()].view(-1, *[1] * (ndim - 1))


def reverse_variance(schedule: NoiseSchedule, sigma: str) -> Tensor:
    """sigma^2 of the reverse steps, (T,): beta or the posterior's, the two choices of Ho et al. 2020, section 3.2.

    Raises:
        ValueError: if ``sigma`` is neither ``"beta"`` nor ``"posterior"``.
    """
    if sigma not in ("beta", "posterior"):
        raise ValueError(f"sigma must be 'beta' or 'posterior'; got {sigma!r}")
    return schedule.beta if sigma == "beta" else schedule.beta_tilde


def check_prediction(prediction: str, schedule: NoiseSchedule) -> None:
    """Raise a ValueError if there is no such target, or it says nothing of x0 at the end of the schedule."""
    if prediction not in PREDICTIONS:
        raise ValueError(f"prediction must be one of {', '.join(PREDICTIONS)}; got {prediction!r}")
    if prediction == "eps" and schedule.alpha_bar[-1] == 0:
        raise ValueError(
            "prediction must be 'v' or 'x0' on a schedule that ends with alpha_bar = 0: there x_t is the noise itself, "
            "and to know it says nothing of x0; got 'eps'"
        )


def check_times(t: Tensor, n_steps: int, *, trusted: bool = False) -> None:
    """Raise a ValueError unless ``t`` is a row of whole numbers in 0 .. n_steps-1.

    Their values are not looked at if they are ``trusted``, nor inside of ``torch.compile``, which has none.
    """
    if not isinstance(t, Tensor) or t.is_floating_point() or t.is_complex() or t.dtype == torch.bool or t.ndim != 1:
        got = f"{t.dtype} of shape {tuple(t.shape)}" if isinstance(t, Tensor) else repr(t)
        raise ValueError(f"t must be a tensor of whole numbers of shape (B,), one time an element; got {got}")
    if trusted or torch.compiler.is_compiling():
        return
    t = t.long()  # of 8 bits it could not be compared with 1000
    if ((t < 0) | (t >= n_steps)).any():
        raise ValueError(f"t must lie in 0 .. {n_steps - 1}; got {int(t.min())} .. {int(t.max())}")


def check_batch(x: Tensor) -> None:
    """Raise a ValueError unless ``x`` is a batch (B, ...) of at least one element, of floating-point values."""
    if not (isinstance(x, Tensor) and x.is_floating_point() and x.ndim and len(x)):
        got = f"{x.dtype} of shape {tuple(x.shape)}" if isinstance(x, Tensor) else type(x).__name__
        raise ValueError(f"a batch must be a tensor (B, ...) of floating-point values, B at least 1; got {got}")


def same_shape(name: str, x: Tensor, like: Tensor) -> None:
    """Raise a ValueError if ``x``, called ``name``, has another shape or device than the batch that it belongs to."""
    if x.shape != like.shape:
        raise ValueError(f"{name} must have the shape of the batch, {tuple(like.shape)}; got {tuple(x.shape)}")
    if x.device != like.device:
        raise ValueError(f"{name} must be on the device of the batch, {like.device}; got {x.device}")


def noise_like(x: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Standard normal noise of the shape of ``x``, drawn where ``generator`` lives and moved to ``x``."""
    device = x.device if generator is None else generator.device
    return torch.randn(x.shape, dtype=x.dtype, device=device, generator=generator).to(x.device)

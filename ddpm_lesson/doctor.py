"""What can be said about a model without knowing how it was made: a few questions, each answered in a sentence."""

import contextlib
import importlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ddpm_lesson import checkpoint
from ddpm_lesson.data import DataError, load_images
from ddpm_lesson.diffusion import DenoiseDiffusion
from ddpm_lesson.runtime import first_line
from ddpm_lesson.sample import eval_mode, sample
from ddpm_lesson.schedule import NoiseSchedule

SHARES = (0.05, 0.2, 0.4, 0.6, 0.8)  # of T: the times to ask about
ROOM = 0.02  # that a loss may lie above a straight line where both are nearly 0
N_IMAGES = 64  # that the loss is measured on


class Finding(NamedTuple):
    """The answer of a probe."""

    ok: bool
    sentence: str


class DoctorError(RuntimeError):
    """A patient that cannot be looked at; the message says why."""


class Patient(NamedTuple):
    """A model, and what it may be asked about."""

    diffusion: DenoiseDiffusion
    x0: Tensor  # (B, C, H, W) images in [-1, 1]
    images: str  # where they come from, in words
    weights: dict[str, Tensor] | None = None  # those being trained, if a run lies in the folder


@torch.no_grad()
def outputs(patient: Patient) -> Finding:
    """Are the answers numbers of the size of noise? x_t for a large t is nearly noise, and so is the answer."""
    eps, t = noise(patient), patient.diffusion.n_steps - 1
    said = ask(patient, patient.diffusion.q_sample(patient.x0, times(patient, t), eps), t)
    if not said.isfinite().all():
        return Finding(False, "what the network says holds NaN or infinity")
    std = float(said.std())
    return Finding(0.8 < std < 1.25, f"the noise that the network sees in noise has standard deviation {std:.2f}")


def schedule(patient: Patient) -> Finding:
    """Does alpha_bar fall from nearly 1 to nearly 0, and do signal and noise add up?"""
    d = patient.diffusion
    first, last = float(d.alpha_bar[0]), float(d.alpha_bar[-1])
    if not (d.alpha_bar.diff() < 0).all():
        return Finding(False, "alpha_bar does not fall from step to step")
    gap = float((d.alpha_bar + d.one_minus_alpha_bar - 1).abs().max())
    if gap > 1e-5 or float(d.alpha_bar_prev[0]) != 1:
        return Finding(False, f"the tables contradict each other: alpha_bar + (1 - alpha_bar) is off by {gap:.2g}")
    sentence = f"alpha_bar falls from {first:.4g} to {last:.2g}"
    if last > 0.01:
        return Finding(False, f"{sentence}: sampling starts from pure noise, which the network has never seen")
    return Finding(first > 0.9, sentence)


@torch.no_grad()
def hears_t(patient: Patient) -> Finding:
    """Does the answer to the same x_t depend on t?"""
    d = patient.diffusion
    xt = d.q_sample(patient.x0, times(patient, d.n_steps // 2), noise(patient))
    early, late = (ask(patient, xt, round(share * (d.n_steps - 1))) for share in (0.1, 0.9))
    apart = float((early - late).std() / late.std().clamp(min=1e-12))
    return Finding(apart > 0.02, f"the same image at another t changes the answer by {apart:.0%}")


@torch.no_grad()
def told_right(patient: Patient) -> Finding:
    """Is the network best off with the t of x_t, and not with an earlier or a later one?"""
    d, eps = patient.diffusion, noise(patient)
    last, shift = d.n_steps - 1, max(1, round(0.06 * d.n_steps))
    for t in (round(0.15 * last), round(0.4 * last)):
        xt = d.q_sample(patient.x0, times(patient, t), eps)
        losses = {told: float((ask(patient, xt, told) - eps).square().mean()) for told in (t, t - shift, t + shift)}
        best = min(losses, key=losses.__getitem__)
        if losses[best] < 0.95 * losses[t]:
            less = f"told t = {best}, the network sees the noise of x_{t} better than told {t}"
            return Finding(False, f"{less}: its times, or its schedule, are not those it was trained with")
    return Finding(True, "told another t, the network guesses the noise no better")


@torch.no_grad()
def company(patient: Patient) -> Finding:
    """Is what the network says of an image its own, whatever other images and times are in the batch?"""
    d = patient.diffusion
    t = torch.linspace(0, d.n_steps - 1, 4).long().to(patient.x0.device).repeat(len(patient.x0))[: len(patient.x0)]
    xt = d.q_sample(patient.x0, t, noise(patient))
    together, alone = ask(patient, xt, t)[:4], torch.cat([ask(patient, xt[i : i + 1], t[i : i + 1]) for i in range(4)])
    apart = float((together - alone).std() / alone.std().clamp(min=1e-12))
    return Finding(apart < 0.01, f"alone or among others, the answer for an image differs by {apart:.1%}")


@torch.no_grad()
def loss_by_t(patient: Patient) -> Finding:
    """Is the network better than the best guess that is a multiple of x_t, wherever there is something to learn?"""
    d, eps = patient.diffusion, noise(patient)
    losses, lines = [], []
    for t in (asked := [round(share * (d.n_steps - 1)) for share in SHARES]):
        xt = d.q_sample(patient.x0, times(patient, t), eps)
        losses.append(float((ask(patient, xt, t) - eps).square().mean().nan_to_num(torch.inf)))
        lines.append(float((eps - (xt * eps).sum() / xt.square().sum() * xt).square().mean()))  # least squares
    above, t = max((loss - line, t) for loss, line, t in zip(losses, lines, asked, strict=True))
    if above > ROOM:
        return Finding(False, f"at t = {t} the loss is {above:.2g} above that of the best multiple of x_t")
    share = sum(losses) / sum(lines)
    return Finding(share < 0.9, f"the loss is {share:.0%} of that of the best multiple of x_t ({patient.images})")


def gradients(patient: Patient) -> Finding:
    """Does the loss reach every weight?"""
    silent = silent_weights(patient.diffusion, patient.x0, noise(patient))
    if not silent:
        return Finding(True, "the loss reaches every weight")
    return Finding(False, f"the loss never reaches {len(silent)} weights, the first of them {silent[0]}")


def average(patient: Patient) -> Finding:
    """Is the average near the weights that it averages?"""
    if patient.weights is None:
        return Finding(True, "there is no run in the folder, so nothing to compare the average with")
    own = patient.diffusion.eps_model.state_dict()
    off = sum(float((own[n] - w).square().sum()) for n, w in patient.weights.items()) ** 0.5
    size = sum(float(w.square().sum()) for w in patient.weights.values()) ** 0.5
    return Finding(off < 0.5 * size, f"average and weights are {off / size:.0%} of their length apart")


PROBES: dict[str, Callable[[Patient], Finding]] = {
    "outputs": outputs,
    "schedule": schedule,
    "t": hears_t,
    "right t": told_right,
    "company": company,
    "loss by t": loss_by_t,
    "gradients": gradients,
    "average": average,
}


def examine(patient: Patient) -> Iterator[tuple[str, Finding]]:
    """Every probe with what it finds; one that stops with an error is a finding too."""
    for name, probe in PROBES.items():
        try:
            yield name, probe(patient)
        except Exception as error:  # a stranger's network may raise anything
            yield name, Finding(False, stopped(error))


def stopped(error: Exception) -> str:
    """An error as a sentence."""
    return f"stops with {type(error).__name__}: {first_line(error) or 'no reason given'}"


def silent_weights(diffusion: DenoiseDiffusion, x0: Tensor, eps: Tensor) -> list[str]:
    """Names of the parameters that get no gradient from the loss, or nothing but zeros. Leaves no gradient behind.

    Args:
        diffusion: the model.
        x0, eps: images and their noise, (B, ...); their times are spread over 0 .. T-1.
    """
    t = torch.linspace(0, diffusion.n_steps - 1, len(x0)).long().to(x0.device)
    named = {name: p for name, p in diffusion.eps_model.named_parameters() if p.requires_grad}
    found = torch.autograd.grad(eval_mode(diffusion).loss(x0, eps, t), list(named.values()), allow_unused=True)
    return [name for name, grad in zip(named, found, strict=True) if grad is None or not grad.any()]


def noise(patient: Patient) -> Tensor:
    """The noise that all probes share, the shape of the images."""
    return torch.randn(patient.x0.shape, generator=torch.Generator().manual_seed(-14)).to(patient.x0)


def times(patient: Patient, t: int) -> Tensor:
    """One t for every image."""
    return torch.full((len(patient.x0),), t, device=patient.x0.device)


def ask(patient: Patient, xt: Tensor, t: int | Tensor) -> Tensor:
    """eps_theta(xt, t) without dropout, also of a network that predicts x0 or v; one t for all, or (B,)."""
    d, step = eval_mode(patient.diffusion), times(patient, t) if isinstance(t, int) else t
    if d.prediction == "eps":
        return d.eps_model(xt, step)
    d.clip_x0 = False  # of a twin
    return d.predict_eps(xt, step, d.denoise(xt, step))


# Where patients come from


def patient_of(folder_or_function: str, data: str | None = None) -> Patient:
    """A model from a folder of ours, by the name of shipped weights, or from a function ``module:function``.

    Args:
        folder_or_function: the function takes nothing and returns a ``DenoiseDiffusion``, or a network that predicts
            noise and its alpha_bar (T,).
        data: images to ask about, see ``load_images``; those of the run unless given, or else the model's own samples.

    Raises:
        CheckpointError: if a folder cannot be read.
        DoctorError: if a function cannot be called or returns something else, or the images do not fit.
    """
    module, colon, name = folder_or_function.partition(":")
    if not colon or Path(folder_or_function).exists():
        return patient_in(checkpoint.find(folder_or_function), data)
    diffusion = called(module, name)
    if data is None:
        raise DoctorError(f"{folder_or_function} does not say what it was trained on: name images, with --data")
    patient = Patient(diffusion, images_of(data), f"on images of {data}")
    try:
        with torch.no_grad():
            said = ask(patient, patient.x0, 0)
    except Exception as error:  # a stranger's network may raise anything
        raise DoctorError(f"{folder_or_function} cannot be asked about {data}: it {stopped(error)}") from error
    if getattr(said, "shape", None) != patient.x0.shape:
        got = tuple(said.shape) if isinstance(said, Tensor) else type(said).__name__
        raise DoctorError(f"{folder_or_function} must answer in the shape of x_t, {tuple(patient.x0.shape)}; got {got}")
    return patient


def patient_in(folder: Path, data: str | None) -> Patient:
    """The model in a folder of ours; arguments and errors as in ``patient_of``."""
    diffusion, shape = checkpoint.load(folder, "cpu"), checkpoint.image_shape(folder)
    weights = checkpoint.open_run(folder).part("model") if checkpoint.holds_run(folder) else None
    source = data or run_data(folder)
    with contextlib.nullcontext() if data else contextlib.suppress(DataError, ValueError):
        if source and (images := images_of(source)).shape[1:] == shape:
            return Patient(diffusion, images, f"on images of {source}", weights)
    if data:
        raise DoctorError(f"images must have the shape of the model's, {shape}; those of {data} have another")
    own = sample(diffusion, (N_IMAGES, *shape), 20, torch.Generator().manual_seed(0))
    return Patient(diffusion, own, "on its own samples", weights)


def run_data(folder: Path) -> str:
    """The name of the data set that a checkpoint was trained on, or nothing."""
    training = checkpoint.read_settings(folder).get("training")
    named = training.get("data") if isinstance(training, dict) else None
    return named if isinstance(named, str) else ""


def images_of(name: str) -> Tensor:
    """Test images of a data set that is on this machine."""
    return load_images(name, "test", download=False)[:N_IMAGES]


def called(module: str, name: str) -> DenoiseDiffusion:
    """What ``module:name`` returns, as a model; DoctorError if there is none."""
    place = f"{module}:{name}"
    try:
        made: Any = getattr(importlib.import_module(module), name)()
    except Exception as error:  # a stranger's module may raise anything
        raise DoctorError(
            f"{place} must be a function without arguments that returns a model; it {stopped(error)}"
        ) from error
    if isinstance(made, DenoiseDiffusion):
        return made.cpu()
    if not (isinstance(made, tuple) and len(made) == 2 and isinstance(made[0], nn.Module)):
        raise DoctorError(
            f"{place} must return a DenoiseDiffusion, or a network and alpha_bar; got {type(made).__name__}"
        )
    try:
        return DenoiseDiffusion(made[0].cpu(), schedule=schedule_of(torch.as_tensor(made[1])))
    except (ValueError, TypeError, RuntimeError) as error:
        raise DoctorError(f"alpha_bar of {place} makes no schedule: {error}") from error


def schedule_of(alpha_bar: Tensor) -> NoiseSchedule:
    """The schedule with this alpha_bar (T,)."""
    alpha_bar = alpha_bar.detach().cpu().double()
    return NoiseSchedule.from_betas(1 - alpha_bar / torch.cat((alpha_bar.new_ones(1), alpha_bar[:-1])))

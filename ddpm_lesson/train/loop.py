"""The training loop as a generator of steps, and the state that it changes."""

import contextlib
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn, get_swa_multi_avg_fn
from tqdm.auto import tqdm

from ddpm_lesson.data import DATASETS, ImageDataset
from ddpm_lesson.diffusion import DenoiseDiffusion
from ddpm_lesson.flow import FlowMatching
from ddpm_lesson.runtime import autocast, first_line, get_device, rank
from ddpm_lesson.sample.steps import with_network
from ddpm_lesson.train.batches import Batch, check_labels, combine_seeds, draw_batch, part_of, seeded
from ddpm_lesson.train.presets import TrainConfig
from ddpm_lesson.train.processes import parts_of_batch, settled, share_gradients, start_accelerator
from ddpm_lesson.unet import UNet

if TYPE_CHECKING:
    from accelerate import Accelerator


def build_diffusion(config: TrainConfig, image_channels: int) -> Any:
    """An untrained model with the architecture and the diffusion settings of ``config``.

    A ``DenoiseDiffusion``, or a ``FlowMatching`` if that is what it is to learn.
    """
    model = UNet(
        image_channels,
        config.n_channels,
        config.ch_mults,
        config.is_attn,
        config.n_blocks,
        n_heads=config.n_heads,
        n_groups=config.n_groups,
        dropout=config.dropout,
        n_classes=config.n_classes,
    )
    if config.prediction == "flow":
        return FlowMatching(model)
    process: dict[str, Any] = {"schedule": config.schedule, "sigma": config.sigma, "clip_x0": config.clip_x0}
    return DenoiseDiffusion(model, config.n_steps, prediction=config.prediction, **process)


class TrainState:
    """Everything that training changes: weights, their average, the optimiser's moments, the step.

    Args:
        config: settings of the run; its seed decides the first weights. ``state.config`` says what the precision
            ``auto`` became, so that a run goes on with the arithmetic that it began with.
        image_shape: (C, H, W) of the images.
        device: where to train, see ``get_device``.

    Attributes:
        diffusion: the model being trained.
        ema: running average of ``diffusion.eps_model`` (``torch.optim.swa_utils.AveragedModel``).
        optimizer: Adam.
        scaler: state of the gradient scaler, for ``mixed_precision="fp16"`` only.
        step: optimiser steps taken.

    Raises:
        ValueError: if the settings make no model, or none for such images, or the device or its precision is not there.
    """

    def __init__(self, config: TrainConfig, image_shape: tuple[int, int, int], device: str | torch.device = "auto"):
        device = get_device(device)
        self.config = config = settled(config, device)
        self.image_shape = tuple(image_shape)
        with seeded(config.seed, device):
            self.diffusion = laid_out(build_diffusion(config, image_shape[0]).to(device), config)
        self.diffusion.eps_model.check_input(torch.zeros(1, *image_shape), torch.zeros(1))
        self.ema = AveragedModel(self.diffusion.eps_model, multi_avg_fn=average_with_warmup(config.ema_decay))
        fused = device.type == "cpu"  # in one pass over the weights instead of ten
        self.optimizer = torch.optim.Adam(self.diffusion.eps_model.parameters(), lr=config.lr, fused=fused)
        self.scaler: dict[str, Any] = {}
        self.step = 0

    def averaged(self) -> Any:
        """The model to sample from: the same diffusion, or flow, with the averaged weights, sharing their memory."""
        return with_network(self.diffusion, self.ema.module).eval()


def laid_out(diffusion: Any, config: TrainConfig) -> Any:
    """The same model with its weights where its convolutions like them best in memory: not a number changes.

    In float32 on a CPU that is channels last, a gain of 1 to 20 % (``python -m tests.benchmarks.bench --ways mnist``).
    """
    if diffusion.device.type == "cpu" and config.mixed_precision == "no":
        diffusion.eps_model.to(memory_format=torch.channels_last)
    return diffusion


Tensors = list[Tensor] | tuple[Tensor, ...]


def average_with_warmup(decay: float) -> Callable[[Tensors, Tensors, Tensor | int], None]:
    """An averaging rule for ``AveragedModel``: ema <- d * ema + (1 - d) * weights, with d growing to ``decay``.

    A fixed decay of 0.9999 would remember the random first weights for ten thousand steps, so the n-th update uses
    d = min(decay, (1 + n) / (10 + n)).
    """

    def average(ema: Tensors, weights: Tensors, n: Tensor | int) -> None:
        d = min(decay, (1 + int(n)) / (10 + int(n)))
        get_ema_multi_avg_fn(d)(ema, weights, n)

    return average


@torch.no_grad()
def update_average(ema: AveragedModel, model: nn.Module) -> None:
    """What ``ema.update_parameters(model)`` does, without its copy of the count to a GPU, which waits for the GPU."""
    averages: list[Tensor] = list(ema.module.parameters())
    weights: list[Tensor] = list(model.parameters())
    rule = ema.multi_avg_fn or get_swa_multi_avg_fn()
    if ema.n_averaged == 0:  # a tensor on the CPU
        for average, weight in zip(averages, weights, strict=True):
            average.copy_(weight)
    else:
        rule(averages, weights, ema.n_averaged)
    ema.n_averaged += 1


class TrainStep(NamedTuple):
    """What one optimiser step did. The tensors are scalars on the device; reading one waits for the device."""

    step: int  # optimiser steps taken so far, from 1
    loss: Tensor  # L_simple of this batch
    grad_norm: Tensor  # norm of the gradient before clipping
    lr: float  # learning rate of this step


def train(state: TrainState, dataset: ImageDataset) -> Iterator[TrainStep]:
    """Train until ``config.train_steps`` steps are taken; stop earlier by not asking for more.

    Ho et al. 2020, Algorithm 1. Every step draws its batch, times and noise from its own seed, so a run that is
    resumed from step k takes the same steps as one that was never stopped. Started by ``torchrun`` or ``accelerate
    launch``, each of n processes works off an n-th of every batch, and the steps are those of one process.

    Args:
        state: what is trained; changed in place.
        dataset: images in [-1, 1].

    Yields:
        A ``TrainStep`` after every optimiser step.

    Raises:
        ValueError: if the model wants labels that the images have not, or the batch cannot be cut as asked.
    """
    config, diffusion = state.config, state.diffusion
    check_labels(config, dataset)
    accelerator = start_accelerator(config.mixed_precision, diffusion.device)
    optimizer = accelerator.prepare(state.optimizer)
    if accelerator.scaler and state.scaler:
        accelerator.scaler.load_state_dict(state.scaler)
    parts = parts_of_batch(config, min(config.batch_size, len(dataset)))
    if config.compiled:
        compile_if_possible(diffusion, (parts[0].stop - parts[0].start, *dataset.shape), accelerator)
    shared = share_gradients(diffusion)
    dataset = dataset.near(diffusion.device)

    while state.step < config.train_steps:
        lr = learning_rate(config, state.step)
        for group in state.optimizer.param_groups:
            group["lr"] = lr

        diffusion.train()
        with seeded(combine_seeds(config.seed, state.step), diffusion.device):
            batch = draw_batch(dataset, config, state.step, diffusion)
            torch.manual_seed(torch.initial_seed() + rank() * 2**40)  # of dropout, different in every process
            optimizer.zero_grad()  # also of a step that was interrupted
            loss = backward(shared, batch, parts, accelerator)
        grad_norm = accelerator.clip_grad_norm_(diffusion.eps_model.parameters(), config.grad_clip)
        optimizer.step()

        update_average(state.ema, diffusion.eps_model)
        state.scaler = accelerator.scaler.state_dict() if accelerator.scaler else {}
        state.step += 1
        yield TrainStep(state.step, accelerator.reduce(loss, "mean"), grad_norm, lr)


def compile_if_possible(diffusion: DenoiseDiffusion, shape: Sequence[int], accelerator: "Accelerator") -> None:
    """Translate the network for batches of ``shape``; where that fails, say so in a line and leave it as it is.

    A compilation that was killed, for one, leaves half a file in torch's cache. One that succeeds may be wrong: in bf16
    on a CPU its gradients were not numbers (PyTorch 2.11). So they are held to those of the plain network.
    """
    model = diffusion.eps_model.train()
    try:
        plain = trial_gradients(diffusion, shape, accelerator)
        model.compile()
        apart = (trial_gradients(diffusion, shape, accelerator) - plain).abs()
        if not (apart < plain.clamp(min=1e-3 * float(plain.max())) / 2).all():  # dropout differs; a number is needed
            raise ArithmeticError("its gradients are wrong")
    except Exception as error:  # of a compiler, an interpreter, a loader of libraries
        model._compiled_call_impl = None  # what ``Module.compile`` sets
        said = first_line(error)
        tqdm.write(f"training goes on, but not compiled ({said}); deleting torch's cache of compiled code may help")


def trial_gradients(diffusion: DenoiseDiffusion, shape: Sequence[int], accelerator: "Accelerator") -> Tensor:
    """The norm of the gradient of every weight for a batch of ``shape``; weights and random state stay as they are.

    The weights are shaken for the trial: those of a new network are partly zeros, and so would be its gradients.
    """
    parameters = list(diffusion.eps_model.parameters())
    before = [p.detach().clone() for p in parameters]
    try:
        with seeded(0, diffusion.device):
            with torch.no_grad():
                for p in parameters:
                    p.add_(torch.randn_like(p), alpha=0.05)
            with accelerator.autocast():
                loss = diffusion.loss(torch.zeros(shape, device=diffusion.device))
            loss.backward()
        return torch.stack([p.grad.norm() for p in parameters if p.grad is not None])
    finally:
        with torch.no_grad():
            for p, values in zip(parameters, before, strict=True):
                p.copy_(values)
                p.grad = None


def learning_rate(config: TrainConfig, step: int) -> float:
    """Learning rate of a step: it rises over ``warmup_steps``, stays, and falls over ``cooldown_steps``."""
    rise = (step + 1) / max(1, config.warmup_steps)
    fall = (config.train_steps - step) / max(1, config.cooldown_steps)
    return config.lr * min(1.0, rise, fall)


def backward(diffusion: DenoiseDiffusion, batch: Batch, parts: Sequence[slice], accelerator: "Accelerator") -> Tensor:
    """Add up the gradients of the parts of a batch that this process works off; returns their mean loss.

    Raises:
        ValueError: if a part does not fit into the memory; it says what would.
    """
    loss = torch.zeros((), device=diffusion.device)
    with saying_what_fits(diffusion, batch, parts, accelerator):
        for i, part in enumerate(parts):
            more = i + 1 < len(parts)
            with accelerator.no_sync(diffusion.eps_model) if more else contextlib.nullcontext():
                loss += backward_part(diffusion, part_of(batch, part), len(parts), accelerator)
    return loss


def backward_part(diffusion: DenoiseDiffusion, batch: Batch, n_parts: int, accelerator: "Accelerator") -> Tensor:
    """Add up the gradients of one of several parts of a batch; returns its share of the mean loss."""
    with accelerator.autocast():
        mean = diffusion.loss(*batch) / n_parts
    accelerator.backward(mean)
    return mean.detach()


@contextlib.contextmanager
def saying_what_fits(
    diffusion: DenoiseDiffusion, batch: Batch, parts: Sequence[slice], accelerator: "Accelerator"
) -> Iterator[None]:
    """Where the memory is not enough for a part of a batch, find the largest one that fits and say how to have it.

    Raises:
        ValueError: with that in a sentence.
    """
    try:
        yield
    except RuntimeError as error:
        if not isinstance(error, torch.OutOfMemoryError) and "DefaultCPUAllocator" not in str(error):
            raise
        traceback.clear_frames(error.__traceback__)  # they hold the activations
        size = parts[0].stop - parts[0].start
        said = f"batch_size must be smaller for the memory of {diffusion.device}: {size} images at a time do not fit"
        for count in (size // cuts for cuts in range(2, size + 1) if size % cuts == 0):
            diffusion.zero_grad()
            with contextlib.suppress(RuntimeError):
                backward_part(diffusion, part_of(batch, slice(count)), 1, accelerator)
                cuts = len(parts) * size // count
                raise ValueError(f"{said}, but {count} do: accumulation_steps {cuts} makes them so") from None
        raise ValueError(f"{said}, and neither does 1") from None


def seconds_per_image(config: TrainConfig, device: str | torch.device = "auto", at_least: float = 0.3) -> float:
    """How long training takes here for each image, measured: forward and backward pass on blank images.

    The batch is doubled until a pass takes ``at_least`` seconds or the batch is as large as ``config.batch_size``;
    then the faster of two passes counts.

    Args:
        config: what would be trained; its ``data`` must be a known data set.
        device: see ``get_device``.
        at_least: seconds that a pass should last.
    """
    shape = DATASETS[config.data]
    config = settled(config, device := get_device(device))
    diffusion = laid_out(build_diffusion(config, shape[0]).to(device), config)

    def seconds(size: int) -> float:
        start = time.perf_counter()
        with autocast(config.mixed_precision, device):
            loss = diffusion.loss(torch.zeros(size, *shape, device=device))
        loss.backward()
        float(sum(p.grad.sum() for p in diffusion.parameters() if p.grad is not None))  # waits for the device
        return time.perf_counter() - start

    seconds(1)  # the very first pass is slower
    size = 1
    while (taken := seconds(size)) < at_least and size < config.batch_size:
        size = min(2 * size, config.batch_size)
    return min(taken, seconds(size)) / size

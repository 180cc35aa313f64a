"""One run in several processes: who works off which part of a batch, and what all agree on.

``torchrun`` or ``accelerate launch`` starts the processes,
accelerate and PyTorch's DistributedDataParallel connect them.
"""

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch

from ddpm_lesson.runtime import n_processes, rank, settle_precision
from ddpm_lesson.sample.steps import with_network
from ddpm_lesson.train.presets import TrainConfig

if TYPE_CHECKING:
    from accelerate import Accelerator


def start_accelerator(mixed_precision: str, device: torch.device) -> "Accelerator":
    """An accelerator for this device and precision, whatever an earlier run in this process used."""
    from accelerate import Accelerator

    forget_earlier_runs()
    return Accelerator(mixed_precision=mixed_precision, cpu=device.type == "cpu", device_placement=False)


def forget_earlier_runs() -> None:
    """Let the next accelerator of this process choose its own precision and device.

    accelerate keeps both for the whole process and has no public way to change them; the Trainer of transformers
    calls the same method.
    """
    from accelerate.state import AcceleratorState

    AcceleratorState._reset_state(reset_partial_state=True)


def share_gradients(diffusion: Any) -> Any:
    """The same model as the loop uses it: times on trust, and gradients averaged over all processes."""
    if n_processes() == 1:
        return diffusion.trusting()
    return with_network(diffusion, torch.nn.parallel.DistributedDataParallel(diffusion.eps_model)).trusting()


def settled(config: TrainConfig, device: torch.device) -> TrainConfig:
    """The settings with what the precision ``auto`` becomes here, which is the same in every process.

    Raises:
        ValueError: if the device lacks the precision.
    """
    precision = settle_precision(config.mixed_precision, device)
    if config.mixed_precision == "auto" and any_process(precision == "no", device):
        precision = "no"
    return replace(config, mixed_precision=precision)


def parts_of_batch(config: TrainConfig, batch_size: int) -> list[slice]:
    """The parts of every batch that this process works off, one after the other.

    Raises:
        ValueError: if the batch cannot be cut into equal parts.
    """
    count = n_processes() * config.accumulation_steps
    if batch_size % count:
        raise ValueError(
            f"batch_size must be a multiple of {count}, for {n_processes()} processes times "
            f"{config.accumulation_steps} accumulation steps; got {batch_size}"
        )
    size, first = batch_size // count, rank() * config.accumulation_steps
    return [slice(i * size, (i + 1) * size) for i in range(first, first + config.accumulation_steps)]


@contextlib.contextmanager
def together(device: torch.device) -> Iterator[None]:
    """Connect the processes for the duration of the ``with`` block; nothing to do for a single one."""
    if n_processes() == 1:
        yield
        return
    from accelerate import PartialState

    state = PartialState(cpu=device.type == "cpu")
    try:
        yield
    finally:
        state.destroy_process_group()


@contextlib.contextmanager
def first_process_first() -> Iterator[None]:
    """Let process 0 do the ``with`` block alone, such as a download, and then all others."""
    if rank() > 0:
        torch.distributed.barrier()
    yield
    if n_processes() > 1 and rank() == 0:
        torch.distributed.barrier()


def any_process(flag: bool, device: torch.device) -> bool:
    """Whether ``flag`` is set in any process; each of them has to ask, at the same step."""
    if n_processes() == 1:
        return flag
    flags = torch.tensor(float(flag), device=device)
    torch.distributed.all_reduce(flags, torch.distributed.ReduceOp.MAX)
    return bool(flags)

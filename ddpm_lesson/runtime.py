"""Where the lesson runs: device, seed, budget, Colab or not, and the files that come with it."""

import functools
import importlib.util
import os
import platform
import random
import sys
import time
from pathlib import Path

import numpy as np
import torch

DEVICES = ("auto", "cpu", "cuda", "mps")
WORTH_IT = 1.3  # how much faster bf16 must make a convolution, so that a step gains: its other half gains nothing


def get_device(name: str | torch.device = "auto") -> torch.device:
    """The device called ``name``: the GPU toggle of every notebook and command.

    Args:
        name: ``"auto"`` takes the first that is there of CUDA, MPS and CPU; or ``"cpu"``, ``"mps"``,
            ``"cuda"``, ``"cuda:1"`` and so on. Of several processes each takes a GPU of its own.

    Raises:
        ValueError: if there is no device of that name, or it is not on this machine.
    """
    if name == "auto":
        name = next(d for d in ("cuda", "mps", "cpu") if why_not(d) is None)
    if name == "cuda" and "LOCAL_RANK" in os.environ:
        name = f"cuda:{os.environ['LOCAL_RANK']}"
    try:
        device = torch.device(name)
    except (RuntimeError, TypeError):
        raise ValueError(f"device must be one of {', '.join(DEVICES)}; got {name!r}") from None
    reason = why_not(device)
    if reason:
        raise ValueError(f"device {str(device)!r} is not there: {reason}; 'auto' takes what is")
    return device


def why_not(device: str | torch.device) -> str | None:
    """Why ``device`` cannot be used on this machine, in a few words; None if it can."""
    device = torch.device(device)
    if device.type == "cuda":
        count = torch.cuda.device_count()
        if count == 0:
            return "PyTorch finds no CUDA GPU here"
        if not torch.cuda.is_available():
            return "PyTorch finds a CUDA GPU but cannot use it; is its driver too old?"
        if (device.index or 0) >= count:
            return f"this machine has {count} CUDA GPU{'s' if count > 1 else ''}, numbered from 0"
        return None
    if device.type == "mps":
        return None if torch.backends.mps.is_available() else "PyTorch finds no Apple GPU (MPS) here"
    return None if device.type == "cpu" else f"the lesson does not know devices of type {device.type!r}"


def settle_precision(precision: str, device: torch.device) -> str:
    """What a ``mixed_precision`` becomes on a device: ``"auto"`` is ``"bf16"`` where that is fast, else ``"no"``.

    Raises:
        ValueError: if the device does not compute in the precision that is asked for.
    """
    if precision == "auto":
        return "bf16" if bf16_is_fast(device) else "no"
    if precision == "fp16" and device.type != "cuda":
        raise ValueError(
            f"mixed_precision must be auto, bf16 or no on {device.type}; got 'fp16', which needs a CUDA GPU"
        )
    if precision == "bf16" and (reason := why_no_bf16(device)):
        raise ValueError(f"mixed_precision must be auto or no on {device}; got 'bf16', which it lacks ({reason})")
    return precision


def autocast(precision: str, device: torch.device) -> torch.autocast:
    """A context that computes in a precision that ``settle_precision`` gave; ``"no"`` changes nothing."""
    dtype = torch.float16 if precision == "fp16" else torch.bfloat16
    return torch.autocast(device.type, dtype, enabled=precision != "no")


@functools.cache
def bf16_is_fast(device: torch.device) -> bool:
    """Whether a convolution takes much less time in bf16 than in float32 here, measured once: a tenth of a second.

    No list of processors tells: some have instructions for bf16 and are slower with them.
    """
    if device.type == "meta" or why_no_bf16(device):
        return False
    channels, images = (64, 16) if device.type == "cpu" else (256, 64)  # a GPU takes as long for nothing as for little
    taken: dict[torch.dtype, list[float]] = {torch.float32: [], torch.bfloat16: []}
    for _ in range(4):
        for dtype, times in taken.items():
            times.append(seconds_of_convolution(dtype, device, channels, images))
    plain, half = (min(times[1:]) for times in taken.values())  # the first of each is slower
    return plain > WORTH_IT * half


def seconds_of_convolution(dtype: torch.dtype, device: torch.device, channels: int, images: int) -> float:
    """How long a 3 x 3 convolution of maps of 16 x 16 takes, forward and backward."""
    x, weight = torch.zeros(images, channels, 16, 16), torch.zeros(channels, channels, 3, 3)
    x, weight = (tensor.to(device, dtype).requires_grad_() for tensor in (x, weight))
    float(x.detach().sum())  # waits for the device, as below
    start = time.perf_counter()
    gradients = torch.autograd.grad(torch.nn.functional.conv2d(x, weight, padding=1).sum(), (x, weight))
    float(gradients[1].sum())
    return time.perf_counter() - start


def why_no_bf16(device: torch.device) -> str | None:
    """Why a device does not compute in bf16, in its own words; None if it does, be it slowly."""
    try:
        image = torch.ones(1, 1, 4, 4, dtype=torch.bfloat16, device=device)
        torch.nn.functional.conv2d(image, image)
    except (RuntimeError, TypeError) as error:
        return first_line(error)
    return None


def first_line(error: BaseException) -> str:
    """What an error says, without the lines that follow; empty if it says nothing."""
    return str(error).strip().partition("\n")[0]


def needs(*modules: str, extra: str) -> None:
    """Say what to install if one of the ``modules`` is not here; they are looked for, not imported.

    Args:
        modules: names of top-level modules, such as ``"matplotlib"``.
        extra: the extra of this package that brings them, see pyproject.toml.

    Raises:
        ImportError: if one of them is missing.
    """
    missing = [name for name in modules if importlib.util.find_spec(name) is None]
    if missing:
        raise ImportError(f'this needs {" and ".join(missing)}: pip install "ddpm-lesson[{extra}]"', name=missing[0])


def seed_everything(seed: int) -> None:
    """Seed Python, NumPy and PyTorch, so that a notebook shows the same pictures every time."""
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 (the generator that other people's code uses)
    torch.manual_seed(seed)


def n_processes() -> int:
    """How many processes train together, as ``torchrun`` and ``accelerate launch`` say; 1 without them."""
    return int(os.environ.get("WORLD_SIZE", 1))


def rank() -> int:
    """Which of them this one is, from 0; number 0 alone writes files and draws the progress bar."""
    return int(os.environ.get("RANK", 0))


def budget() -> str:
    """``"quick"`` (the default: every notebook runs in a minute or two) or ``"full"``, from ``DDPM_BUDGET``.

    Raises:
        ValueError: if the environment variable holds anything else.
    """
    value = os.environ.get("DDPM_BUDGET", "quick")
    if value not in ("quick", "full"):
        raise ValueError(f"DDPM_BUDGET must be quick or full; got {value!r}")
    return value


def in_colab() -> bool:
    """Whether this is a Google Colab runtime."""
    return "google.colab" in sys.modules


def memory_gb() -> float | None:
    """Memory of this machine in GB; None where the system does not tell."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    except (AttributeError, ValueError, OSError):
        return None


def describe_machine() -> dict[str, str]:
    """What the lesson runs on, as label -> text: Python, PyTorch, system, processor, memory, GPU, Colab."""
    memory = memory_gb()
    gpu = why_not("cuda") or torch.cuda.get_device_name(0)
    if why_not("mps") is None:
        gpu = "Apple GPU (MPS)"
    return {
        "Python": platform.python_version(),
        "PyTorch": torch.__version__,
        "System": f"{platform.system()} {platform.machine()}",
        "CPU threads": str(torch.get_num_threads()),
        "Memory": f"{memory:.0f} GB" if memory else "unknown",
        "GPU": gpu,
        "Colab": "yes" if in_colab() else "no",
    }


def assets_folder() -> Path:
    """The folder of trained weights and drawings: beside the package in a checkout, inside it when installed."""
    package = Path(__file__).parent
    inside = package / "assets"
    return inside if inside.is_dir() else package.parent / "assets"

"""Where the lesson runs: device, seed, budget, Colab or not, and the files that come with it."""

import importlib.util
import os
import platform
import random
import sys
from pathlib import Path

import numpy as np
import torch

DEVICES = ("auto", "cpu", "cuda", "mps")


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

"""Understand denoising diffusion (Ho et al. 2020): the complete implementation behind the notebooks."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ddpm_lesson.data import ImageDataset, load_images
    from ddpm_lesson.diffusion import DenoiseDiffusion, gather
    from ddpm_lesson.flow import FlowMatching, flow_steps
    from ddpm_lesson.runtime import get_device, seed_everything
    from ddpm_lesson.sample import ReverseStep, ddim_steps, ddpm_steps, dpm_steps, guided, heun_steps
    from ddpm_lesson.schedule import NoiseSchedule
    from ddpm_lesson.train import PRESETS, TrainConfig, TrainState, get_preset
    from ddpm_lesson.unet import (
        AttentionBlock,
        DownBlock,
        Downsample,
        MiddleBlock,
        ResidualBlock,
        Swish,
        TimeEmbedding,
        UNet,
        UpBlock,
        Upsample,
    )

__version__ = "0.1.0"

__all__ = [
    "PRESETS",
    "AttentionBlock",
    "DenoiseDiffusion",
    "DownBlock",
    "Downsample",
    "FlowMatching",
    "ImageDataset",
    "MiddleBlock",
    "NoiseSchedule",
    "ResidualBlock",
    "ReverseStep",
    "Swish",
    "TimeEmbedding",
    "TrainConfig",
    "TrainState",
    "UNet",
    "UpBlock",
    "Upsample",
    "ddim_steps",
    "ddpm_steps",
    "dpm_steps",
    "flow_steps",
    "gather",
    "get_device",
    "get_preset",
    "guided",
    "heun_steps",
    "load_images",
    "seed_everything",
]

ROOMS = ("schedule", "diffusion", "unet", "data", "sample", "flow", "train", "runtime")  # where these names live


def __getattr__(name: str) -> Any:
    """A name of ``__all__``, loaded when it is first asked for: PyTorch takes seconds, in which Ctrl-C is heard."""
    rooms = (importlib.import_module(f"{__name__}.{room}") for room in ROOMS) if name in __all__ else ()
    for room in rooms:
        if hasattr(room, name):
            return getattr(room, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*__all__, "__version__"]

"""Understand denoising diffusion (Ho et al. 2020): the complete implementation behind the notebooks."""

from ddpm_lesson.data import ImageDataset, load_images
from ddpm_lesson.diffusion import DenoiseDiffusion, gather
from ddpm_lesson.runtime import get_device, seed_everything
from ddpm_lesson.sample import ReverseStep, ddim_steps, ddpm_steps
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
    "gather",
    "get_device",
    "get_preset",
    "load_images",
    "seed_everything",
]

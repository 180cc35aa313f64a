"""The noise predictor: a U-Net that sees a noisy image x_t and the time t and answers eps_theta."""

from ddpm_lesson.unet.blocks import (
    AttentionBlock,
    DownBlock,
    Downsample,
    MiddleBlock,
    ResidualBlock,
    Swish,
    TimeEmbedding,
    UpBlock,
    Upsample,
)
from ddpm_lesson.unet.model import UNet

__all__ = [
    "AttentionBlock",
    "DownBlock",
    "Downsample",
    "MiddleBlock",
    "ResidualBlock",
    "Swish",
    "TimeEmbedding",
    "UNet",
    "UpBlock",
    "Upsample",
]

"""Digits, and a tiny model."""

import pytest
import torch

from ddpm_lesson import DenoiseDiffusion, NoiseSchedule, load_images
from ddpm_lesson.unet import UNet


@pytest.fixture(scope="module")
def digits():
    """Training and test images of scikit-learn's digits."""
    return load_images("digits")[:], load_images("digits", "test")[:]


@pytest.fixture(scope="module")
def model():
    """A tiny network that has learned nothing, and whose bound is all the larger."""
    torch.manual_seed(0)
    network = UNet(image_channels=1, n_channels=8, ch_mults=(1, 2), is_attn=(False, False), n_blocks=1, n_groups=4)
    return DenoiseDiffusion(network, schedule=NoiseSchedule.linear(60, 1e-3, 0.2))

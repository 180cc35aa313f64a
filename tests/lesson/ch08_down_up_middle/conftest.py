"""What the tests of notebook 08 share: a trained network, and one seed."""

import pytest
import torch

from ddpm_lesson import checkpoint


@pytest.fixture(scope="module")
def unet():
    return checkpoint.load("digits").eps_model


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)

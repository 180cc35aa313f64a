"""When a sample is decided: where runs part, and what a straight line can do."""

import pytest
import torch
from torch import nn

from ddpm_lesson.diffusion import DenoiseDiffusion
from ddpm_lesson.lesson.ch10_training.claims import StraightAbove, agreement
from ddpm_lesson.lesson.ch10_training.measure import principal_variances, straight_line_loss


class Seven(nn.Module):
    """A network that always says 7."""

    def forward(self, xt, t):
        return torch.full_like(xt, 7)


@pytest.fixture
def images():
    """Images whose pixels vary together."""
    generator = torch.Generator().manual_seed(0)
    mix = torch.randn(4, 4, generator=generator) / 4
    return (torch.randn(300, 4, generator=generator) @ mix).view(300, 1, 2, 2)


def test_the_straight_line_has_the_loss_of_10_6(images):
    diffusion = DenoiseDiffusion(Seven())
    line, t, n = StraightAbove(diffusion, images, 0), torch.tensor(300), 200_000
    generator = torch.Generator().manual_seed(1)
    x0 = images[torch.randint(len(images), (n,), generator=generator)]
    eps = torch.randn(x0.shape, generator=generator)
    times = t.expand(n)
    losses = (line(diffusion.q_sample(x0, times, eps), times) - eps).square().flatten(1).mean(1)
    expected = straight_line_loss(principal_variances(images), diffusion.schedule)[t]
    assert float(losses.mean()) == pytest.approx(float(expected), abs=5 * float(losses.std()) / n**0.5)


def test_below_its_start_the_network_answers(images):
    model = StraightAbove(DenoiseDiffusion(Seven()), images, 500)
    guess = model(torch.zeros(2, 1, 2, 2), torch.tensor([499, 500]))
    assert (guess[0] == 7).all()
    assert not (guess[1] == 7).any()


def test_runs_that_part_at_the_last_step_agree_and_at_the_first_by_chance():
    torch.manual_seed(0)
    diffusion = DenoiseDiffusion(nn.Module(), clip_x0=False)
    diffusion.eps_model.forward = lambda xt, t: xt * 0.5  # draws decide everything
    shape = (2000, 4, 1, 1)
    assert agreement(diffusion, lambda x: x.flatten(1), shape, 0, seed=0) == 1
    assert agreement(diffusion, lambda x: x.flatten(1), shape, 999, seed=0) == pytest.approx(0.25, abs=0.1)

"""What several test files share: seeds, noise predictors that need no training, and diffusers as the oracle."""

import signal

import pytest
import torch
from torch import nn


def pytest_configure() -> None:
    """Hear Ctrl-C and a closing terminal also where the tests run in the background or under nohup."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if hasattr(signal, "SIGHUP"):
        signal.signal(signal.SIGHUP, signal.SIG_DFL)


class WavyEps(nn.Module):
    """A noise predictor that is easy to write down and that depends on x, on t and on the position."""

    def forward(self, xt, t):
        t = t.view(-1, *[1] * (xt.ndim - 1))
        return 0.8 * torch.sin(3 * xt + 0.01 * t) + 0.3 * xt.roll(1, dims=-1)


class ZeroEps(nn.Module):
    """Predicts no noise at all."""

    def forward(self, xt, t):
        return torch.zeros_like(xt)


@pytest.fixture(autouse=True)
def seed():
    """Every test draws the same numbers whichever tests ran before it."""
    torch.default_generator.manual_seed(0)


@pytest.fixture
def rng():
    """``rng(seed)`` makes a generator; two of the same seed give the same noise."""
    return lambda seed=0: torch.Generator().manual_seed(seed)


@pytest.fixture
def wavy():
    return WavyEps()


@pytest.fixture
def zero():
    return ZeroEps()


@pytest.fixture(scope="session")
def diffusers():
    """The oracle; it takes seconds to import, so only the tests that ask for it pay."""
    import diffusers

    return diffusers


@pytest.fixture
def randomise():
    """``randomise(model)`` gives every parameter a value of its own: untrained zeros would hide mistakes."""

    @torch.no_grad()
    def apply(model):
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.normal_(std=parameter[0].numel() ** -0.5)
            else:  # biases, and the gains of the normalisations, which start at 1
                parameter.add_(torch.randn_like(parameter), alpha=0.1)
        return model

    return apply


@pytest.fixture
def exact():
    """``exact(scheduler)`` keeps a diffusers scheduler's alpha_bar in float64.

    diffusers rounds it to float32. Near t = 0, where 1 - alpha_bar is about 1e-4, that alone shifts the
    posterior by 1e-4, ten times the tolerance of the comparison.
    """

    def apply(scheduler):
        scheduler.alphas_cumprod = (1 - scheduler.betas.double()).cumprod(0)
        return scheduler

    return apply


@pytest.fixture(scope="module")
def one_thread():
    """Models as small as ``TINY`` are slower on several threads, much slower beside other work."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)

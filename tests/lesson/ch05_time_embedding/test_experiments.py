"""With and without a clock: exact answers against Monte Carlo, and trainings that differ in the clock only."""

import pytest
import torch
from torch import nn

from ddpm_lesson import DenoiseDiffusion, NoiseSchedule
from ddpm_lesson.lesson.ch05_time_embedding import experiments as clock
from ddpm_lesson.lesson.kit.mixture import ExactNoise, GaussianMixture
from ddpm_lesson.unet import TimeEmbedding

DATA = GaussianMixture([0.4, 0.6], [-0.6, 0.5], [0.15, 0.25])
LINE = NoiseSchedule.linear(20, 0.01, 0.5)
GRID = torch.linspace(-6, 6, 1201, dtype=torch.float64)


def drawn(n, n_pixels=1):
    """Times, noises and noisy images, drawn as in training."""
    generator = torch.Generator().manual_seed(0)
    t = torch.randint(LINE.n_steps, (n,), generator=generator)
    eps = torch.randn(n, n_pixels, dtype=torch.float64, generator=generator)
    alpha_bar = LINE.to(torch.float64).alpha_bar[t, None]
    x0 = DATA.sample(n * n_pixels, generator).view(n, n_pixels)
    return t, eps, alpha_bar.sqrt() * x0 + (1 - alpha_bar).sqrt() * eps


def test_time_posterior_is_how_often_each_time_led_to_a_value():
    t, _, xt = drawn(400_000)
    near = (xt[:, 0] + 0.3).abs() < 0.02
    counted = torch.bincount(t[near], minlength=20) / near.sum()
    exact = clock.time_posterior(DATA, LINE, torch.tensor([[-0.3]]))[0]
    assert float(exact.sum()) == pytest.approx(1)
    assert float((counted - exact).abs().max()) < 5 * (0.05 / float(near.sum())) ** 0.5 + 0.002


def test_pixels_of_an_image_vote_together():
    t, _, xt = drawn(2000, 50)
    weight = clock.time_posterior(DATA, LINE, xt)
    assert weight.shape == (2000, 20)
    sure = weight.max(1).values > 0.9
    assert float((weight.argmax(1) == t)[sure].double().mean()) > 0.9
    alone = clock.time_posterior(DATA, LINE, xt[:, :1])
    assert float(weight.max(1).values.mean()) > 2 * float(alone.max(1).values.mean())


def test_no_function_of_the_image_alone_does_better_than_the_timeless_answer():
    _, eps, xt = drawn(100_000)
    left = eps - clock.timeless_eps(DATA, LINE, xt)
    for direction in (torch.ones_like(xt), xt, xt**2, (3 * xt).sin(), (xt > 0.4).double()):
        product = left * direction  # zero on average, or a step in this direction would lower the loss
        assert float(product.mean().abs()) < 5 * float(product.std()) / 100_000**0.5


def test_price_of_one_pixel_is_that_of_quadrature():
    blind = clock.timeless_eps(DATA, LINE, GRID[:, None])[:, 0]
    price = float(clock.excess_error(blind, DATA, LINE, GRID).mean())
    assert clock.price_of_no_clock(DATA, LINE, 1, 40_000, 0) == pytest.approx(price, rel=0.05)


def test_more_pixels_make_it_cheaper_not_to_know_the_time():
    prices = [clock.price_of_no_clock(DATA, LINE, n, 4000 // n, 0) for n in (1, 8, 64)]
    assert prices[0] > 1.5 * prices[1] > 3 * prices[2] > 0


def test_excess_error_of_the_exact_answer_is_zero_and_of_no_answer_what_the_floor_leaves():
    exact = DenoiseDiffusion(ExactNoise(DATA, LINE), schedule=LINE, clip_x0=False)
    said = clock.answers(exact, GRID)
    assert said.shape == (20, 1201)
    assert float(clock.excess_error(said, DATA, LINE, GRID).max()) < 1e-9
    t, eps, xt = drawn(200_000)
    told = torch.cat([eps[t == i, 0] - DATA.exact_eps(xt[t == i, 0], clock.alpha_bars(LINE)[i]) for i in range(20)])
    nothing = float(clock.excess_error(torch.zeros(1201), DATA, LINE, GRID).mean())
    assert 1 - nothing == pytest.approx(float(told.square().mean()), abs=0.01)


@pytest.mark.parametrize("name", clock.CLOCKS)
def test_network_is_told_the_time_in_its_own_way(name):
    t = torch.tensor([0, 3, 19])
    told = clock.LineNoise(name, 20).time_input(t)
    expected = {
        "none": torch.zeros(3, 1),
        "t": torch.tensor([[0.0], [3], [19]]),
        "t / T": torch.tensor([[0.0], [0.15], [0.95]]),
        "one-hot": torch.eye(20)[t],
        "sinusoids": TimeEmbedding(128).sinusoids(t),
    }
    torch.testing.assert_close(told, expected[name])


def test_unknown_clock_is_named():
    with pytest.raises(ValueError, match="clock must be one of none, t, t / T, one-hot, sinusoids; got 'sundial'"):
        clock.LineNoise("sundial", 20)


def test_all_clocks_start_from_the_same_hidden_layers():
    torch.manual_seed(0)
    first = clock.LineNoise("none", 20)
    torch.manual_seed(0)
    other = clock.LineNoise("one-hot", 20)
    for name in ("first", "middle", "last"):
        assert torch.equal(getattr(first, name).weight, getattr(other, name).weight)


def test_network_without_a_clock_learns_the_timeless_answer_and_one_with_a_clock_comes_below(one_thread):
    blind = clock.timeless_eps(DATA, LINE, GRID[:, None])[:, 0]
    price = float(clock.excess_error(blind, DATA, LINE, GRID).mean())
    errors = {}
    for name in ("none", "sinusoids"):
        said = clock.answers(clock.train_on_line(name, DATA, LINE, train_steps=300, lr=1e-2), GRID)
        errors[name] = float(clock.excess_error(said, DATA, LINE, GRID).mean())
    assert errors["none"] == pytest.approx(price, rel=0.1)
    assert errors["sinusoids"] < price / 3


def test_training_repeats_itself_and_leaves_the_seed_of_the_notebook_alone(one_thread):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    one, other = (clock.train_on_line("t / T", DATA, LINE, train_steps=5) for _ in range(2))
    assert torch.equal(torch.rand(3), expected)
    for a, b in zip(one.parameters(), other.parameters(), strict=True):
        assert torch.equal(a, b)


def test_hands_take_from_two_pi_to_ten_thousand_times_as_many_steps_for_a_turn():
    turns = clock.turn_steps(TimeEmbedding(96))
    assert turns.shape == (12,)
    assert float(turns[0]) == pytest.approx(2 * torch.pi, rel=1e-5)
    assert float(turns[-1]) == pytest.approx(2 * torch.pi * 10_000, rel=1e-5)
    torch.testing.assert_close(
        turns[1:] / turns[:-1], torch.full((11,), 10_000 ** (1 / 11)).double(), rtol=1e-5, atol=0
    )


class Believer(nn.Module):
    """Says what it is told."""

    def forward(self, xt, t):
        assert not self.training
        return t.view(-1, 1, 1, 1).expand_as(xt).float()


def test_loss_when_told_asks_about_the_same_noise_with_every_time():
    diffusion = DenoiseDiffusion(Believer(), 100)
    losses = clock.loss_when_told(diffusion, torch.zeros(4, 1, 8, 8), 30, [0, 1, 2], torch.Generator().manual_seed(0))
    eps = torch.randn(4, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(losses, torch.stack([(eps - i).square().mean() for i in range(3)]))
    assert diffusion.training

"""Flow matching, against the exact velocity of a mixture, the closed path of its quantiles, and diffusers."""

import math

import pytest
import torch
from torch import nn

from ddpm_lesson.flow import FlowMatching, flow_steps
from ddpm_lesson.lesson.kit.mixture import TWO_BUMPS, GaussianMixture
from ddpm_lesson.sample import final_samples
from ddpm_lesson.unet import UNet

SHAPE = (3, 2, 4, 4)
solvers = pytest.mark.parametrize("solver", ["euler", "heun"])


def assert_close(ours, theirs, tolerance=1e-6):
    torch.testing.assert_close(ours, theirs, rtol=tolerance, atol=tolerance)


class Wavy(nn.Module):
    """A velocity that depends on x, on t and on the position."""

    def forward(self, xt, t):
        return torch.sin(3 * xt + 0.01 * t.view(-1, *[1] * (xt.ndim - 1))) + 0.3 * xt.roll(1, dims=-1)


class ExactVelocity(nn.Module):
    """E[eps - x0 | x_t] of the mixture: x_t is sqrt(t^2 + (1-t)^2) times the x_t of a DDPM at the same ratio."""

    def forward(self, xt, t1000):
        t = t1000.unique().item() / 1000
        if t == 1:
            return xt - TWO_BUMPS.mean
        if t == 0:
            return -xt  # x0 is known, eps is not
        scale = math.sqrt(t**2 + (1 - t) ** 2)
        x0 = TWO_BUMPS.exact_x0(xt / scale, (1 - t) ** 2 / scale**2)
        return (xt - x0) / t


def at(t):
    """The distribution of x_t."""
    stds = ((1 - t) ** 2 * TWO_BUMPS.stds**2 + t**2).sqrt()
    return GaussianMixture(TWO_BUMPS.weights, (1 - t) * TWO_BUMPS.means, stds)


# Loss


def test_paths_lead_from_data_at_zero_to_noise_at_one():
    x0, eps = torch.randn(2, *SHAPE)
    flow = FlowMatching(Wavy())
    assert flow.q_sample(x0, torch.zeros(3), eps).equal(x0)
    assert_close(flow.q_sample(x0, torch.ones(3), eps), eps)
    t = torch.tensor([0.25, 0.5, 0.9])
    assert_close(flow.q_sample(x0, t, eps), (1 - t.view(3, 1, 1, 1)) * x0 + t.view(3, 1, 1, 1) * eps)


def test_path_is_that_of_diffusers(diffusers):
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler(1000)
    x0, eps = torch.randn(2, *SHAPE)
    t = scheduler.timesteps[[0, 300, 900]]  # 1000 t, as the network is told
    assert_close(FlowMatching(Wavy()).q_sample(x0, t / 1000, eps), scheduler.scale_noise(x0, t, eps), 1e-5)


def test_loss_is_the_mean_square_of_the_velocity_missed():
    x0, eps = torch.randn(2, *SHAPE)
    t = torch.tensor([0.0, 0.3, 1.0])
    times = t.view(3, 1, 1, 1)
    expected = (Wavy()((1 - times) * x0 + times * eps, 1000 * t) - (eps - x0)).square().mean()
    assert FlowMatching(Wavy()).loss(x0, eps, t).item() == pytest.approx(expected.item(), rel=1e-5)


def test_network_is_told_a_thousand_times_the_time_and_the_labels_if_any():
    class Listening(nn.Module):
        def forward(self, xt, t, *labels):
            heard.append((t.tolist(), labels))
            return xt

    heard, labels = [], torch.tensor([1])
    flow = FlowMatching(Listening())
    flow.loss(torch.randn(1, 2), t=torch.tensor([0.25]))
    flow.loss(torch.randn(1, 2), t=torch.tensor([0.25]), class_labels=labels)
    final_samples(flow_steps(flow, (1, 2), 2, class_labels=labels))
    assert heard == [([250.0], ()), ([250.0], (labels,)), ([1000.0], (labels,)), ([500.0], (labels,))]


def test_times_are_drawn_evenly():
    class Recorder(nn.Module):
        def forward(self, xt, t):
            self.t = t / 1000
            return xt

    flow = FlowMatching(Recorder())
    flow.loss(torch.randn(50_000, 1))
    counts = flow.velocity_model.t.histc(5, 0, 1)
    assert ((counts - 10_000).abs() < 400).all()  # four standard deviations


def test_nothing_costs_less_than_the_mean_velocity():
    """The minimiser of the loss is E[eps - x0 | x_t]: any other answer costs its mean square distance more."""
    x0 = TWO_BUMPS.sample(20_000, torch.Generator().manual_seed(1))
    noise, t = torch.randn(20_000, dtype=torch.float64), torch.full((20_000,), 0.5, dtype=torch.float64)

    class Shifted(ExactVelocity):
        def forward(self, xt, t1000):
            return super().forward(xt, t1000) + 0.3

    best, other = (FlowMatching(v).loss(x0, noise, t).item() for v in (ExactVelocity(), Shifted()))
    spread = 4 * 2 * 0.3 * (best / 20_000) ** 0.5  # of the mixed term
    assert other - best == pytest.approx(0.09, abs=spread)


def test_a_unet_learns_and_samples():
    unet = UNet(1, 8, (1, 2), (False, False), 1, n_groups=4, n_classes=3)
    flow, labels = FlowMatching(unet), torch.tensor([0, 2])
    flow.loss(torch.rand(2, 1, 8, 8), class_labels=labels).backward()
    assert all(p.grad is not None for p in flow.parameters())
    assert final_samples(flow_steps(flow, (2, 1, 8, 8), 3, solver="heun")).shape == (2, 1, 8, 8)
    assert flow.training


# Steps


def test_euler_equals_diffusers(diffusers, rng):
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler(1000)
    scheduler.set_timesteps(sigmas=[1.0, 0.75, 0.5, 0.25])
    xt = torch.randn(SHAPE, generator=rng(1))
    for step, t in zip(flow_steps(FlowMatching(Wavy()), SHAPE, 4, rng(1)), scheduler.timesteps, strict=True):
        assert 1000 * step.t == pytest.approx(float(t))
        assert_close(step.xt, xt, 1e-5)
        xt = scheduler.step(Wavy()(xt, t.expand(3)), t, xt).prev_sample
    assert_close(step.x0_hat, xt, 1e-5)


@pytest.mark.parametrize(("solver", "order"), [("euler", 1), ("heun", 2)])
def test_order_of_convergence_is_that_of_theory(solver, order):
    """To the very end, t = 0: the last step of Heun is Euler's, and its error is of second order, being one only."""
    u = torch.linspace(0.01, 0.99, 49, dtype=torch.float64)
    start, end = at(1.0).quantile(u)[:, None], TWO_BUMPS.quantile(u)[:, None]
    flow = FlowMatching(ExactVelocity())
    errors = [
        float(
            (final_samples(flow_steps(flow, start.shape, n, solver=solver, start=start)) - end).square().mean() ** 0.5
        )
        for n in (64, 128)
    ]
    assert math.log2(errors[0] / errors[1]) == pytest.approx(order, abs=0.1)


@solvers
def test_on_the_way_it_holds_what_the_paths_hold(solver):
    u = torch.linspace(0.01, 0.99, 49, dtype=torch.float64)
    start = at(1.0).quantile(u)[:, None]
    for step in flow_steps(FlowMatching(ExactVelocity()), start.shape, 256, solver=solver, start=start):
        assert_close(step.xt.flatten(), at(step.t).quantile(u), 0.02)


@pytest.mark.parametrize(("solver", "asked"), [("euler", 10), ("heun", 19)])
def test_the_network_is_asked_as_often_as_stated(solver, asked):
    flow, times = FlowMatching(ExactVelocity()), []
    flow.velocity_model.register_forward_hook(lambda module, given, v: times.append(given[1]))
    steps = list(flow_steps(flow, (2, 1), 10, solver=solver))
    assert len(times) == asked
    assert [step.t for step in steps] == pytest.approx([1 - i / 10 for i in range(10)])


@solvers
def test_straight_paths_need_one_step_or_two(solver):
    class Straight(nn.Module):
        def forward(self, xt, t):
            return torch.full_like(xt, 2.0)

    start = torch.randn(5, 1)
    for step in flow_steps(FlowMatching(Straight()), start.shape, 2, solver=solver, start=start):
        assert_close(step.x0_hat, start - 2)


@solvers
def test_same_generator_same_samples(rng, solver):
    flow = FlowMatching(Wavy())
    one, other = (final_samples(flow_steps(flow, SHAPE, 5, rng(1), solver=solver)) for _ in range(2))
    assert one.equal(other)


# Bad input


def test_unknown_solver_is_refused():
    with pytest.raises(ValueError, match="solver must be one of euler, heun; got 'dpm'"):
        flow_steps(FlowMatching(Wavy()), SHAPE, solver="dpm")


@pytest.mark.parametrize("n_steps", [0, -1, 2.5, True])
def test_wrong_number_of_steps_is_refused(n_steps):
    with pytest.raises(ValueError, match=f"n_steps must be a whole number of at least 1; got {n_steps!r}"):
        flow_steps(FlowMatching(Wavy()), SHAPE, n_steps)


def test_one_step_is_too_few_for_heun():
    with pytest.raises(ValueError, match=r"n_steps must be at least 2 for solver 'heun'.*; got 1"):
        flow_steps(FlowMatching(Wavy()), SHAPE, 1, solver="heun")


@pytest.mark.parametrize(
    ("t", "problem"),
    [
        (torch.tensor([1, 0, 1]), r"t must be a tensor of floating-point values of shape \(3,\)"),
        (torch.zeros(2), r"t must be a tensor of floating-point values of shape \(3,\)"),
        (0.5, r"t must be a tensor of floating-point values of shape \(3,\).*got 0.5"),
        (torch.tensor([0.1, 0.2, 500.0]), r"t must lie in \[0, 1\].*got 0.1\d* .. 500.0"),
        (torch.tensor([0.1, -0.2, math.nan]), r"t must lie in \[0, 1\]"),
    ],
)
def test_times_that_are_none_are_refused(t, problem):
    with pytest.raises(ValueError, match=problem):
        FlowMatching(Wavy()).loss(torch.randn(SHAPE), t=t)


def test_shapes_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=r"eps must have the shape of the batch, \(3, 2, 4, 4\)"):
        FlowMatching(Wavy()).loss(torch.randn(SHAPE), noise=torch.randn(3, 2, 4, 5))
    with pytest.raises(ValueError, match=r"the velocity must have the shape of the batch, \(3, 2, 4, 4\)"):
        FlowMatching(Doubled()).velocity(torch.randn(SHAPE), torch.rand(3))
    with pytest.raises(ValueError, match=r"start must have the shape asked for"):
        flow_steps(FlowMatching(Wavy()), SHAPE, start=torch.randn(3, 2))


class Doubled(nn.Module):
    """Returns too much."""

    def forward(self, xt, t):
        return torch.cat((xt, xt))

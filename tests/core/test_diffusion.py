"""Forward process, posterior, reverse step and loss, against diffusers, Bayes, sympy and Monte Carlo."""

import copy

import numpy as np
import pytest
import sympy
import torch
from torch import nn

from ddpm_lesson.diffusion import DenoiseDiffusion, gather
from ddpm_lesson.schedule import NoiseSchedule

T = 1000
TIMES = [0, 1, 2, 10, 100, 500, T - 2, T - 1]
SHAPES = [(5, 3, 8, 8), (5, 1, 4, 6), (5, 2), (5,)]

BETA = np.linspace(1e-4, 0.02, T)
ALPHA = 1 - BETA
ALPHA_BAR = ALPHA.cumprod()
ALPHA_BAR_PREV = np.concatenate(([1.0], ALPHA_BAR[:-1]))

at_times = pytest.mark.parametrize("t", TIMES)
for_shapes = pytest.mark.parametrize("shape", SHAPES, ids=str)
sigmas = pytest.mark.parametrize(("sigma", "variance_type"), [("beta", "fixed_large"), ("posterior", "fixed_small")])
clipping = pytest.mark.parametrize("clip", [True, False], ids=["clip", "no clip"])


@pytest.fixture
def diffusion(wavy):
    return DenoiseDiffusion(wavy)


def batch_of(t, size=5):
    return torch.full((size,), t)


def assert_close(ours, theirs, tolerance=1e-5):
    torch.testing.assert_close(ours, torch.as_tensor(theirs, dtype=ours.dtype), rtol=tolerance, atol=tolerance)


# Forward


@for_shapes
def test_q_sample_equals_diffusers(diffusion, diffusers, shape):
    x0, eps = torch.randn(2, *shape)
    t = torch.tensor([0, 1, 250, 998, 999])
    assert_close(diffusion.q_sample(x0, t, eps), diffusers.DDPMScheduler().add_noise(x0, eps, t))


@at_times
def test_forward_mean_and_variance_follow_the_closed_form(diffusion, t):
    """Ho et al. 2020, Eq. 4."""
    x0 = torch.randn(5, 3, 4, 4)
    mean, var = diffusion.q_xt_x0(x0, batch_of(t))
    assert_close(mean, ALPHA_BAR[t] ** 0.5 * x0)
    assert_close(var, np.full((5, 1, 1, 1), 1 - ALPHA_BAR[t]))


@at_times
def test_forward_variance_keeps_its_digits(diffusion, t):
    """1 - alpha_bar is 1e-4 at the first step: the difference of two float32 numbers has four digits left."""
    _, var = diffusion.q_xt_x0(torch.zeros(5, 2), batch_of(t))
    assert var.flatten().tolist() == pytest.approx([1 - ALPHA_BAR[t]] * 5, rel=1e-5)


def test_single_steps_arrive_where_the_one_shot_does(diffusion):
    """Monte Carlo: x_t drawn step by step from q(x_t | x_{t-1}) has the moments of q(x_t | x_0)."""
    n, t, x0 = 40_000, 100, 0.8
    x = torch.full((n,), x0)
    for beta in BETA[: t + 1].tolist():
        x = (1 - beta) ** 0.5 * x + beta**0.5 * torch.randn(n)
    mean, var = diffusion.q_xt_x0(torch.tensor([x0]), torch.tensor([t]))
    assert x.mean().item() == pytest.approx(mean.item(), abs=4 * (var.item() / n) ** 0.5)
    assert x.var().item() == pytest.approx(var.item(), rel=4 * (2 / n) ** 0.5)


def test_q_sample_draws_standard_noise_unless_given(diffusion):
    x0 = torch.full((4, 50_000), 0.5)
    t = torch.tensor([0, 200, 600, 999])
    eps = diffusion.predict_eps(diffusion.q_sample(x0, t), t, x0)
    assert_close(eps.mean(1), torch.zeros(4), tolerance=0.02)
    assert_close(eps.var(1), torch.ones(4), tolerance=0.03)


def test_each_element_follows_its_own_time(diffusion):
    x0, eps = torch.randn(2, 3, 1, 4, 4)
    t = torch.tensor([999, 0, 400])
    together = diffusion.q_sample(x0, t, eps)
    alone = [diffusion.q_sample(x0[i : i + 1], t[i : i + 1], eps[i : i + 1]) for i in range(3)]
    assert_close(together, torch.cat(alone), tolerance=1e-7)


# Posterior


def gaussian(x, mean, var):
    return np.exp(-0.5 * (x - mean) ** 2 / var)


def bayes_on_a_grid(x0, xt, t):
    """Mean and variance of q(x_{t-1} | x_t, x_0), proportional to q(x_t | x_{t-1}) q(x_{t-1} | x_0), by quadrature."""
    prior_mean, prior_var = ALPHA_BAR_PREV[t] ** 0.5 * x0, 1 - ALPHA_BAR_PREV[t]
    x_prev = prior_mean + prior_var**0.5 * np.linspace(-12, 12, 200_001)
    weight = gaussian(x_prev, prior_mean, prior_var) * gaussian(xt, ALPHA[t] ** 0.5 * x_prev, BETA[t])
    weight /= weight.sum()
    mean = (weight * x_prev).sum()
    return mean, (weight * (x_prev - mean) ** 2).sum()


@pytest.mark.parametrize("t", TIMES[1:])
@pytest.mark.parametrize("x0", [-0.9, 0.3])
def test_posterior_is_what_bayes_says(diffusion, x0, t):
    xt = ALPHA_BAR[t] ** 0.5 * x0 + 0.7 * (1 - ALPHA_BAR[t]) ** 0.5
    mean, var = diffusion.q_posterior(torch.tensor([x0]), torch.tensor([xt]).float(), torch.tensor([t]))
    expected_mean, expected_var = bayes_on_a_grid(x0, xt, t)
    assert mean.item() == pytest.approx(expected_mean, abs=1e-6)
    assert var.item() == pytest.approx(expected_var, rel=1e-5)


@pytest.fixture(scope="module")
def completed_square():
    """sympy: the exponent of q(x_t | x_{t-1}) q(x_{t-1} | x_0) is a x^2 + b x + c: its mean and variance."""
    x, x0, xt, beta, alpha_bar_prev = sympy.symbols("x x0 xt beta alpha_bar_prev")
    step = -((xt - sympy.sqrt(1 - beta) * x) ** 2) / (2 * beta)
    prior = -((x - sympy.sqrt(alpha_bar_prev) * x0) ** 2) / (2 * (1 - alpha_bar_prev))
    a, b, _ = sympy.Poly(step + prior, x).all_coeffs()
    return sympy.lambdify((x0, xt, beta, alpha_bar_prev), (-b / (2 * a), -1 / (2 * a)))


@pytest.mark.parametrize("t", TIMES[1:])
def test_posterior_is_the_completed_square(diffusion, completed_square, t):
    x0, xt = torch.randn(2, 5, 3)
    mean, var = diffusion.q_posterior(x0, xt, batch_of(t))
    expected_mean, expected_var = completed_square(x0.double(), xt.double(), BETA[t], ALPHA_BAR_PREV[t])
    assert_close(mean, expected_mean, tolerance=1e-6)
    assert var.flatten().tolist() == pytest.approx([expected_var] * 5, rel=1e-5)


def test_posterior_of_the_first_step_is_x0_itself(diffusion):
    x0, xt = torch.randn(2, 5, 3, 4, 4)
    mean, var = diffusion.q_posterior(x0, xt, batch_of(0))
    assert_close(mean, x0, tolerance=1e-6)
    assert not var.any()


def test_posterior_variance_is_that_of_the_schedule(diffusion):
    _, var = diffusion.q_posterior(torch.zeros(T, 1), torch.zeros(T, 1), torch.arange(T))
    torch.testing.assert_close(var.flatten(), NoiseSchedule.linear(T).beta_tilde, rtol=1e-5, atol=0)


# The same x_t, told by its x_0 or by its noise


@for_shapes
@at_times
def test_predict_eps_inverts_q_sample(diffusion, shape, t):
    x0, eps = torch.randn(2, *shape)
    xt = diffusion.q_sample(x0, batch_of(t), eps)
    assert_close(diffusion.predict_eps(xt, batch_of(t), x0), eps, tolerance=2e-4)


@for_shapes
@at_times
def test_predict_x0_and_predict_eps_invert_each_other(diffusion, shape, t):
    xt, eps = torch.randn(2, *shape)
    x0 = diffusion.predict_x0(xt, batch_of(t), eps)
    assert_close(diffusion.predict_eps(xt, batch_of(t), x0), eps, tolerance=2e-4)


@at_times
def test_predict_x0_equals_diffusers(diffusion, diffusers, exact, t):
    xt, eps = torch.randn(2, 5, 3, 4, 4)
    step = exact(diffusers.DDPMScheduler(clip_sample=False)).step(eps, t, xt)
    assert_close(diffusion.predict_x0(xt, batch_of(t), eps), step.pred_original_sample)


@clipping
def test_estimate_is_clipped_to_the_range_of_the_data_if_asked(wavy, clip):
    diffusion = DenoiseDiffusion(wavy, clip_x0=clip)
    xt, t = 3 * torch.randn(5, 3, 4, 4), batch_of(700)
    unclipped = (xt - (1 - ALPHA_BAR[700]) ** 0.5 * wavy(xt, t)) / ALPHA_BAR[700] ** 0.5
    assert unclipped.abs().max() > 1
    assert_close(diffusion.denoise(xt, t), unclipped.clamp(-1, 1) if clip else unclipped)


# Back


@at_times
@sigmas
@clipping
def test_reverse_step_equals_diffusers(wavy, diffusers, exact, rng, t, sigma, variance_type, clip):
    diffusion = DenoiseDiffusion(wavy, sigma=sigma, clip_x0=clip)
    scheduler = exact(diffusers.DDPMScheduler(variance_type=variance_type, clip_sample=clip))
    xt = 2 * torch.randn(5, 3, 8, 8)
    ours = diffusion.p_sample(xt, batch_of(t), generator=rng(7))
    theirs = scheduler.step(wavy(xt, batch_of(t)), t, xt, generator=rng(7)).prev_sample
    assert_close(ours, theirs)


@pytest.mark.parametrize("kind", ["cosine", "quadratic", "sigmoid"])
def test_reverse_step_equals_diffusers_on_every_schedule(wavy, diffusers, exact, rng, kind):
    names = {"cosine": "squaredcos_cap_v2", "quadratic": "scaled_linear", "sigmoid": "sigmoid"}
    diffusion = DenoiseDiffusion(wavy, 50, schedule=kind)
    scheduler = exact(diffusers.DDPMScheduler(50, beta_schedule=names[kind], variance_type="fixed_large"))
    xt = torch.randn(5, 3, 8, 8)
    ours = diffusion.p_sample(xt, batch_of(20), generator=rng(7))
    assert_close(ours, scheduler.step(wavy(xt, batch_of(20)), 20, xt, generator=rng(7)).prev_sample)


@at_times
@sigmas
def test_mean_of_the_reverse_step_has_the_epsilon_form(wavy, rng, t, sigma, variance_type):
    """Ho et al. 2020, Eq. 11: 1 / sqrt(alpha) (x_t - beta / sqrt(1 - alpha_bar) eps), with alpha and not alpha_bar."""
    diffusion = DenoiseDiffusion(wavy, sigma=sigma, clip_x0=False)
    xt = torch.randn(5, 3, 8, 8)
    eps = wavy(xt, batch_of(t))
    mean = (xt - BETA[t] / (1 - ALPHA_BAR[t]) ** 0.5 * eps) / ALPHA[t] ** 0.5
    sigma2 = BETA[t] * ((1 - ALPHA_BAR_PREV[t]) / (1 - ALPHA_BAR[t]) if sigma == "posterior" else 1)
    noise = torch.randn(xt.shape, generator=rng(7)) if t > 0 else 0
    assert_close(diffusion.p_sample(xt, batch_of(t), generator=rng(7)), mean + sigma2**0.5 * noise)


@sigmas
def test_last_step_adds_no_noise(wavy, rng, sigma, variance_type):
    diffusion = DenoiseDiffusion(wavy, sigma=sigma)
    xt = torch.randn(5, 3, 8, 8)
    one, other = (diffusion.p_sample(xt, batch_of(0), generator=rng(seed)) for seed in (1, 2))
    assert one.equal(other)
    assert_close(one, diffusion.denoise(xt, batch_of(0)), tolerance=1e-6)


def test_noise_stops_only_for_the_elements_at_the_last_step(diffusion, rng):
    xt, t = torch.randn(2, 3, 8, 8), torch.tensor([0, 1])
    one, other = (diffusion.p_sample(xt, t, generator=rng(seed)) for seed in (1, 2))
    assert one[0].equal(other[0])
    assert not one[1].equal(other[1])


def test_reverse_step_accepts_an_estimate_that_is_already_there(diffusion, zero, rng):
    xt, t = torch.randn(5, 3, 8, 8), batch_of(300)
    x0_hat = diffusion.denoise(xt, t)
    expected = diffusion.p_sample(xt, t, generator=rng())
    diffusion.eps_model = zero  # not asked again
    assert diffusion.p_sample(xt, t, x0_hat=x0_hat, generator=rng()).equal(expected)


def test_reverse_step_needs_no_generator(diffusion):
    xt, t = torch.randn(5, 2), batch_of(300)
    torch.manual_seed(5)
    one = diffusion.p_sample(xt, t)
    torch.manual_seed(5)
    assert diffusion.p_sample(xt, t).equal(one)


# Loss


class Recorder(nn.Module):
    """Answers no noise and remembers what it was asked."""

    def forward(self, xt, t):
        self.xt, self.t = xt, t
        return torch.zeros_like(xt)


@for_shapes
def test_loss_is_a_scalar(diffusion, shape):
    assert diffusion.loss(torch.randn(shape)).shape == ()


def test_predicting_no_noise_costs_one(zero):
    loss = DenoiseDiffusion(zero).loss(torch.rand(64, 3, 16, 16))
    assert loss.item() == pytest.approx(1, abs=4 * (2 / (64 * 3 * 16 * 16)) ** 0.5)


def test_loss_is_the_mean_square_of_the_noise_given(zero):
    noise = torch.tensor([[1.0, -2.0], [3.0, 0.0]])
    assert DenoiseDiffusion(zero).loss(torch.rand(2, 2), noise=noise).item() == pytest.approx(14 / 4)


def test_predicting_the_noise_costs_nothing():
    noise = torch.randn(5, 3, 4, 4)

    class Oracle(nn.Module):
        def forward(self, xt, t):
            return noise

    assert DenoiseDiffusion(Oracle()).loss(torch.rand(5, 3, 4, 4), noise=noise) == 0


def test_network_sees_the_data_with_the_noise_given():
    diffusion = DenoiseDiffusion(Recorder())
    x0, noise = torch.randn(2, 5, 3, 4, 4)
    diffusion.loss(x0, noise)
    alpha_bar = torch.from_numpy(ALPHA_BAR).float()[diffusion.eps_model.t].view(-1, 1, 1, 1)
    assert_close(diffusion.eps_model.xt, alpha_bar.sqrt() * x0 + (1 - alpha_bar).sqrt() * noise)


def test_loss_draws_every_time_equally_often():
    diffusion = DenoiseDiffusion(Recorder(), n_steps=5)
    diffusion.loss(torch.randn(50_000, 1))
    counts = diffusion.eps_model.t.bincount(minlength=5)
    assert len(counts) == 5
    assert ((counts - 10_000).abs() < 400).all()  # four standard deviations


def test_loss_reaches_every_weight():
    class Scale(nn.Linear):
        def forward(self, xt, t):
            return super().forward(xt)

    diffusion = DenoiseDiffusion(Scale(4, 4))
    diffusion.loss(torch.randn(8, 4)).backward()
    assert all(p.grad is not None and p.grad.any() for p in diffusion.parameters())


# The module


@pytest.mark.parametrize("ndim", [1, 2, 4, 5])
def test_gather_broadcasts_over_the_batch(ndim):
    picked = gather(torch.tensor([0.1, 0.2, 0.3]), torch.tensor([2, 0]), ndim)
    assert picked.shape == (2, *[1] * (ndim - 1))
    assert picked.flatten().tolist() == pytest.approx([0.3, 0.1])


@pytest.mark.parametrize("dtype", [torch.int64, torch.int32, torch.int16, torch.uint8])
def test_gather_takes_any_whole_numbers(dtype):
    assert gather(torch.arange(5.0), torch.tensor([4, 1], dtype=dtype), 1).tolist() == [4, 1]


def test_gather_serves_images_unless_told_otherwise():
    assert gather(torch.arange(5.0), torch.tensor([1, 2, 3])).shape == (3, 1, 1, 1)


def test_state_dict_holds_the_network_and_nothing_else():
    """So weights load into a model of another schedule, and averaging weights leaves the schedule alone."""
    network = nn.Linear(2, 2)
    assert set(DenoiseDiffusion(network).state_dict()) == {"eps_model.weight", "eps_model.bias"}


def test_schedule_has_no_parameters(diffusion):
    assert not list(diffusion.parameters())


def test_schedule_moves_with_the_model(diffusion):
    assert diffusion.device.type == "cpu"
    moved = copy.deepcopy(diffusion).to("meta")
    assert {buffer.device.type for buffer in moved.buffers()} == {moved.device.type} == {"meta"}
    assert diffusion.device.type == "cpu"


@pytest.mark.parametrize("device", ["cpu", torch.device("cpu"), "auto"])
def test_device_puts_network_and_schedule_in_one_place(device):
    diffusion = DenoiseDiffusion(nn.Linear(2, 2), device=device)
    assert {x.device for x in (*diffusion.parameters(), *diffusion.buffers())} == {diffusion.device}


def test_network_stays_where_it_is_unless_told_otherwise():
    diffusion = DenoiseDiffusion(nn.Linear(2, 2, dtype=torch.float64))
    assert diffusion.eps_model.weight.dtype == torch.float64


def test_model_in_half_precision_stays_finite(zero):
    """float16 rounds alpha and alpha_bar of the first steps to 1; the schedule must not become 0 / 0."""
    diffusion = DenoiseDiffusion(zero).to(torch.float16)
    x, t = torch.ones(5, 2, dtype=torch.float16), torch.tensor([0, 1, 2, 500, 999])
    assert diffusion.q_posterior(x, x, t)[0].isfinite().all()
    assert diffusion.predict_eps(x, t, 0.9 * x).isfinite().all()
    assert diffusion.p_sample(x, t).isfinite().all()


def test_defaults_are_those_of_the_paper(zero):
    diffusion = DenoiseDiffusion(zero)
    assert diffusion.n_steps == 1000
    assert_close(diffusion.beta, BETA)
    assert_close(diffusion.sigma2, BETA)


def test_number_of_steps_comes_from_the_schedule(zero):
    schedule = NoiseSchedule.from_betas([0.1, 0.2])
    assert DenoiseDiffusion(zero, schedule=schedule).n_steps == 2
    assert DenoiseDiffusion(zero, 2, schedule=schedule).n_steps == 2


def test_two_models_of_one_schedule_share_no_memory(zero):
    schedule = NoiseSchedule.linear(5)
    one, other = (DenoiseDiffusion(zero, schedule=schedule) for _ in range(2))
    one.beta.zero_()
    assert other.beta.all()
    assert schedule.beta.all()


# Bad input

BAD_TIMES = [
    (torch.tensor([0.0, 1.0]), r"t must be a tensor of whole numbers.*float32 of shape \(2,\)"),
    (torch.tensor([True, False]), r"t must be a tensor of whole numbers.*bool of shape \(2,\)"),
    (torch.tensor([[0, 1]]), r"t must be a tensor of whole numbers.*int64 of shape \(1, 2\)"),
    (torch.tensor(3), r"t must be a tensor of whole numbers.*int64 of shape \(\)"),
    (3, r"t must be a tensor of whole numbers.*got 3"),
    ([0, 1], r"t must be a tensor of whole numbers.*got \[0, 1\]"),
    (torch.tensor([0, 1, 2]), r"t must hold one time for each of the 2 elements.*got 3"),
    (torch.tensor([0]), r"t must hold one time for each of the 2 elements.*got 1"),
    (torch.tensor([0, -1]), r"t must lie in 0 \.\. 999; got -1 \.\. 0"),
    (torch.tensor([T, 5]), r"t must lie in 0 \.\. 999; got 5 \.\. 1000"),
]

METHODS = {
    "q_xt_x0": lambda d, x, t: d.q_xt_x0(x, t),
    "q_sample": lambda d, x, t: d.q_sample(x, t),
    "q_posterior": lambda d, x, t: d.q_posterior(x, x, t),
    "predict_x0": lambda d, x, t: d.predict_x0(x, t, x),
    "predict_eps": lambda d, x, t: d.predict_eps(x, t, x),
    "denoise": lambda d, x, t: d.denoise(x, t),
    "p_sample": lambda d, x, t: d.p_sample(x, t),
}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("t", "message"), BAD_TIMES, ids=lambda value: str(value)[:30])
def test_wrong_times_are_refused(zero, method, t, message):
    with pytest.raises(ValueError, match=message):
        METHODS[method](DenoiseDiffusion(zero), torch.zeros(2, 3, 4, 4), t)


@pytest.mark.parametrize("method", [*METHODS, "loss"])
@pytest.mark.parametrize(
    "x",
    [
        torch.zeros(0, 3, 4, 4),
        torch.zeros(()),
        torch.zeros(2, 3, 4, 4, dtype=torch.uint8),
        torch.zeros(2, 3, 4, 4, dtype=torch.cfloat),
        np.zeros((2, 3, 4, 4)),
        None,
    ],
    ids=["empty", "scalar", "bytes", "complex", "numpy", "None"],
)
def test_what_is_no_batch_of_images_is_refused(zero, method, x):
    with pytest.raises(ValueError, match=r"a batch must be a tensor \(B, \.\.\.\) of floating-point values"):
        (METHODS | {"loss": lambda d, x, t: d.loss(x)})[method](DenoiseDiffusion(zero), x, torch.tensor([0, 1]))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("of_x", "of_t"), [("meta", "cpu"), ("cpu", "meta"), ("meta", "meta")])
def test_what_is_elsewhere_is_refused_and_not_fetched(zero, method, of_x, of_t):
    model = DenoiseDiffusion(zero).trusting()  # nobody can look at values on meta
    x, t = torch.zeros(2, 3, 4, 4, device=of_x), torch.zeros(2, dtype=torch.long, device=of_t)
    with pytest.raises(ValueError, match=f"must be on cpu, like the model; got {of_x} and {of_t}"):
        METHODS[method](model, x, t)


@pytest.mark.parametrize("shape", [(4, 1, 8, 8), (1, 3, 8, 8), (3, 8, 8), ()])
def test_a_network_that_returns_another_shape_is_named(shape):
    class Narrow(nn.Module):
        def forward(self, xt, t):
            return torch.zeros(shape)

    with pytest.raises(ValueError, match=r"eps_theta must have the shape of the batch, \(4, 3, 8, 8\)"):
        DenoiseDiffusion(Narrow()).loss(torch.zeros(4, 3, 8, 8))


@pytest.mark.parametrize("dtype", [torch.int8, torch.uint8, torch.int16, torch.int32, torch.int64])
def test_times_may_have_any_number_of_bits(diffusion, dtype):
    x0, t = torch.randn(2, 3, 4, 4), torch.tensor([0, 100])
    assert torch.equal(diffusion.q_xt_x0(x0, t.to(dtype))[0], diffusion.q_xt_x0(x0, t)[0])


@pytest.mark.parametrize(
    ("name", "call"),
    [
        ("eps", lambda d, x, wrong, t: d.q_sample(x, t, wrong)),
        ("eps", lambda d, x, wrong, t: d.predict_x0(x, t, wrong)),
        ("eps", lambda d, x, wrong, t: d.loss(x, wrong)),
        ("x0", lambda d, x, wrong, t: d.q_posterior(wrong, x, t)),
        ("x0", lambda d, x, wrong, t: d.predict_eps(x, t, wrong)),
        ("x0", lambda d, x, wrong, t: d.p_sample(x, t, x0_hat=wrong)),
    ],
    ids=["q_sample", "predict_x0", "loss", "q_posterior", "predict_eps", "p_sample"],
)
@pytest.mark.parametrize("shape", [(2, 3, 4, 5), (1, 3, 4, 4), (2, 1, 4, 4), (2, 3, 4), ()], ids=str)
def test_wrong_shapes_are_refused(diffusion, name, call, shape):
    """Also the shapes that broadcasting would swallow without a word."""
    with pytest.raises(ValueError, match=rf"{name} must have the shape of the batch, \(2, 3, 4, 4\); got \("):
        call(diffusion, torch.zeros(2, 3, 4, 4), torch.zeros(shape), torch.tensor([1, 2]))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sigma": "learned"}, "sigma must be 'beta' or 'posterior'; got 'learned'"),
        ({"sigma": None}, "sigma must be .*got None"),
        ({"clip_x0": "yes"}, "clip_x0 must be True, False or a number of at least 0; got 'yes'"),
        ({"schedule": "cubic"}, "schedule must be one of linear.*got 'cubic'"),
        ({"schedule": None}, "schedule must be one of linear.*got None"),
        ({"schedule": "from_betas"}, "schedule must be one of linear.*got 'from_betas'"),
        ({"n_steps": 0}, "n_steps must be.*got 0"),
        ({"n_steps": 2.5}, "n_steps must be.*got 2.5"),
        ({"n_steps": 10, "schedule": NoiseSchedule.linear(20)}, "n_steps must be 20 like the schedule.*got 10"),
        ({"device": "tpu"}, "device must be one of .*got 'tpu'"),
    ],
    ids=str,
)
def test_wrong_settings_are_refused(zero, options, message):
    with pytest.raises(ValueError, match=message):
        DenoiseDiffusion(zero, **options)


def test_gpu_that_is_not_there_is_refused(zero, monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    with pytest.raises(ValueError, match="device 'cuda' is not there: PyTorch finds no CUDA GPU"):
        DenoiseDiffusion(zero, device="cuda")

"""The samplers against diffusers, step by step, and against data whose exact noise predictor is known."""

import itertools
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import nn

from ddpm_lesson.diffusion import DenoiseDiffusion
from ddpm_lesson.sample import ddim_steps, ddpm_steps, eval_mode, sample, spaced_times
from ddpm_lesson.schedule import NoiseSchedule

T = 50
SHAPE = (3, 2, 4, 4)
OPTIONS = {"beta_start": 1e-3, "beta_end": 0.2}  # as much noise in 50 steps as the paper adds in 1000

SAMPLERS = {
    "ddpm": ddpm_steps,
    "ddim": lambda diffusion, shape, generator=None: ddim_steps(diffusion, shape, 10, generator=generator),
    "ddim, eta 1": lambda diffusion, shape, generator=None: ddim_steps(diffusion, shape, 10, 1.0, generator),
}
samplers = pytest.mark.parametrize("steps", SAMPLERS.values(), ids=SAMPLERS)
clipping = pytest.mark.parametrize("clip", [True, False], ids=["clip", "no clip"])


def make(network, n_steps=T, **options):
    return DenoiseDiffusion(network, schedule=NoiseSchedule.linear(n_steps, **OPTIONS), **options)


@pytest.fixture
def diffusion(wavy):
    return make(wavy)


def assert_close(ours, theirs, tolerance=1e-5):
    torch.testing.assert_close(ours, theirs, rtol=tolerance, atol=tolerance)


# What a sampler yields


def test_ddpm_visits_every_time_from_the_last_to_the_first(diffusion):
    assert [t for t, _, _ in ddpm_steps(diffusion, SHAPE)] == list(range(T - 1, -1, -1))


def test_ddim_visits_as_many_times_as_asked_starting_with_the_last(diffusion):
    assert [step.t for step in ddim_steps(diffusion, SHAPE, 5)] == [49, 39, 29, 19, 9]


@samplers
def test_every_step_has_the_shape_asked_for(diffusion, steps):
    assert all(step.xt.shape == step.x0_hat.shape == SHAPE for step in steps(diffusion, SHAPE))


@samplers
def test_sampling_starts_from_pure_noise(diffusion, rng, steps):
    first = next(steps(diffusion, SHAPE, generator=rng(1)))
    assert first.t == T - 1
    assert first.xt.equal(torch.randn(SHAPE, generator=rng(1)))


@samplers
def test_every_estimate_is_what_the_network_says(diffusion, steps):
    for t, xt, x0_hat in steps(diffusion, SHAPE):
        assert x0_hat.equal(diffusion.denoise(xt, torch.full((3,), t)))


def test_last_estimate_of_ddpm_is_the_sample(diffusion):
    *_, last = ddpm_steps(diffusion, SHAPE)
    assert_close(last.x0_hat, diffusion.p_sample(last.xt, torch.zeros(3, dtype=torch.int64)), tolerance=1e-6)


@samplers
def test_same_generator_gives_the_same_samples(diffusion, rng, steps):
    for one, other in zip(steps(diffusion, SHAPE, rng(1)), steps(diffusion, SHAPE, rng(1)), strict=True):
        assert one.xt.equal(other.xt)
        assert one.x0_hat.equal(other.x0_hat)


@samplers
def test_another_generator_gives_other_samples(diffusion, rng, steps):
    *_, one = steps(diffusion, SHAPE, rng(1))
    *_, other = steps(diffusion, SHAPE, rng(2))
    assert not one.x0_hat.equal(other.x0_hat)


@samplers
def test_a_generator_leaves_the_global_one_alone(diffusion, rng, steps):
    before = torch.get_rng_state()
    list(steps(diffusion, SHAPE, rng()))
    assert torch.get_rng_state().equal(before)


@samplers
def test_without_a_generator_the_global_one_decides(diffusion, steps):
    torch.manual_seed(3)
    *_, one = steps(diffusion, SHAPE)
    torch.manual_seed(3)
    *_, other = steps(diffusion, SHAPE)
    assert one.x0_hat.equal(other.x0_hat)


@samplers
def test_states_already_yielded_stay_as_they_were(diffusion, steps):
    kept, copies = [], []
    for step in steps(diffusion, SHAPE):
        kept.append(step.xt)
        copies.append(step.xt.clone())
    assert all(one.equal(other) for one, other in zip(kept, copies, strict=True))


@samplers
def test_points_can_be_sampled_as_well_as_images(diffusion, steps):
    *_, last = steps(diffusion, (7, 2))
    assert last.x0_hat.shape == (7, 2)


def test_ddim_without_noise_is_a_function_of_its_start(diffusion, rng):
    *_, one = ddim_steps(diffusion, SHAPE, 7, generator=rng(1))
    generator = rng(1)
    steps = ddim_steps(diffusion, SHAPE, 7, generator=generator)
    next(steps)
    generator.manual_seed(99)  # what is drawn after the start must not count
    *_, other = steps
    assert one.x0_hat.equal(other.x0_hat)


# Against diffusers


@clipping
@pytest.mark.parametrize(("sigma", "variance_type"), [("beta", "fixed_large"), ("posterior", "fixed_small")])
def test_ddpm_trajectory_equals_diffusers(wavy, diffusers, exact, rng, sigma, variance_type, clip):
    scheduler = exact(diffusers.DDPMScheduler(T, **OPTIONS, variance_type=variance_type, clip_sample=clip))
    ours, noise = ddpm_steps(make(wavy, sigma=sigma, clip_x0=clip), SHAPE, rng(1)), rng(1)
    xt = torch.randn(SHAPE, generator=noise)
    for t in range(T - 1, -1, -1):
        step = next(ours)
        assert step.t == t
        assert_close(step.xt, xt, tolerance=1e-4)  # fifty steps add up their rounding
        xt = scheduler.step(wavy(xt, torch.full((3,), t)), t, xt, generator=noise).prev_sample
    assert_close(step.x0_hat, xt, tolerance=1e-4)


def step_by(scheduler, gap):
    """DDIMScheduler always steps by T // n, right where n divides T; this n makes it step by ``gap`` instead."""
    scheduler.num_inference_steps = T // gap
    assert T // scheduler.num_inference_steps == gap


@clipping
@pytest.mark.parametrize("eta", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("n_steps", [1, 2, 10, 16, T])  # 16 does not divide T
def test_ddim_trajectory_equals_diffusers(wavy, diffusers, exact, rng, n_steps, eta, clip):
    scheduler = exact(diffusers.DDIMScheduler(T, **OPTIONS, timestep_spacing="trailing", clip_sample=clip))
    scheduler.set_timesteps(n_steps)
    times = scheduler.timesteps.tolist()
    ours, noise = ddim_steps(make(wavy, clip_x0=clip), SHAPE, n_steps, eta, rng(1)), rng(1)
    xt = torch.randn(SHAPE, generator=noise)
    for t, t_next in itertools.pairwise([*times, -1]):
        step = next(ours)
        assert step.t == t
        assert_close(step.xt, xt, tolerance=1e-4)
        step_by(scheduler, t - t_next)
        options = {"eta": eta, "use_clipped_model_output": True, "generator": noise}
        xt = scheduler.step(wavy(xt, torch.full((3,), t)), t, xt, **options).prev_sample
    assert_close(step.x0_hat, xt, tolerance=1e-4)
    assert next(ours, None) is None


@pytest.mark.parametrize("n_steps", [1, 2, 3, 7, 10, 16, 50, 300, 999, 1000])
def test_spaced_times_equal_diffusers(diffusers, n_steps):
    scheduler = diffusers.DDIMScheduler(1000, timestep_spacing="trailing")
    scheduler.set_timesteps(n_steps)
    assert spaced_times(1000, n_steps) == scheduler.timesteps.tolist()


@pytest.mark.parametrize("n_times", [1, 2, 10, 37])
def test_spaced_times_fall_from_the_last_without_repeating(n_times):
    for n_steps in range(1, n_times + 1):
        times = spaced_times(n_times, n_steps)
        assert times[0] == n_times - 1
        assert times[-1] >= 0
        assert len(times) == n_steps
        assert all(later < earlier for earlier, later in itertools.pairwise(times))


def test_ddim_with_all_steps_and_full_noise_is_ddpm(wavy, rng):
    """Song et al. 2021, section 4.1: eta = 1 gives back the posterior variance of the original process."""
    diffusion = make(wavy, sigma="posterior")
    ddpm = ddpm_steps(diffusion, SHAPE, rng(1))
    ddim = ddim_steps(diffusion, SHAPE, T, 1.0, rng(1))
    for one, other in zip(ddpm, ddim, strict=True):
        assert one.t == other.t
        assert_close(one.xt, other.xt, tolerance=1e-4)


# Data whose exact noise predictor is known

MEAN, STD = 0.4, 0.5


class GaussianEps(nn.Module):
    """E[eps | x_t] when x_0 is normal with mean MEAN and standard deviation STD."""

    def __init__(self, n_steps):
        super().__init__()
        beta = torch.linspace(1e-4, 0.02, n_steps, dtype=torch.float64)
        self.alpha_bar = (1 - beta).cumprod(0)

    def forward(self, xt, t):
        alpha_bar = self.alpha_bar[t].view(-1, 1)
        var_xt = alpha_bar * STD**2 + 1 - alpha_bar
        return ((1 - alpha_bar).sqrt() * (xt - alpha_bar.sqrt() * MEAN) / var_xt).to(xt.dtype)


@pytest.mark.parametrize("sigma", ["beta", "posterior"])
def test_ddpm_samples_are_distributed_like_the_data(rng, sigma):
    diffusion = DenoiseDiffusion(GaussianEps(1000), sigma=sigma, clip_x0=False)
    assert_distributed_like_the_data(sample(diffusion, (400, 50), generator=rng(1)))


@pytest.mark.parametrize(("n_steps", "eta"), [(200, 0.0), (1000, 0.0), (1000, 1.0)])
def test_ddim_samples_are_distributed_like_the_data(rng, n_steps, eta):
    diffusion = DenoiseDiffusion(GaussianEps(1000), clip_x0=False)
    *_, last = ddim_steps(diffusion, (400, 50), n_steps, eta, rng(1))
    assert_distributed_like_the_data(last.x0_hat)


def assert_distributed_like_the_data(x0):
    """Four standard deviations of the Monte Carlo error, and 1 percent for taking finite steps."""
    n = x0.numel()
    assert x0.mean().item() == pytest.approx(MEAN, abs=4 * STD / n**0.5 + 0.01 * STD)
    assert x0.var().item() == pytest.approx(STD**2, rel=4 * (2 / n) ** 0.5 + 0.01)


@pytest.mark.parametrize("t", [900, 500, 100])
def test_marginals_on_the_way_are_those_of_the_forward_process(rng, t):
    """At time t the reverse process holds what the forward process would: data shrunk and noise added."""
    diffusion = DenoiseDiffusion(GaussianEps(1000), clip_x0=False)
    step = next(step for step in ddpm_steps(diffusion, (400, 50), rng(1)) if step.t == t)
    alpha_bar = diffusion.eps_model.alpha_bar[t].item()
    var = alpha_bar * STD**2 + 1 - alpha_bar
    assert step.xt.mean().item() == pytest.approx(alpha_bar**0.5 * MEAN, abs=4 * (var / 20_000) ** 0.5)
    assert step.xt.var().item() == pytest.approx(var, rel=4 * (2 / 20_000) ** 0.5 + 0.01)


# The network's mode, gradients and memory


class Watched(nn.Module):
    """A network with a weight and dropout that remembers in which mode it was asked."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(2, 2)
        self.dropout = nn.Dropout(0.5)
        self.modes = []

    def forward(self, xt, t):
        self.modes.append((self.training, self.dropout.training, torch.is_grad_enabled()))
        return self.dropout(self.linear(xt))


def modes(model):
    return {name: module.training for name, module in model.named_modules()}


@pytest.fixture
def watched():
    return make(Watched(), n_steps=10)


@samplers
def test_dropout_and_gradients_are_off_while_sampling(watched, steps):
    list(steps(watched, (4, 2)))
    assert set(watched.eps_model.modes) == {(False, False, False)}


@samplers
@pytest.mark.parametrize("training", [True, False])
def test_mode_is_restored_after_the_last_step(watched, steps, training):
    watched.train(training)
    list(steps(watched, (4, 2)))
    assert set(modes(watched).values()) == {training}


@samplers
def test_mode_is_restored_when_the_caller_stops_early(watched, steps):
    for step in steps(watched, (4, 2)):
        if step.t < 9:
            break
    assert all(modes(watched).values())


@samplers
def test_mode_is_restored_when_the_generator_is_closed(watched, steps):
    generator = steps(watched, (4, 2))
    next(generator)
    generator.close()
    assert all(modes(watched).values())


@samplers
def test_mode_is_restored_when_the_network_fails(watched, steps):
    watched.eps_model.linear = nn.Linear(3, 3)
    with pytest.raises(RuntimeError, match="shapes"):
        next(steps(watched, (4, 2)))
    assert all(modes(watched).values())


@samplers
def test_each_part_gets_its_own_mode_back(watched, steps):
    """A network put into eval() by itself stays there, though the model around it was in training mode."""
    watched.eps_model.eval()
    before = modes(watched)
    list(steps(watched, (4, 2)))
    assert modes(watched) == before


def test_eval_mode_leaves_every_part_of_the_model_in_its_own(watched):
    watched.eps_model.dropout.eval()
    before = modes(watched)
    assert not any(modes(eval_mode(watched)).values())
    assert modes(watched) == before


def test_a_twin_in_eval_mode_has_the_very_weights_of_the_model(watched):
    twin = eval_mode(watched)
    for name, tensor in watched.state_dict().items():
        assert twin.state_dict()[name].data_ptr() == tensor.data_ptr()
    with torch.no_grad():
        watched.eps_model.linear.weight.zero_()
    assert not twin.eps_model.linear.weight.any()


def test_hooks_of_the_model_see_what_its_twin_does(watched):
    seen = []
    handle = watched.eps_model.linear.register_forward_hook(lambda module, x, y: seen.append(module.training))
    sample(watched, (4, 2), 3)
    handle.remove()
    assert seen == [False] * 3


def test_threads_that_sample_and_train_one_model_do_not_disturb_each_other(watched):
    """Dropout is on in every pass of the trainer and off in every pass of the samplers, however they interleave."""
    expected = sample(watched, (8, 2), 10, torch.Generator().manual_seed(0))
    stop = threading.Event()

    def train():
        while not stop.is_set():
            watched.train()
            watched.loss(torch.ones(8, 2))

    trainer = threading.Thread(target=train)
    trainer.start()
    with ThreadPoolExecutor(2) as pool:
        drawn = list(pool.map(lambda _: sample(watched, (8, 2), 10, torch.Generator().manual_seed(0)), range(40)))
    stop.set()
    trainer.join()
    assert set(watched.eps_model.modes) == {(False, False, False), (True, True, True)}
    assert all(torch.equal(images, expected) for images in drawn)


def test_two_samplers_side_by_side_both_sample_without_dropout(watched):
    """One of them ends earlier; that must not switch dropout on for the other."""
    short, long = ddim_steps(watched, (4, 2), 3), ddpm_steps(watched, (4, 2))
    list(itertools.zip_longest(short, long))
    assert set(watched.eps_model.modes) == {(False, False, False)}
    assert all(modes(watched).values())


@samplers
def test_training_goes_on_normally_between_two_steps(watched, steps):
    """A generator that waits for its next call must not leave dropout or gradients switched off for the caller."""
    generator = steps(watched, (4, 2))
    next(generator)
    watched.eps_model.modes.clear()
    watched.loss(torch.randn(4, 2)).backward()
    assert watched.eps_model.modes == [(True, True, True)]


@samplers
def test_no_graph_is_kept(watched, steps):
    for step in steps(watched, (4, 2)):
        assert not step.xt.requires_grad
        assert not step.x0_hat.requires_grad


# Samples only


def test_sample_takes_all_steps_unless_told_otherwise(diffusion, rng):
    *_, last = ddpm_steps(diffusion, SHAPE, rng(1))
    assert sample(diffusion, SHAPE, generator=rng(1)).equal(last.x0_hat)


def test_sample_takes_few_steps_when_told(diffusion, rng):
    *_, last = ddim_steps(diffusion, SHAPE, 7, generator=rng(1))
    assert sample(diffusion, SHAPE, 7, rng(1)).equal(last.x0_hat)


def test_samples_stay_in_the_range_of_the_data(diffusion):
    assert sample(diffusion, SHAPE).abs().max() <= 1


# Bad input: refused by the call itself, before the first step is asked for


@pytest.mark.parametrize("n_steps", [0, -1, T + 1, 2.5, True, "10"])
def test_wrong_number_of_steps_is_refused(diffusion, n_steps):
    with pytest.raises(ValueError, match=rf"n_steps must be a whole number in 1 \.\. {T}.*got {n_steps!r}"):
        ddim_steps(diffusion, SHAPE, n_steps)


@pytest.mark.parametrize("eta", [-0.1, 1.5, float("nan")])
def test_wrong_eta_is_refused(diffusion, eta):
    with pytest.raises(ValueError, match=rf"eta must lie in \[0, 1\]; got {eta}"):
        ddim_steps(diffusion, SHAPE, 5, eta)


@pytest.mark.parametrize("n_steps", [0, T + 1])
def test_sample_refuses_a_wrong_number_of_steps(diffusion, n_steps):
    with pytest.raises(ValueError, match=f"n_steps.*got {n_steps}"):
        sample(diffusion, SHAPE, n_steps)

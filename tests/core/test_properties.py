"""What holds for every valid argument, and not just for those that somebody thought of."""

import pytest
import torch
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from ddpm_lesson import DenoiseDiffusion, NoiseSchedule, checkpoint
from ddpm_lesson.exchange import diffusers_unet, unet_from_diffusers
from ddpm_lesson.unet import UNet

# the same examples every time, however slow the machine and however many are refused
EVERY_TIME = {"derandomize": True, "deadline": None, "database": None, "suppress_health_check": list(HealthCheck)}
settings.register_profile("repeatable", max_examples=25, **EVERY_TIME)
settings.load_profile("repeatable")
few = settings(max_examples=8)

fractions = st.floats(1e-6, 0.99)


@st.composite
def schedules(draw, most=60):
    """Any schedule that validation accepts and float32 can hold."""
    kind, n_steps = (
        draw(st.sampled_from(["linear", "quadratic", "sigmoid", "cosine", "betas"])),
        draw(st.integers(1, most)),
    )
    if kind == "cosine":
        schedule = NoiseSchedule.cosine(n_steps, draw(st.floats(0, 0.5)), draw(st.floats(0.1, 0.999)))
    elif kind == "betas":
        schedule = NoiseSchedule.from_betas(draw(st.lists(fractions, min_size=n_steps, max_size=n_steps)))
    else:
        start, end = sorted((draw(fractions), draw(fractions)))
        schedule = getattr(NoiseSchedule, kind)(n_steps, start, end)
    assume(schedule.alpha_bar[-1] > 0)
    return schedule


@st.composite
def unet_settings(draw):
    """Settings of a small U-Net, valid and not."""
    levels = draw(st.integers(1, 3))
    return {
        "image_channels": draw(st.integers(1, 3)),
        "n_channels": draw(st.sampled_from([2, 4, 7, 8, 8, 12])),
        "ch_mults": tuple(draw(st.lists(st.sampled_from([0, 1, 1, 1, 2, 2, 3]), min_size=levels, max_size=levels))),
        "is_attn": tuple(draw(st.lists(st.booleans(), min_size=levels, max_size=levels))),
        "n_blocks": draw(st.sampled_from([0, 1, 1, 2])),
        "n_heads": draw(st.sampled_from([1, 1, 2, 3])),
        "n_groups": draw(st.sampled_from([1, 2, 4])),
        "dropout": draw(st.sampled_from([0.0, 0.3])),
        "downsample": draw(st.sampled_from(["asymmetric", "symmetric"])),
        "upsample": draw(st.sampled_from(["nearest", "transposed"])),
        "narrow": draw(st.sampled_from(["after", "before"])),
    }


def built(arguments):
    """The U-Net of some settings; what validation refuses is no example."""
    try:
        return UNet(**arguments)
    except ValueError:
        assume(False)


@given(schedules())
def test_every_schedule_falls_from_one_towards_nothing(schedule):
    exact = schedule.to(torch.float64)
    assert exact.alpha_bar.min() > 0
    assert exact.alpha_bar.max() < 1
    assert (exact.alpha_bar.diff() < 0).all()
    assert exact.alpha_bar_prev[0] == 1


@given(schedules())
def test_the_posterior_varies_less_than_the_step(schedule):
    exact = schedule.to(torch.float64)
    assert (exact.beta_tilde <= exact.beta).all()
    assert exact.beta_tilde[0] == 0


@given(schedules(), st.data())
def test_known_noise_gives_the_image_back(schedule, data):
    """In float64; what alpha_bar has shrunk comes back with as many digits less."""
    model = DenoiseDiffusion(torch.nn.Identity(), schedule=schedule).double()
    for name in ("alpha_bar", "one_minus_alpha_bar"):
        setattr(model, name, getattr(schedule.to(torch.float64), name))
    t = torch.tensor([data.draw(st.integers(0, schedule.n_steps - 1))])
    x0 = torch.linspace(-1, 1, 12, dtype=torch.float64).view(1, 12)
    eps = torch.randn(1, 12, dtype=torch.float64)
    back = model.predict_x0(model.q_sample(x0, t, eps), t, eps)
    tolerance = 16 * torch.finfo(torch.float64).eps / float(model.alpha_bar[t].sqrt())
    torch.testing.assert_close(back, x0, rtol=0, atol=tolerance)


@given(unet_settings())
def test_every_network_that_is_accepted_runs_forward_and_back_on_its_smallest_image(arguments):
    network = built(arguments)
    side = 2 ** (len(arguments["ch_mults"]) - 1)
    x = torch.randn(2, arguments["image_channels"], side, side)
    out = network(x, torch.tensor([0, 3]))
    assert out.shape == x.shape
    out.square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())


@few
@given(unet_settings(), schedules(), st.booleans())
def test_a_checkpoint_is_the_same_model_again(tmp_path, arguments, schedule, clip):
    diffusion = DenoiseDiffusion(built(arguments), schedule=schedule, clip_x0=clip)
    checkpoint.save(diffusion, tmp_path)
    back = checkpoint.load(tmp_path, "cpu")
    assert back.eps_model.settings == diffusion.eps_model.settings
    assert back.clip_x0 == clip
    assert torch.equal(back.beta, diffusion.beta)
    for name, tensor in diffusion.state_dict().items():
        assert torch.equal(back.state_dict()[name], tensor)


@few
@given(unet_settings())
def test_a_network_that_went_to_diffusers_comes_back_the_same(arguments):
    network = built(arguments)
    try:
        theirs = diffusers_unet(network, 8)
    except ValueError:
        assume(False)
    back = unet_from_diffusers(theirs)
    assert back.settings == network.settings
    for name, tensor in network.state_dict().items():
        assert torch.equal(back.state_dict()[name], tensor)


@given(schedules(most=12), st.integers(-3, 15), st.sampled_from([torch.int8, torch.uint8, torch.int32, torch.int64]))
def test_times_are_either_of_the_chain_or_refused(schedule, t, dtype):
    assume(t >= 0 or dtype.is_signed)
    model = DenoiseDiffusion(torch.nn.Identity(), schedule=schedule)
    times, x0 = torch.tensor([t], dtype=dtype), torch.ones(1, 2)
    if 0 <= t < schedule.n_steps:
        assert model.q_sample(x0, times).isfinite().all()
    else:
        with pytest.raises(ValueError, match=f"t must lie in 0 .. {schedule.n_steps - 1}"):
            model.q_sample(x0, times)

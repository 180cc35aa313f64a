"""Changing the resolution: sizes, windows, checkerboards and skips, held against PyTorch, autograd and diffusers."""

import statistics

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from ddpm_lesson import DenoiseDiffusion, checkpoint
from ddpm_lesson.lesson.ch08_down_up_middle import experiments as r
from ddpm_lesson.lesson.kit.probe import fresh_noise
from ddpm_lesson.lesson.kit.xray import bridges
from ddpm_lesson.unet import Downsample, UNet, Upsample


@pytest.fixture(scope="module")
def unet():
    return checkpoint.load("digits").eps_model


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def randn(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("n", [8, 9, 14, 15])
@pytest.mark.parametrize("padding", ["asymmetric", "symmetric"])
def test_size_is_that_of_the_packages_downsampling(n, padding):
    module = Downsample(1, padding)
    before, after = module.pad[:2]
    assert module(torch.zeros(1, 1, n, n)).shape[-1] == r.conv_size(n, 3, 2, before, after)


def test_size_of_transposed_convolution_is_that_of_the_packages_upsampling():
    assert Upsample(1, "transposed")(torch.zeros(1, 1, 7, 7)).shape[-1] == r.transposed_size(7, 4, 2, 1) == 14


@pytest.mark.parametrize(("padding", "shift"), [("asymmetric", -0.5), ("symmetric", 0.5)])
def test_round_trip_moves_a_picture_by_half_a_pixel(padding, shift):
    rows, columns = torch.meshgrid(torch.arange(32.0), torch.arange(32.0), indexing="ij")
    blob = torch.exp(-((rows - 14) ** 2 + (columns - 17) ** 2) / 18)
    down, up = Downsample(1, padding), Upsample(1)
    with torch.no_grad():
        for module in (down, up):
            module.conv.weight.fill_(1 / 9)
            module.conv.bias.zero_()
        moved = up(down(blob[None, None]))[0, 0]
    row, column = r.centre_of_mass(moved)
    assert abs(row - 14 - shift) < 1e-3
    assert abs(column - 17 - shift) < 1e-3


def test_windows_of_the_way_down_are_those_that_autograd_sees(unet):
    found = r.stage_influences(r.convolutions_only(unet), randn(1, 1, 64, 64), 100)
    for stage in r.stages(unet)[: r.stages(unet).index("middle") + 1]:
        field = r.receptive_fields(r.layers_down(unet, stage))[-1]
        top, bottom, left, right = r.extent(found[stage])
        assert bottom - top + 1 == right - left + 1 == field.size
        middle = 64 // field.jump // 2
        assert (top + bottom) / 2 == middle * field.jump + field.centre


def test_symmetric_padding_keeps_the_centre_at_zero():
    model = UNet(1, 16, (1, 2, 2), (False,) * 3, 1, n_groups=8, downsample="symmetric")
    assert r.receptive_fields(r.layers_down(model, "middle"))[-1].centre == 0


def test_attention_and_normalisation_see_everything(unet):
    found = r.stage_influences(unet, randn(1, 1, 32, 32), 100)
    assert (found["image_proj"] > 0).sum() == 9
    assert (found["down.0"] > 0).all()


def test_looking_leaves_the_network_as_it_was(unet):
    hooks = [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in unet.modules()]
    unet.train()
    r.stage_influences(unet, randn(1, 1, 16, 16))
    r.convolutions_only(unet)
    assert unet.training
    assert any(isinstance(m, nn.GroupNorm) for m in unet.modules())
    assert [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in unet.modules()] == hooks
    assert not any(p.grad is not None for p in unet.parameters())
    unet.eval()


def test_the_way_up_has_no_recursion(unet):
    with pytest.raises(ValueError, match=r"stage must be on the way down or the middle; got 'up\.0'"):
        r.layers_down(unet, "up.0")


@pytest.mark.parametrize(("kernel", "stride"), [(3, 2), (4, 2), (5, 3), (2, 4)])
def test_constant_image_comes_out_as_the_gains_of_its_phases(kernel, stride):
    weight, side, n = randn(kernel, kernel), 2 * kernel + 24 // stride, range(stride)
    output = r.enlarge(torch.ones(side, side), weight, stride, "transposed")
    assert output.shape == (24, 24)
    gains = torch.tensor([[weight[a::stride, b::stride].sum() for b in n] for a in n])
    torch.testing.assert_close(output, gains.tile(24 // stride, 24 // stride), atol=1e-5, rtol=0)


@pytest.mark.parametrize("kernel", [2, 3, 4, 5])
@pytest.mark.parametrize("stride", [2, 3, 4])
def test_repeating_pixels_keeps_a_constant_image_constant(kernel, stride):
    side = 2 * kernel + 24 // stride
    output = r.enlarge(torch.ones(side, side), randn(kernel, kernel), stride, "nearest + conv")
    assert output.shape == (24, 24)
    assert r.unevenness(output) < 1e-5


def test_unevenness_is_zero_for_flat_and_one_for_pure_pattern():
    assert r.unevenness(torch.full((4, 4), 3.0)) == 0
    assert r.unevenness(torch.tensor([[1.0, -1.0], [-1.0, 1.0]])) == 1


def test_spectrum_of_stripes_is_one_line():
    frequency, amplitude = r.spectrum(torch.tensor([1.0, 0.0]).tile(8, 4))
    assert frequency.tolist() == [0, 0.125, 0.25, 0.375, 0.5]
    torch.testing.assert_close(amplitude, torch.tensor([0.5, 0, 0, 0, 0.5], dtype=torch.float64))


def test_unknown_method_is_refused():
    with pytest.raises(ValueError, match="method must be one of transposed, nearest"):
        r.enlarge(torch.ones(9, 9), torch.ones(2, 2), 2, "bilinear")


def test_nearest_upsampling_is_a_transposed_upsampling_with_tied_weights():
    nearest, transposed = Upsample(5), Upsample(5, "transposed")
    with torch.no_grad():
        transposed.conv.weight.copy_(r.nearest_kernel(nearest.conv.weight))
        transposed.conv.bias.copy_(nearest.conv.bias)
        x = randn(2, 5, 6, 7)
        torch.testing.assert_close(transposed(x), nearest(x))


@pytest.mark.parametrize("padding", ["asymmetric", "symmetric"])
def test_resampling_agrees_with_diffusers(padding):
    resnet = pytest.importorskip("diffusers.models.resnet")
    x = randn(2, 4, 8, 8)
    theirs = resnet.Downsample2D(4, use_conv=True, padding=int(padding == "symmetric"), name="op")
    ours = Downsample(4, padding)
    ours.conv.load_state_dict(theirs.conv.state_dict())
    up, our_up = resnet.Upsample2D(4, use_conv=True), Upsample(4)
    our_up.conv.load_state_dict(up.conv.state_dict())
    with torch.no_grad():
        torch.testing.assert_close(ours(x), theirs(x))
        torch.testing.assert_close(our_up(x), up(x))


@pytest.mark.parametrize("settings", [(24, (1, 2, 4), 1), (16, (2, 1, 3), 2), (32, (1,), 3)])
def test_channels_that_enter_are_those_of_live_blocks(settings):
    n_channels, ch_mults, n_blocks = settings
    model = UNet(1, n_channels, ch_mults, (False,) * len(ch_mults), n_blocks, n_groups=8)
    assert r.up_channels(*settings) == [up.module.res.norm1.num_channels for _, up in bridges(model)]


def test_channels_that_enter_are_those_of_diffusers():
    diffusers = pytest.importorskip("diffusers")
    theirs = diffusers.UNet2DModel(
        sample_size=16,
        block_out_channels=(32, 64, 64),
        down_block_types=("DownBlock2D",) * 3,
        up_block_types=("UpBlock2D",) * 3,
        layers_per_block=2,
    )
    entering = [resnet.norm1.num_channels for block in theirs.up_blocks for resnet in block.resnets]
    assert r.up_channels(32, (1, 2, 2), 2) == entering


def test_upsampling_that_repeats_draws_no_pattern_and_the_other_learns_as_well():
    x0 = randn(64, 1, 8, 8).tanh()
    grey = torch.full((1, 1, 12, 12), 0.3)
    flat = {}
    for method in ("nearest", "transposed"):
        network = r.learn_upsampling(Upsample(4, method), x0, n_steps=20)
        flat[method] = network(grey)[0, 0, 4:20, 4:20].std().item()
    assert flat["nearest"] < 1e-5 < 1e-3 < flat["transposed"]


def test_learning_lowers_the_loss_and_leaves_chance_alone():
    x0 = randn(64, 1, 4, 4).tanh().repeat_interleave(2, 2).repeat_interleave(2, 3)
    layer, losses = Upsample(4), []
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    for n_steps in (0, 60):
        network = r.learn_upsampling(layer, x0, n_steps)
        losses.append(F.mse_loss(network(F.avg_pool2d(x0, 2)), x0).item())
    assert losses[1] < 0.9 * losses[0]
    assert torch.equal(torch.rand(2), expected)


def test_without_skips_the_named_blocks_get_zeros_and_only_meanwhile(unet):
    xt, t = randn(3, 1, 8, 8), torch.tensor([5, 100, 800])
    seen = {}
    hooks = [
        unet.get_submodule(name).res.register_forward_pre_hook(lambda _, args, name=name: seen.update({name: args[0]}))
        for name in r.up_blocks(unet)
    ]
    with torch.no_grad():
        whole = unet(xt, t)
        with r.without_skips(unet, ["up.1"]):
            cut = unet(xt, t)
        gone = {name: bool((x[:, -source.channels[1] :] == 0).all()) for (source, up), (name, x) in
                zip(bridges(unet), seen.items(), strict=True)}  # fmt: skip
        assert torch.equal(unet(xt, t), whole)
    for hook in hooks:
        hook.remove()
    assert gone == {name: name == "up.1" for name in r.up_blocks(unet)}
    assert not torch.equal(cut, whole)


def test_without_what_comes_from_below_the_skip_alone_goes_in(unet):
    xt, t, seen = randn(2, 1, 8, 8), torch.tensor([5, 800]), []
    (source, up), *_ = bridges(unet)
    hook = up.module.res.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    with torch.no_grad():
        whole = unet(xt, t)
        with r.without_skips(unet, [], [up.name]):
            cut = unet(xt, t)
        assert torch.equal(unet(xt, t), whole)
    hook.remove()
    across = source.channels[1]
    assert (seen[1][:, :-across] == 0).all()
    assert torch.equal(seen[1][:, -across:], seen[0][:, -across:])
    assert not torch.equal(cut, whole)


def test_only_the_stages_asked_for_are_looked_at(unet):
    xt = randn(1, 1, 16, 16)
    (found,) = r.stage_influences(unet, xt, 100, ["down.1"]).items()
    assert found[0] == "down.1"
    torch.testing.assert_close(found[1], r.stage_influences(unet, xt, 100)["down.1"])


def test_unknown_up_blocks_are_refused(unet):
    with (
        pytest.raises(ValueError, match=r"names must be among up\.0, .*; got down\.0"),
        r.without_skips(unet, ["down.0"]),
    ):
        pass


def test_guess_without_any_change_is_that_of_the_diffusion(unet):
    diffusion = DenoiseDiffusion(unet, 1000)
    x0, t = randn(4, 1, 8, 8).tanh(), torch.full((4,), 300)
    guess = r.guess_without(diffusion, x0, 300, seed=2, n_noises=3)
    noises = fresh_noise(x0.expand(3, -1, -1, -1, -1), seed=2)
    with torch.no_grad():
        guesses = torch.stack([unet(diffusion.q_sample(x0, t, eps), t) for eps in noises])
    first = diffusion.q_sample(x0, t, noises[0])
    torch.testing.assert_close(guess.xt, first)
    torch.testing.assert_close(guess.x0_hat, diffusion.predict_x0(first, t, guesses[0]).clamp(-1, 1))
    of_each = [float((noises[:, i] - guesses[:, i]).square().mean()) for i in range(4)]
    assert guess.losses.tolist() == pytest.approx(of_each)
    assert guess.loss == pytest.approx(statistics.mean(of_each))
    assert r.with_error(guess.losses) == f"{statistics.mean(of_each):.4f} ± {statistics.stdev(of_each) / 2:.4f}"
    assert r.guess_without(diffusion, x0, 300, r.up_blocks(unet), seed=2).loss > 2 * guess.loss

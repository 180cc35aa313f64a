"""The U-Net against diffusers and labml, and each of its blocks against a few lines of plain tensor arithmetic."""

import json

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from ddpm_lesson.exchange import diffusers_unet, labml_unet
from ddpm_lesson.unet import (
    AttentionBlock,
    DownBlock,
    Downsample,
    MiddleBlock,
    ResidualBlock,
    Swish,
    TimeEmbedding,
    UNet,
    UpBlock,
    Upsample,
)
from ddpm_lesson.unet.blocks import group_norm

PAPER = {"n_channels": 128, "ch_mults": (1, 2, 2, 2), "is_attn": (False, True, False, False)}
LABML = {
    "n_channels": 64,
    "ch_mults": (1, 2, 4, 16),  # the same widths as labml's (1, 2, 2, 4), which it multiplies level by level
    "is_attn": (False, False, True, True),
    "final_groups": 8,
    "norm_eps": 1e-5,
    "downsample": "symmetric",
    "upsample": "transposed",
    "narrow": "before",
}
SMALL = {"n_channels": 16, "ch_mults": (1, 2), "is_attn": (False, True), "n_groups": 8}


def small_unet(**changes):
    return UNet(**{"image_channels": 3, **SMALL, **changes})


def count_parameters(model):
    return sum(p.numel() for p in model.parameters())


def unlike_noise(x):
    """Whether an output is worth comparing: neither nearly constant nor exploding."""
    return x.isfinite().all() and 0.05 < x.std() < 50


# The paper's network, against diffusers


@torch.no_grad()
def assert_same_outputs(ours, theirs, side):
    xt, t = torch.randn(2, 3, side, side), torch.tensor([0, 731])
    expected = theirs(xt, t)
    assert unlike_noise(expected)
    torch.testing.assert_close(ours(xt, t), expected, rtol=1e-4, atol=1e-4)


def test_paper_network_has_35_746_307_parameters():
    with torch.device("meta"):
        assert count_parameters(UNet(3, **PAPER)) == 35_746_307


def test_paper_network_equals_diffusers(diffusers, randomise):
    ours = randomise(UNet(3, **PAPER)).eval()
    theirs = diffusers_unet(ours)
    assert count_parameters(ours) == count_parameters(theirs)
    assert_same_outputs(ours, lambda xt, t: theirs(xt, t).sample, side=32)


@pytest.mark.parametrize("n_heads", [1, 2, 8])
@pytest.mark.parametrize("n_blocks", [1, 3])
def test_network_with_several_heads_equals_diffusers(diffusers, randomise, n_heads, n_blocks):
    ours = randomise(UNet(3, 32, (1, 1), (False, True), n_blocks, n_heads=n_heads, n_groups=8)).eval()
    theirs = diffusers_unet(ours)
    assert_same_outputs(ours, lambda xt, t: theirs(xt, t).sample, side=8)


# The source document's network, against labml


@pytest.fixture(scope="module")
def labml():
    return pytest.importorskip("labml_nn.diffusion.ddpm.unet", reason="labml-nn is not installed")


def test_labml_setting_has_168_899_011_parameters():
    with torch.device("meta"):
        assert count_parameters(UNet(3, **LABML)) == 168_899_011


def test_labml_setting_has_the_keys_and_shapes_of_labml(labml):
    with torch.device("meta"):
        theirs = labml.UNet(3, 64, (1, 2, 2, 4), (False, False, True, True)).state_dict()
        ours = UNet(3, **LABML).state_dict()
    assert {k: v.shape for k, v in ours.items()} == {k: v.shape for k, v in theirs.items()}


def without_attention_norm(model):
    """labml creates a normalisation in front of the attention and never applies it."""
    for module in model.modules():
        if isinstance(module, AttentionBlock):
            module.norm = nn.Identity()
    return model


def test_labml_setting_equals_labml(labml, randomise):
    ours = randomise(UNet(3, **LABML))
    theirs = labml_unet(ours.eval(), normalise=False)
    assert_same_outputs(without_attention_norm(ours), theirs, side=16)


def test_attention_norm_matters(randomise):
    """It is what tells our network from labml's."""
    model = randomise(small_unet()).eval()
    xt, t = torch.randn(2, 3, 8, 8), torch.tensor([0, 731])
    with torch.no_grad():
        assert not torch.allclose(model(xt, t), without_attention_norm(model)(xt, t), atol=1e-2)


# Time embedding


@pytest.mark.parametrize("n_channels", [16, 64, 512])
def test_sinusoids_equal_diffusers(diffusers, n_channels):
    from diffusers.models.embeddings import get_timestep_embedding

    t = torch.tensor([0, 1, 2, 500, 999])
    expected = get_timestep_embedding(t, n_channels // 4, flip_sin_to_cos=False, downscale_freq_shift=1)
    torch.testing.assert_close(TimeEmbedding(n_channels).sinusoids(t), expected, rtol=1e-4, atol=1e-4)


def test_frequencies_fall_from_1_to_one_in_ten_thousand():
    t = torch.tensor([1])
    sines, cosines = TimeEmbedding(64).sinusoids(t)[0].chunk(2)
    angle = torch.atan2(sines, cosines)
    torch.testing.assert_close(angle, torch.logspace(0, -4, 8))


def test_time_embedding_is_an_mlp_of_the_sinusoids(randomise):
    embedding = randomise(TimeEmbedding(32))
    t = torch.tensor([0, 3, 999])
    h = embedding.sinusoids(t) @ embedding.lin1.weight.T + embedding.lin1.bias
    expected = (h * h.sigmoid()) @ embedding.lin2.weight.T + embedding.lin2.bias
    torch.testing.assert_close(embedding(t), expected)


def test_every_time_has_an_embedding_of_its_own():
    sinusoids = TimeEmbedding(128).sinusoids(torch.arange(1000)).double()
    distance = torch.cdist(sinusoids, sinusoids) + 100 * torch.eye(1000)
    assert distance.min() > 0.1


@pytest.mark.parametrize("n_channels", [0, 8, 12, 20, -16])
def test_width_of_the_time_embedding_is_checked(n_channels):
    with pytest.raises(ValueError, match=f"n_channels.*got {n_channels}"):
        TimeEmbedding(n_channels)


# Residual block


@pytest.mark.parametrize(("n_in", "n_out"), [(8, 8), (8, 16), (16, 8)])
def test_residual_block_is_what_its_layers_say(randomise, n_in, n_out):
    block = randomise(ResidualBlock(n_in, n_out, 12, n_groups=4)).eval()
    x, t_emb = torch.randn(2, n_in, 6, 5), torch.randn(2, 12)
    h = F.conv2d(F.silu(normalise(x, block.norm1)), block.conv1.weight, block.conv1.bias, padding=1)
    h = h + F.linear(F.silu(t_emb), block.time_emb.weight, block.time_emb.bias)[:, :, None, None]
    h = F.conv2d(F.silu(normalise(h, block.norm2)), block.conv2.weight, block.conv2.bias, padding=1)
    shortcut = x if n_in == n_out else F.conv2d(x, block.shortcut.weight, block.shortcut.bias)
    torch.testing.assert_close(block(x, t_emb), h + shortcut, rtol=1e-4, atol=1e-5)


def normalise(x, norm):
    """Group normalisation from means and variances (Wu and He 2018, Eq. 1)."""
    groups = x.reshape(len(x), norm.num_groups, -1)
    mean = groups.mean(-1, keepdim=True)
    var = ((groups - mean) ** 2).mean(-1, keepdim=True)
    gain, shift = norm.weight[:, None, None], norm.bias[:, None, None]
    return ((groups - mean) / (var + norm.eps).sqrt()).view(x.shape) * gain + shift


@pytest.mark.parametrize("n_groups", [1, 2, 8])
def test_group_norm_standardises_each_group(randomise, n_groups):
    norm = randomise(group_norm(n_groups, 8, 1e-6))
    x = 3 + 5 * torch.randn(2, 8, 4, 4)
    torch.testing.assert_close(norm(x), normalise(x, norm), rtol=1e-4, atol=1e-5)


def test_swish_is_x_times_its_sigmoid():
    x = torch.linspace(-6, 6, 25)
    torch.testing.assert_close(Swish()(x), x / (1 + torch.exp(-x)))


def test_dropout_acts_in_training_only():
    block = ResidualBlock(8, 8, 12, n_groups=4, dropout=0.5)
    x, t_emb = torch.randn(2, 8, 4, 4), torch.randn(2, 12)
    assert not block(x, t_emb).equal(block(x, t_emb))
    block.eval()
    assert block(x, t_emb).equal(block(x, t_emb))


# Attention block


def attention_by_hand(block, x):
    """softmax(q k^T / sqrt(d_k)) v for one head after the other (Vaswani et al. 2017, Eq. 1)."""
    B, C, H, W = x.shape
    tokens = normalise(x, block.norm).flatten(2)  # (B, C, H*W)
    d, heads = block.d_k, []
    for n in range(block.n_heads):
        rows = slice(3 * d * n, 3 * d * (n + 1))
        qkv = torch.einsum("dc,bcp->bpd", block.projection.weight[rows], tokens) + block.projection.bias[rows]
        q, k, v = qkv[..., :d], qkv[..., d : 2 * d], qkv[..., 2 * d :]
        weights = torch.exp(torch.einsum("bid,bjd->bij", q, k) / d**0.5)
        weights = weights / weights.sum(-1, keepdim=True)
        heads.append(torch.einsum("bij,bjd->bid", weights, v))
    h = torch.cat(heads, -1) @ block.output.weight.T + block.output.bias
    return x + h.transpose(1, 2).reshape(B, C, H, W)


@pytest.mark.parametrize(("n_heads", "d_k"), [(1, None), (4, None), (1, 5), (3, 7)])
def test_attention_is_softmax_of_scaled_products(randomise, n_heads, d_k):
    block = randomise(AttentionBlock(16, n_heads, d_k, n_groups=4))
    x = torch.randn(2, 16, 3, 5)
    torch.testing.assert_close(block(x), attention_by_hand(block, x), rtol=1e-4, atol=1e-5)


def test_heads_share_the_channels_unless_told_otherwise():
    assert AttentionBlock(32, 4, n_groups=4).d_k == 8
    assert AttentionBlock(32, 4, 32, n_groups=4).d_k == 32


def test_attention_has_no_sense_of_place(randomise):
    """Shuffled pixels give the same answer, shuffled alike."""
    block = randomise(AttentionBlock(8, n_groups=4))
    x, order = torch.randn(1, 8, 4, 4), torch.randperm(16)
    shuffled = x.flatten(2)[..., order].view(x.shape)
    expected = block(x).flatten(2)[..., order].view(x.shape)
    torch.testing.assert_close(block(shuffled), expected, rtol=1e-4, atol=1e-5)


# Down, up, middle

T_EMB = torch.linspace(-1, 1, 24).view(2, 12)


@pytest.mark.parametrize("has_attn", [True, False])
def test_down_block_changes_the_channels(has_attn):
    block = DownBlock(8, 16, 12, has_attn, n_groups=4, n_heads=2)
    assert block(torch.randn(2, 8, 6, 4), T_EMB).shape == (2, 16, 6, 4)
    assert isinstance(block.attn, AttentionBlock) == has_attn


@pytest.mark.parametrize("has_attn", [True, False])
def test_up_block_takes_in_what_the_way_down_kept(has_attn):
    block = UpBlock(8, 4, 16, 12, has_attn, n_groups=4).eval()
    x, skip = torch.randn(2, 8, 6, 4), torch.randn(2, 4, 6, 4)
    out = block(x, skip, T_EMB)
    assert out.shape == (2, 16, 6, 4)
    assert not out.equal(block(x, torch.zeros_like(skip), T_EMB))


def test_middle_block_keeps_the_shape():
    block = MiddleBlock(8, 12, n_groups=4, n_heads=2)
    assert block(torch.randn(2, 8, 6, 4), T_EMB).shape == (2, 8, 6, 4)


@torch.no_grad()
def keep_only(conv, row, column):
    """Make a 3x3 convolution read one pixel of its window and pass every channel on."""
    nn.init.dirac_(conv.weight)
    passed = conv.weight[:, :, 1, 1].clone()
    nn.init.zeros_(conv.weight)
    nn.init.zeros_(conv.bias)
    conv.weight[:, :, row, column] = passed


@pytest.mark.parametrize(
    ("padding", "row", "column", "first"),
    [("asymmetric", 0, 0, 0), ("asymmetric", 1, 1, 1), ("symmetric", 1, 1, 0), ("symmetric", 2, 2, 1)],
)
def test_downsample_pads_where_it_says(padding, row, column, first):
    """The window starts at pixel 0 with padding below and right, at pixel -1 with padding all around."""
    down = Downsample(4, padding)
    keep_only(down.conv, row, column)
    x = torch.randn(2, 4, 6, 8)
    torch.testing.assert_close(down(x), x[:, :, first::2, first::2])


def test_asymmetric_padding_is_below_and_to_the_right():
    down = Downsample(1)
    keep_only(down.conv, 2, 2)
    y = down(torch.ones(1, 1, 4, 4))[0, 0]
    assert y.tolist() == [[1, 0], [0, 0]]


def test_nearest_upsample_repeats_every_pixel():
    up = Upsample(4)
    keep_only(up.conv, 1, 1)
    x = torch.randn(2, 4, 3, 5)
    torch.testing.assert_close(up(x), x.repeat_interleave(2, 2).repeat_interleave(2, 3))


def test_transposed_upsample_doubles_the_sides():
    assert Upsample(4, "transposed")(torch.randn(2, 4, 3, 5)).shape == (2, 4, 6, 10)


# The whole


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"image_channels": 1},
        {"ch_mults": (1,), "is_attn": (True,)},
        {"ch_mults": [1, 2, 4], "is_attn": [False, True, False], "n_blocks": 1},
        {"n_blocks": 3, "n_heads": 4},
        {"upsample": "transposed", "downsample": "symmetric", "narrow": "before"},
        {"narrow": "before", "ch_mults": (2, 1), "n_blocks": 1},
        {"final_groups": 2},
    ],
    ids=str,
)
def test_output_has_the_shape_of_the_image(randomise, changes):
    model = randomise(small_unet(**changes))
    xt = torch.randn(2, model.settings["image_channels"], 12, 8)
    assert model(xt, torch.tensor([3, 999])).shape == xt.shape


def test_weights_start_as_in_the_authors_code():
    """Uniform numbers with the variance 1 / (mean of fan in and fan out), q, k and v each a layer of its own.

    Their last layer of each branch starts at 1e-10 of that, ours at 0. The standard deviation of n uniform numbers
    has a standard error of sqrt(0.2 / n) of it.
    """
    model = small_unet(ch_mults=(1, 2, 2), is_attn=(False, True, True), n_heads=2)
    for name, layer in model.named_modules():
        if not isinstance(layer, nn.Conv2d | nn.Linear):
            continue
        assert not layer.bias.any(), name
        if name.endswith(("conv2", "output", "final")):
            assert not layer.weight.any(), name
            continue
        weights = [layer.weight.detach()]
        if name.endswith("projection"):
            weights = layer.weight.detach().view(2, 3, -1, layer.in_features).transpose(0, 1).flatten(1, 2)
        for weight in weights:
            n_out, n_in, taps = *weight.shape[:2], weight[0, 0].numel()
            std = (2 / (n_in + n_out) / taps) ** 0.5
            assert float(weight.std()) == pytest.approx(std, rel=5 * (0.2 / weight.numel()) ** 0.5), name
            assert weight.abs().max() <= 3**0.5 * std * (1 + 1e-6), name


def test_untrained_network_predicts_no_noise():
    out = small_unet()(torch.randn(2, 3, 8, 8), torch.tensor([3, 999]))
    assert not out.any()


def test_untrained_blocks_only_pass_on():
    """The last layer of each branch starts at zero, so a deep network starts as a shallow one."""
    model = small_unet().eval()
    x, t_emb = torch.randn(2, 32, 4, 4), torch.randn(2, 64)
    assert model.middle(x, t_emb).equal(x)


def test_gradients_reach_every_parameter(randomise):
    model = randomise(small_unet(n_heads=2))
    model(torch.randn(2, 3, 8, 8), torch.tensor([3, 999])).square().sum().backward()
    silent = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    assert silent == []


def test_time_changes_the_output(randomise):
    model = randomise(small_unet()).eval()
    xt = torch.randn(1, 3, 8, 8).expand(2, -1, -1, -1)
    one, other = model(xt, torch.tensor([3, 700]))
    assert (one - other).abs().max() > 1e-2


def test_images_of_a_batch_do_not_see_each_other(randomise):
    model = randomise(small_unet()).eval()
    xt, t = torch.randn(3, 3, 8, 8), torch.tensor([3, 700, 0])
    alone = [model(xt[i : i + 1], t[i : i + 1]) for i in range(3)]
    torch.testing.assert_close(model(xt, t), torch.cat(alone), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_network_works_in_other_precisions(randomise, dtype):
    model = randomise(small_unet()).to(dtype)
    assert model(torch.randn(2, 3, 8, 8, dtype=dtype), torch.tensor([3, 999])).dtype == dtype


# Labels


def test_label_is_added_to_the_time(randomise):
    """The network with labels is the one without whose time embedding ends in another bias."""
    model = randomise(small_unet(n_classes=3)).eval()
    plain = small_unet().eval()
    plain.load_state_dict({name: w for name, w in model.state_dict().items() if name != "class_emb.weight"})
    xt, t = torch.randn(2, 3, 8, 8), torch.tensor([3, 999])
    bias = plain.time_emb.lin2.bias.detach().clone()
    for label in range(4):  # the last stands for none given
        with torch.no_grad():
            plain.time_emb.lin2.bias.copy_(bias + model.class_emb.weight[label])
        expected = plain(xt, t)
        torch.testing.assert_close(model(xt, t, torch.full((2,), label)), expected, rtol=1e-4, atol=1e-5)
    assert model(xt, t).equal(model(xt, t, torch.tensor([3, 3])))


def test_fresh_labels_say_nothing_and_can_learn(randomise):
    model = small_unet(n_classes=3)
    assert not model.class_emb.weight.any()
    randomise(model)(torch.randn(2, 3, 8, 8), torch.tensor([3, 999]), torch.tensor([0, 2])).square().sum().backward()
    assert model.class_emb.weight.grad.any(1).tolist() == [True, False, True, False]


def test_a_network_without_labels_is_the_same_as_before_there_were_any():
    assert not [name for name in small_unet().state_dict() if "class" in name]


@pytest.mark.parametrize(
    ("n_classes", "labels", "message"),
    [
        (None, [0, 1], "class_labels must be left out: this network was made without n_classes"),
        (3, [0, 4], r"class_labels must lie in 0 .. 2, or be 3 for none given; got 0 .. 4"),
        (3, [-1, 0], r"class_labels must lie in 0 .. 2, or be 3 for none given; got -1 .. 0"),
        (3, [0], r"class_labels must be whole numbers of shape \(2,\).*got torch.int64 of shape \(1,\)"),
        (3, [0.0, 1.0], r"class_labels must be whole numbers.*got torch.float32"),
        (3, [True, False], r"class_labels must be whole numbers.*got torch.bool"),
    ],
)
def test_wrong_labels_are_refused(n_classes, labels, message):
    with pytest.raises(ValueError, match=message):
        small_unet(n_classes=n_classes)(torch.zeros(2, 3, 8, 8), torch.tensor([3, 999]), torch.tensor(labels))


def test_labels_of_few_bits_are_labels():
    model = small_unet(n_classes=200)
    model(torch.zeros(2, 3, 8, 8), torch.tensor([3, 999]), torch.tensor([0, 200], dtype=torch.uint8))


def test_settings_rebuild_the_network(randomise):
    model = randomise(small_unet(n_heads=2, narrow="before", final_groups=4, n_classes=3)).eval()
    again = UNet(**json.loads(json.dumps(model.settings))).eval()
    again.load_state_dict(model.state_dict())
    xt, t = torch.randn(2, 3, 8, 8), torch.tensor([3, 999])
    assert again.settings == model.settings
    assert again(xt, t).equal(model(xt, t))


# Bad input


@pytest.mark.parametrize(
    ("shape", "t", "message"),
    [
        ((2, 3, 8, 10), [0, 1], "image sides must be divisible by 4.*8 x 10"),
        ((2, 3, 7, 8), [0, 1], "image sides must be divisible by 4.*7 x 8"),
        ((2, 1, 8, 8), [0, 1], r"xt must have shape \(B, 3, H, W\); got \(2, 1, 8, 8\)"),
        ((3, 8, 8), [0, 1, 2], r"xt must have shape \(B, 3, H, W\); got \(3, 8, 8\)"),
        ((2, 3, 8, 8), [0], r"t must have shape \(2,\).*got \(1,\)"),
        ((2, 3, 8, 8), [[0], [1]], r"t must have shape \(2,\).*got \(2, 1\)"),
        ((2, 3, 8, 8), 5, r"t must have shape \(2,\).*got \(\)"),
    ],
    ids=str,
)
def test_wrong_images_and_times_are_refused(shape, t, message):
    model = small_unet(ch_mults=(1, 1, 1), is_attn=(False,) * 3)
    with pytest.raises(ValueError, match=message):
        model(torch.zeros(shape), torch.tensor(t))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"n_groups": 32}, "n_groups must divide.*32 does not divide 16"),
        ({"n_groups": 0}, "n_groups must.*got 0"),
        ({"final_groups": 3}, "final_groups.*3 does not divide 16"),
        ({"is_attn": (True,)}, r"is_attn must have one entry a level, 2.*got \(True,\)"),
        ({"is_attn": ()}, r"is_attn must have one entry a level, 2.*got \(\)"),
        ({"ch_mults": (), "is_attn": ()}, r"ch_mults must.*got \(\)"),
        ({"ch_mults": (1, 0)}, r"ch_mults must.*got \(1, 0\)"),
        ({"ch_mults": (1, 1.5)}, r"ch_mults must.*got \(1, 1.5\)"),
        ({"n_blocks": 0}, "n_blocks must.*got 0"),
        ({"n_blocks": 1.5}, "n_blocks must.*got 1.5"),
        ({"image_channels": 0}, "image_channels must.*got 0"),
        ({"n_channels": -8}, "n_channels must.*got -8"),
        ({"dropout": 1.0}, r"dropout must lie in \[0, 1\); got 1.0"),
        ({"dropout": -0.1}, r"dropout must lie in \[0, 1\); got -0.1"),
        ({"upsample": "bilinear"}, "upsample must be one of nearest, transposed; got 'bilinear'"),
        ({"downsample": "pool"}, "downsample must be one of asymmetric, symmetric; got 'pool'"),
        ({"narrow": "never"}, "narrow must be one of after, before; got 'never'"),
        ({"n_heads": 3}, "n_heads must divide the 32 channels.*got 3"),
        ({"n_heads": 0}, "n_heads must.*got 0"),
        ({"norm_eps": -1.0}, "norm_eps must.*got -1.0"),
        ({"n_classes": 0}, "n_classes must.*got 0"),
    ],
    ids=str,
)
def test_wrong_settings_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        small_unet(**changes)


@pytest.mark.parametrize("block", [Upsample, Downsample])
def test_unknown_way_to_resample_is_refused_by_the_block_itself(block):
    with pytest.raises(ValueError, match="got 'bilinear'"):
        block(8, "bilinear")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ResidualBlock(8, 12, 16, n_groups=8), "8 does not divide 12"),
        (lambda: AttentionBlock(12, n_groups=8), "8 does not divide 12"),
        (lambda: AttentionBlock(16, 3, n_groups=8), "n_heads must divide the 16 channels.*got 3"),
        (lambda: AttentionBlock(16, 0, n_groups=8), "n_heads must divide the 16 channels.*got 0"),
        (lambda: TimeEmbedding(32, freq_shift=4), "freq_shift must be 0 or 1; got 4"),
        (lambda: group_norm(0, 8, 1e-6), "n_groups must.*0"),
    ],
    ids=["residual groups", "attention groups", "attention heads", "no heads", "frequencies", "no groups"],
)
def test_blocks_refuse_what_does_not_fit(make, message):
    with pytest.raises(ValueError, match=message):
        make()

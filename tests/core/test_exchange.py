"""Our U-Net in other libraries: the same outputs there and back, every weight accounted for, the rest refused."""

import sys
from types import SimpleNamespace

import pytest
import torch

from ddpm_lesson.exchange import LABML, diffusers_unet, labml_unet, unet_from_diffusers
from ddpm_lesson.exchange import diffusers as mapping
from ddpm_lesson.unet import UNet
from tests import published

SMALL = {"image_channels": 3, "n_channels": 16, "ch_mults": (1, 2), "is_attn": (False, True), "n_groups": 8}
PAPER = {"n_channels": 128, "ch_mults": (1, 2, 2, 2), "is_attn": (False, True, False, False)}
VARIETY = [
    {},
    {"image_channels": 1, "n_blocks": 1},
    {"ch_mults": (1,), "is_attn": (False,)},
    {"ch_mults": (1, 3, 2), "is_attn": (True, False, True)},
    {"ch_mults": (1, 1), "is_attn": (True, True), "n_heads": 4},
    {"n_heads": 2, "n_blocks": 3},
    {"downsample": "symmetric", "norm_eps": 1e-5, "dropout": 0.3},
    {"final_groups": 8},
    {"is_attn": (True, True), "d_k": 4},
    {"d_k": 12},
    {"freq_shift": 0, "n_classes": 3},
]
varieties = pytest.mark.parametrize("changes", VARIETY, ids=str)


def small_unet(**changes):
    return UNet(**{**SMALL, **changes})


def same_tensors(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@torch.no_grad()
def assert_same_outputs(ours, theirs):
    channels = ours.settings["image_channels"] if isinstance(ours, UNet) else 3
    xt, t = torch.randn(2, channels, 8, 8), torch.tensor([0, 731])
    expected = theirs(xt, t)
    assert 0.05 < expected.std() < 50
    torch.testing.assert_close(ours(xt, t), expected, rtol=1e-4, atol=1e-5)


# diffusers


@varieties
def test_network_gives_the_same_outputs_in_diffusers(diffusers, randomise, changes):
    ours = randomise(small_unet(**changes)).eval()
    theirs = diffusers_unet(ours, 8)
    assert isinstance(theirs, diffusers.UNet2DModel)
    labels = None if ours.n_classes is None else torch.tensor([3, 3])  # none given, which theirs wants to be said
    assert_same_outputs(ours, lambda xt, t: theirs(xt, t, labels).sample)


@varieties
def test_network_comes_back_from_diffusers_as_it_was(randomise, changes):
    ours = randomise(small_unet(**changes))
    back = unet_from_diffusers(diffusers_unet(ours, 8))
    assert back.settings == {**ours.settings, "final_groups": None}
    assert back.settings["d_k"] == changes.get("d_k")
    assert same_tensors(back.state_dict(), ours.state_dict())


def test_paper_network_is_set_up_as_published(diffusers):
    with torch.device("meta"):
        config = diffusers_unet(UNet(3, **PAPER)).config
    assert {name: config[name] for name in published.UNET} == published.UNET


def test_published_setting_is_the_paper_network(diffusers):
    with torch.device("meta"):
        ours = unet_from_diffusers(diffusers.UNet2DModel(**published.UNET))
    assert ours.settings == {**UNet(3, 4, n_groups=4).settings, **PAPER, "n_groups": 32, "dropout": 0.0}


def test_exchange_copies_and_leaves_the_original_alone(randomise):
    ours = randomise(small_unet())
    before = {name: tensor.clone() for name, tensor in ours.state_dict().items()}
    theirs = diffusers_unet(ours, 8)
    again = unet_from_diffusers(theirs)
    with torch.no_grad():
        for parameter in [*theirs.parameters(), *again.parameters()]:
            parameter.fill_(7)
    assert same_tensors(ours.state_dict(), before)
    assert all(parameter.requires_grad for parameter in again.parameters())


@pytest.mark.parametrize("training", [True, False])
def test_mode_and_precision_go_along(randomise, training):
    ours = randomise(small_unet().double()).train(training)
    theirs = diffusers_unet(ours, 8)
    back = unet_from_diffusers(theirs)
    assert theirs.training == back.training == training
    assert theirs.dtype == torch.float64
    assert same_tensors(back.state_dict(), ours.state_dict())


@pytest.mark.parametrize("layer", ["final", "down.2.conv", "up.2.attn.projection", "middle.res2.norm1"])
def test_a_forgotten_layer_is_an_error(monkeypatch, layer):
    layers = list(mapping.layer_names(small_unet().settings))
    monkeypatch.setattr(mapping, "layer_names", lambda _: [pair for pair in layers if pair[0] != layer])
    with pytest.raises(KeyError, match=layer):
        diffusers_unet(small_unet(), 8)


@pytest.mark.parametrize(("one", "other"), [("norm", "up.0.res.norm2"), ("time_emb.lin2", "time_emb.lin1")])
def test_a_layer_in_the_place_of_another_is_an_error(monkeypatch, one, other):
    layers = dict(mapping.layer_names(small_unet().settings))
    monkeypatch.setattr(mapping, "layer_names", lambda _: {**layers, one: layers[other]}.items())
    with pytest.raises(RuntimeError, match=layers[one]):
        diffusers_unet(small_unet(), 8)


def test_weights_for_which_we_have_no_place_are_refused(randomise):
    theirs = diffusers_unet(randomise(small_unet()), 8)
    theirs.mid_block.extra = torch.nn.Linear(2, 2)
    with pytest.raises(ValueError, match=r"no place, such as mid_block\.extra\.bias"):
        unet_from_diffusers(theirs)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"upsample": "transposed"}, "diffusers knows only upsample='nearest'; got 'transposed'"),
        ({"narrow": "before"}, "diffusers knows only narrow='after'; got 'before'"),
        ({"final_groups": 4}, "final_groups.*n_groups or None; got 4"),
        ({"ch_mults": (2, 2)}, r"ch_mults must begin with 1; got \(2, 2\)"),
        ({"is_attn": (True, True), "n_heads": 2}, r"n_heads must be 1 where.*\[16, 32\] channels.*got 2"),
    ],
    ids=str,
)
def test_what_diffusers_cannot_express_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        diffusers_unet(small_unet(**changes), 8)


@pytest.mark.parametrize("image_size", [7, 0, -8, (8, 9), (), 8.0, None])
def test_image_size_must_suit_the_network(image_size):
    with pytest.raises(ValueError, match="image_size must be a side, or height and width, divisible by 2"):
        diffusers_unet(small_unet(), image_size)


@pytest.mark.parametrize("image_size", [8, (8, 12)])
def test_image_size_reaches_diffusers(image_size):
    assert diffusers_unet(small_unet(), image_size).config.sample_size == image_size


ATTEND = {  # on levels of different widths
    "down_block_types": ("AttnDownBlock2D", "AttnDownBlock2D"),
    "up_block_types": ("AttnUpBlock2D", "AttnUpBlock2D"),
}


@pytest.fixture
def their_unet(diffusers):
    """``their_unet(**changes)`` is a small network of diffusers that we can express but for the changes."""
    settings = {
        "block_out_channels": (16, 32),
        "down_block_types": ("DownBlock2D", "AttnDownBlock2D"),
        "up_block_types": ("AttnUpBlock2D", "UpBlock2D"),
        "norm_num_groups": 8,
        "flip_sin_to_cos": False,
        "freq_shift": 1,
    }
    return lambda **changes: diffusers.UNet2DModel(**{**settings, **changes})


@pytest.mark.parametrize(
    ("changes", "settings"),
    [
        ({}, {"n_heads": 4, "downsample": "symmetric", "norm_eps": 1e-5, "dropout": 0.0}),
        ({"attention_head_dim": 32}, {"n_heads": 1}),
        ({"attention_head_dim": None}, {"n_heads": 1}),
        ({"act_fn": "swish"}, {}),
        ({"attn_norm_num_groups": 8, "time_embedding_dim": 64}, {}),
        ({"num_train_timesteps": 1000}, {}),
        ({"sample_size": (8, 12)}, {}),
        ({"in_channels": 1, "out_channels": 1}, {"image_channels": 1}),
        ({"flip_sin_to_cos": True, "freq_shift": 0}, {"freq_shift": 0}),
        ({"flip_sin_to_cos": True, "freq_shift": 1}, {"freq_shift": 1}),
        ({"flip_sin_to_cos": False, "freq_shift": 0}, {"freq_shift": 0}),
        ({"attention_head_dim": 12}, {"n_heads": 1, "d_k": 12}),
        ({**ATTEND, "attention_head_dim": 8}, {"n_heads": 1, "d_k": 8}),
        ({**ATTEND, "attention_head_dim": 16}, {"n_heads": 1, "d_k": 16}),
        ({**ATTEND, "attention_head_dim": None}, {"n_heads": 1, "d_k": None}),
        ({"downsample_padding": 0, "norm_eps": 1e-3, "dropout": 0.2, "norm_num_groups": 4}, {"norm_eps": 1e-3}),
    ],
    ids=str,
)
def test_network_of_diffusers_gives_the_same_outputs_here(their_unet, randomise, changes, settings):
    theirs = randomise(their_unet(**changes)).eval()
    ours = unet_from_diffusers(theirs)
    assert ours.settings.items() >= settings.items()
    assert_same_outputs(ours, lambda xt, t: theirs(xt, t).sample)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"freq_shift": 2}, ["freq_shift=2"]),
        ({"act_fn": "gelu"}, ["act_fn='gelu'"]),
        ({"class_embed_type": "timestep"}, ["class_embed_type='timestep'"]),
        ({"out_channels": 6}, ["out_channels=6"]),
        ({"center_input_sample": True}, ["center_input_sample=True"]),
        ({"time_embedding_type": "fourier"}, ["time_embedding_type='fourier'"]),
        ({"time_embedding_dim": 48}, ["time_embedding_dim=48"]),
        ({"attn_norm_num_groups": 4}, ["attn_norm_num_groups=4"]),
        ({"mid_block_type": None}, ["mid_block_type=None"]),
        ({"mid_block_scale_factor": 2}, ["mid_block_scale_factor=2"]),
        ({"add_attention": False}, ["add_attention=False"]),
        ({"resnet_time_scale_shift": "scale_shift"}, ["resnet_time_scale_shift='scale_shift'"]),
        ({"downsample_type": "resnet"}, ["downsample_type='resnet'"]),
        ({"upsample_type": "resnet"}, ["upsample_type='resnet'"]),
        ({"block_out_channels": (16, 24), "attention_head_dim": None}, ["block_out_channels=(16, 24)"]),
        ({"up_block_types": ("UpBlock2D", "UpBlock2D")}, ["up_block_types=('UpBlock2D', 'UpBlock2D')"]),
        (
            {"down_block_types": ("ResnetDownsampleBlock2D", "AttnDownBlock2D")},
            ["down_block_types=('ResnetDownsampleBlock2D', 'AttnDownBlock2D')"],
        ),
        ({"act_fn": "gelu", "add_attention": False}, ["act_fn='gelu'", "add_attention=False"]),
    ],
    ids=str,
)
def test_settings_of_diffusers_that_we_lack_are_named(their_unet, changes, words):
    with pytest.raises(ValueError, match="our U-Net cannot express these settings") as error:
        unet_from_diffusers(their_unet(**changes))
    named = [f"{word} ({mapping.REFUSED[word.partition('=')[0]]})" for word in words]
    assert sorted(str(error.value).partition(": ")[2].split("; ")) == sorted(named)


def test_labels_come_in_with_the_last_as_the_null_label(their_unet, randomise):
    theirs = randomise(their_unet(num_class_embeds=4)).eval()
    ours = unet_from_diffusers(theirs)
    assert ours.n_classes == 3
    for label in range(4):
        labels = torch.full((2,), label)
        assert_same_outputs(lambda xt, t, ls=labels: ours(xt, t, ls), lambda xt, t, ls=labels: theirs(xt, t, ls).sample)
    assert_same_outputs(ours, lambda xt, t: theirs(xt, t, torch.tensor([3, 3])).sample)


def test_only_a_unet2d_model_comes_in(diffusers):
    with pytest.raises(TypeError, match=r"model must be a diffusers\.UNet2DModel; got UNet"):
        unet_from_diffusers(small_unet())


# labml


@pytest.fixture
def labml():
    return pytest.importorskip("labml_nn.diffusion.ddpm.unet", reason="labml-nn is not installed")


def labml_like(**changes):
    settings = {"n_channels": 32, "ch_mults": (1, 2, 4), "is_attn": (False, True, True), "n_blocks": 1, **LABML}
    return UNet(3, **{**settings, **changes})


@pytest.mark.parametrize("changes", [{}, {"ch_mults": (2, 2, 6), "n_blocks": 2}], ids=str)
def test_network_gives_the_same_outputs_in_labml(labml, randomise, changes):
    ours = randomise(labml_like(**changes)).eval()
    theirs = labml_unet(ours)
    assert isinstance(theirs, labml.UNet)
    assert_same_outputs(ours, theirs)


def test_labml_as_published_does_not_normalise_its_attention(labml, randomise):
    ours = randomise(labml_like()).eval()
    xt, t = torch.randn(2, 3, 8, 8), torch.tensor([0, 731])
    with torch.no_grad():
        published = labml_unet(ours, normalise=False)(xt, t)
        assert (published - ours(xt, t)).abs().max() > 1e-2
        assert (published - labml_unet(ours)(xt, t)).abs().max() > 1e-2


def test_labml_network_has_weights_of_its_own(labml, randomise):
    ours = randomise(labml_like(dropout=0.3))
    before = {name: tensor.clone() for name, tensor in ours.state_dict().items()}
    theirs = labml_unet(ours, normalise=False)
    assert same_tensors(theirs.state_dict(), before)
    assert {module.p for module in theirs.modules() if isinstance(module, torch.nn.Dropout)} == {0.3}
    assert theirs.training
    for parameter in theirs.parameters():
        assert parameter.requires_grad
        parameter.data.fill_(7)
    assert same_tensors(ours.state_dict(), before)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"upsample": "nearest"}, "labml_nn knows only upsample='transposed'; got 'nearest'"),
        ({"n_groups": 16}, "n_groups=32; got 16"),
        ({"final_groups": None}, "final_groups=8; got None"),
        ({"n_heads": 2}, "n_heads=1; got 2"),
        ({"norm_eps": 1e-6}, "norm_eps=1e-05; got 1e-06"),
        ({"ch_mults": (1, 2, 3)}, r"each of ch_mults must be a multiple of the one before; got \(1, 2, 3\)"),
    ],
    ids=str,
)
def test_what_labml_cannot_express_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        labml_unet(labml_like(**changes))


# Libraries that are not there


@pytest.mark.parametrize(
    ("call", "module", "extra"),
    [
        (lambda: diffusers_unet(small_unet(), 8), "diffusers", "diffusers"),
        (lambda: unet_from_diffusers(SimpleNamespace()), "diffusers", "diffusers"),
        (lambda: labml_unet(labml_like()), "labml_nn", "labml"),
    ],
    ids=["to diffusers", "from diffusers", "to labml"],
)
def test_missing_library_is_named_with_what_to_install(monkeypatch, call, module, extra):
    monkeypatch.setitem(sys.modules, module, None)  # Python's way to say that it cannot be imported
    with pytest.raises(ImportError, match=rf'^this needs {module}: pip install "ddpm-lesson\[{extra}\]"$'):
        call()

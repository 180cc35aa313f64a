"""The ledger of layers against PyTorch's own counter, and activations against hooks set by hand."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from ddpm_lesson import UNet
from ddpm_lesson.lesson.kit.xray import activations, attention_parameters, blank_unet, counted_macs, hooked, layers
from ddpm_lesson.unet import AttentionBlock

SETTINGS = [
    {"n_channels": 32, "ch_mults": (1, 2), "is_attn": (False, True), "n_blocks": 1},
    {"n_channels": 32, "ch_mults": (1, 2, 2), "is_attn": (True, False, True), "n_heads": 2, "narrow": "before"},
    {"n_channels": 32, "ch_mults": (1, 3), "is_attn": (False, False), "upsample": "transposed"},
]


@pytest.mark.parametrize("settings", SETTINGS)
def test_multiply_adds_equal_pytorchs_count(settings):
    model = UNet(**settings)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(torch.zeros(1, 3, 16, 16), torch.zeros(1))
    assert sum(layer.macs for layer in layers(model, 16)) == counter.get_total_flops() / 2


@pytest.mark.parametrize("settings", SETTINGS)
def test_every_parameter_is_counted_once(settings):
    found = layers(UNet(**settings), 16)
    assert sum(layer.parameters for layer in found) == sum(p.numel() for p in UNet(**settings).parameters())
    assert len({layer.name for layer in found}) == len(found)


def test_paper_network_has_35_746_307_parameters_layer_by_layer():
    model = blank_unet(n_channels=128, ch_mults=(1, 2, 2, 2), is_attn=(False, True, False, False))
    assert sum(layer.parameters for layer in layers(model, 32)) == 35_746_307


def test_shapes_are_those_of_a_real_pass():
    model = UNet(**SETTINGS[1])
    found = layers(model, 16)
    shapes = {}
    for name, module in model.named_modules():
        module.register_forward_hook(lambda m, i, output, name=name: shapes.update({name: tuple(output.shape[1:])}))
    model(torch.zeros(1, 3, 16, 16), torch.zeros(1))
    assert {layer.name: layer.shape for layer in found} == {layer.name: shapes[layer.name] for layer in found}
    assert list(found[-1].shape) == [3, 16, 16]


def test_ledger_refuses_an_image_that_cannot_be_halved():
    with pytest.raises(ValueError, match="divisible by 4"):
        layers(blank_unet(**SETTINGS[1]), 18)


def test_blank_network_is_built_like_a_real_one():
    real, blank = (make(**SETTINGS[0]) for make in (UNet, blank_unet))
    assert {n: p.shape for n, p in real.named_parameters()} == {n: p.shape for n, p in blank.named_parameters()}


def test_activations_are_those_of_one_pass_without_dropout():
    model = UNet(**SETTINGS[0]).train()
    xt, t = torch.randn(2, 3, 16, 16), torch.tensor([3, 900])
    kept = activations(model, xt, t, ["image_proj", "down.0.res"])
    assert torch.equal(kept["image_proj"], model.image_proj(xt))
    expected = model.eval().down[0].res(model.image_proj(xt), model.time_emb(t))
    assert torch.equal(kept["down.0.res"], expected)
    assert not kept["down.0.res"].requires_grad


def test_activations_leave_the_network_as_it_was():
    model = UNet(**SETTINGS[0]).train()
    activations(model, torch.zeros(1, 3, 16, 16), torch.zeros(1), ["middle"])
    assert model.training
    assert not model.middle._forward_hooks


def test_activations_refuse_a_name_that_no_module_has():
    with pytest.raises(ValueError, match=r"no 'down\.9'"):
        activations(UNet(**SETTINGS[0]), torch.zeros(1, 3, 16, 16), torch.zeros(1), ["down.9"])


def test_attention_map_is_what_the_block_takes_from_each_pixel():
    torch.manual_seed(0)
    block = UNet(**SETTINGS[1]).middle.attn
    x = torch.randn(2, 64, 3, 4)
    weights, (_, _, v) = block.attention_map(x), block.qkv(x)
    torch.testing.assert_close(weights.sum(-1), torch.ones(2, 2, 12))
    torch.nn.init.normal_(block.output.weight)
    taken = block.output((weights @ v).transpose(1, 2).flatten(2)).transpose(1, 2).reshape(x.shape)
    torch.testing.assert_close(block(x), x + taken)


def test_hooks_are_taken_out_again_even_after_an_error():
    layer, seen = torch.nn.Linear(1, 1), []
    with pytest.raises(RuntimeError), hooked([layer.register_forward_pre_hook(lambda *_: seen.append(1))]):
        layer(torch.zeros(7))
    layer(torch.zeros(1))
    assert seen == [1]


def test_attention_is_counted_with_both_of_its_products():
    tokens, channels = 6 * 6, 8
    block = AttentionBlock(channels, n_groups=4)
    assert attention_parameters(channels) == sum(p.numel() for p in block.parameters())
    wanted = 4 * tokens * channels**2 + 2 * tokens**2 * channels
    assert counted_macs(block, torch.zeros(1, channels, 6, 6)) == wanted

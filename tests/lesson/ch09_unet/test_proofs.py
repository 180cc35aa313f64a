"""The equations of notebook 09: each holds, and wrong ones in their place are found out."""

import pytest
import torch

from ddpm_lesson.lesson.ch09_unet import proofs as network
from ddpm_lesson.lesson.ch09_unet.proofs import prove
from ddpm_lesson.unet import UNet, UpBlock


def loud_ending(*settings, **options):
    """A network whose last convolution does not start at zero."""
    unet = UNet(*settings, **options)
    torch.nn.init.normal_(unet.final.weight, std=0.1)
    return unet


def whispering(*settings, **options):
    """A network that answers next to nothing, so that its loss is 1 as well."""
    unet = UNet(*settings, **options)
    torch.nn.init.constant_(unet.final.bias, 1e-3)
    return unet


def compounding(image_channels, n_channels, ch_mults, *rest, **options):
    """Multipliers that each multiply the width of the level above."""
    widths, width = [], 1
    for m in ch_mults:
        width *= m
        widths.append(width)
    return network.unet_parameters(image_channels, n_channels, widths, *rest, **options)


class Forgetful(UNet):
    """A network that keeps only the first map, and takes it in wherever the size fits."""

    def __init__(self, *settings, **options):
        super().__init__(*settings, **options)
        for block in self.up:
            if isinstance(block, UpBlock):
                block.register_forward_pre_hook(self.same)
        self.first = {}

    def same(self, _, given):
        x, skip, t_emb = given
        return x, self.first.setdefault(tuple(skip.shape), skip), t_emb


PLANTED = [
    ("9.1", {"network": Forgetful}),
    ("9.1", lambda levels, blocks: levels * (blocks + 1) - 1),  # without the projection's map
    ("9.1", lambda levels, blocks: levels * blocks + 1),  # without those of the halvings
    ("9.2", loud_ending),
    ("9.2", whispering),
    ("9.3", lambda i, o, k: k**2 * i * o),  # no bias
    ("9.3", lambda i, o, k: k**2 * i * o + i),
    ("9.3", lambda i, o, k: k * i * o + o),
    ("9.4", lambda i, o, d: network.residual_parameters(i, o, d) - (o if i != o else 0)),  # no bias on the shortcut
    ("9.4", lambda i, o, d: network.residual_parameters(i, o, d) + (i * o + o if i == o else 0)),  # a shortcut always
    ("9.4", lambda i, o, d: network.residual_parameters(i, o, d) - d * o + d * i),
    ("9.4", lambda i, o, d: network.residual_parameters(i, o, d) + 2 * i - 2 * o),
    ("9.5", lambda c: 4 * c**2 + 4 * c),  # no normalisation, as labml's
    ("9.5", lambda c: 4 * c**2 + 6 * c - c),
    ("9.6", compounding),  # the source document's multipliers
    ("9.6", lambda **s: network.unet_parameters(**{**s, "n_blocks": s.get("n_blocks", 2) + 1})),
    ("9.6", lambda **s: network.unet_parameters(**{**s, "is_attn": (False,) * len(s["is_attn"])})),
    ("9.6", lambda **s: network.unet_parameters(**{**s, "narrow": "after"})),
    ("9.6", lambda **s: network.unet_parameters(**{**s, "upsample": "nearest"})),
    ("9.7", lambda first, second, third: 2 * third - second),  # a straight line
    ("9.7", lambda first, second, third: 4 * second),  # a square alone
    ("9.8", {"conv": lambda i, o, side, k: k**2 * i * o * side}),
    ("9.8", {"conv": lambda i, o, side, k: (k**2 * i * o + o) * side**2}),
    ("9.8", {"attention": lambda c, side: 4 * c**2 * side**2 + c * side**4}),  # one product instead of two
    ("9.8", {"attention": lambda c, side: 4 * c**2 * side**2 + 2 * c * side**2}),
    ("9.8", {"attention": lambda c, side: 2 * c * side**4}),
]


@pytest.mark.parametrize(("number", "wrong"), PLANTED)
def test_a_wrong_formula_is_found_out(number, wrong):
    proof = prove(number, **(wrong if isinstance(wrong, dict) else {"formula": wrong}))
    assert not proof.holds


@pytest.mark.parametrize(
    ("settings", "expected"),
    [(network.PAPER, 35_746_307), (network.LSUN, 113_673_219), (network.COMPOUNDING, 168_899_011)],
    ids=["CIFAR-10", "LSUN", "compounding"],
)
def test_closed_form_gives_the_published_numbers(settings, expected):
    assert network.unet_parameters(**settings) == expected


def test_halved_sides_and_doubled_width_cost_the_same_work():
    assert network.conv_macs(64, 64, 32) == network.conv_macs(128, 128, 16)

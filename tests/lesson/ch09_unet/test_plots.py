"""The drawing of the U-Net, its ledger and its tables say what the live module is."""

import re

import pytest
import torch

from ddpm_lesson.lesson.ch09_unet.plots import (
    places,
    routes_picture,
    settings_table,
    unet_picture,
    walk_table,
    xray_table,
)
from ddpm_lesson.lesson.ch09_unet.proofs import COMPOUNDING, LSUN, PAPER
from ddpm_lesson.lesson.kit.xray import activations, blank_unet, bridges, parts
from ddpm_lesson.unet import UNet

NETWORKS = {
    "paper": (PAPER, 32),
    "LSUN": (LSUN, 256),
    "compounding": (COMPOUNDING, 32),
    "three blocks": (PAPER | {"n_blocks": 3, "ch_mults": (1, 2, 4, 8)}, 32),
    "one level": ({"n_channels": 32, "ch_mults": (1,), "is_attn": (True,), "n_blocks": 1}, 8),
}


@pytest.fixture(params=NETWORKS)
def network(request):
    settings, side = NETWORKS[request.param]
    return blank_unet(**settings), side


def test_every_module_has_a_box_and_no_two_boxes_overlap(network):
    unet, _ = network
    boxes = {name: box for name, (_, box) in places(unet).items()}
    assert set(boxes) == {part.name for part in parts(unet) if part.way not in ("time", "out")}
    found = list(boxes.values())
    for i, a in enumerate(found):
        assert a.w > 40
        assert a.h >= 30
        for b in found[i + 1 :]:
            assert a.x + a.w <= b.x or b.x + b.w <= a.x or a.y + a.h <= b.y or b.y + b.h <= a.y


def test_bridges_lead_to_the_right_on_one_row(network):
    unet, _ = network
    boxes = {name: box for name, (_, box) in places(unet).items()}
    for kept, taker in bridges(unet):
        assert boxes[kept.name].y == boxes[taker.name].y
        assert boxes[kept.name].x < boxes[taker.name].x


def test_drawing_counts_the_parameters_of_the_live_module(network):
    unet, side = network
    count = sum(p.numel() for p in unet.parameters())
    assert f"{count:,} parameters" in unet_picture(unet, side).alt


def test_drawing_is_another_for_another_network():
    one, other = (unet_picture(blank_unet(**PAPER | change), 32) for change in ({}, {"is_attn": (False,) * 4}))
    assert one.png != other.png
    assert "attention on 16×16 and" in one.alt
    assert "attention on no level" in other.alt


def test_images_that_cannot_be_halved_are_refused():
    with pytest.raises(ValueError, match="divisible by 8"):
        unet_picture(blank_unet(**PAPER), 28)


def column(table, i):
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()[2:]]
    return [row[i] for row in rows if len(row) > i]


def test_ledger_by_groups_adds_up():
    table = xray_table(blank_unet(**PAPER), 32)
    *groups, total = column(table, 1)
    assert total == "**35,746,307**"
    assert sum(int(number.replace(",", "")) for number in groups) == 35_746_307
    shares = [float(re.search(r"([\d.]+) %", cell)[1]) for cell in column(table, 2)[:-1]]
    assert abs(sum(shares) - 100) < 3


def test_walk_shows_the_stack_growing_and_emptying():
    unet = UNet(1, 8, (1, 2), (False, False), 1, n_groups=4)
    seen = activations(unet, torch.zeros(1, 1, 8, 8), torch.zeros(1), [part.name for part in parts(unet)])
    table = walk_table(unet, seen)
    assert column(table, 4)[:5] == [
        "", "image_proj", "image_proj, down.0", "image_proj, down.0, down.1", "image_proj, down.0, down.1, down.2",
    ]  # fmt: skip
    assert [taken for taken in column(table, 2) if taken] == ["`down.2`", "`down.1`", "`down.0`", "`image_proj`"]
    assert column(table, 3)[-1] == "1 × 8 × 8"


def test_settings_side_by_side_are_counted():
    table = settings_table({"a": (blank_unet(**PAPER), 32), "b": (blank_unet(**LSUN), 256)})
    assert column(table, 5) == ["35,746,307", "113,673,219"]
    assert column(table, 4) == ["16×16", "16×16"]


def test_worst_time_of_each_route_is_said():
    losses = {None: torch.tensor([0.1, 0.1]), 0: torch.tensor([0.1, 0.4]), "middle": torch.tensor([0.15, 0.1])}
    alt = routes_picture((5, 70), losses, losses, (28,)).alt
    assert "kept 28×28: at most 0.300, at t = 70" in alt
    assert "middle: at most 0.050, at t = 5" in alt
    assert "another noise, kept 28×28:" in alt
    assert "the same noise, all below at once:" in alt

"""Where everything stands in a U-Net, what the routes carry, and how a network wakes up."""

import pytest
import torch

from ddpm_lesson import DenoiseDiffusion, UNet
from ddpm_lesson.lesson.ch09_unet.experiments import (
    costs,
    first_steps,
    loud,
    neighbours,
    randomised,
    route_losses,
    routes,
)
from ddpm_lesson.lesson.kit.probe import fresh_noise
from ddpm_lesson.lesson.kit.xray import activations, blank_unet, bridges, layers, parts
from ddpm_lesson.unet import UpBlock

SMALL = {"image_channels": 1, "n_channels": 8, "ch_mults": (1, 2, 2), "is_attn": (False, True, False), "n_groups": 4}


@pytest.fixture
def unet():
    return randomised(UNet(**SMALL, n_blocks=1, dropout=0.0)).eval()


def test_parts_are_in_the_order_of_the_forward_pass(unet):
    order = []
    hooks = [part.module.register_forward_hook(lambda *_, name=part.name: order.append(name)) for part in parts(unet)]
    unet(torch.zeros(1, 1, 8, 8), torch.zeros(1))
    assert order == [part.name for part in parts(unet)]
    assert len(hooks) == len(order)


def test_levels_and_channels_are_those_of_the_outputs(unet):
    seen = activations(unet, torch.zeros(1, 1, 16, 16), torch.zeros(1), [part.name for part in parts(unet)])
    for part in parts(unet)[1:]:
        assert seen[part.name].shape[-1] == 16 >> part.level
    for part in parts(unet)[1:-2]:
        assert seen[part.name].shape[1] == part.channels[1]


def test_attention_is_where_the_settings_say(unet):
    assert {part.level for part in parts(unet) if part.has_attn and part.way != "middle"} == {1}


@pytest.mark.parametrize("n_blocks", [1, 2, 3])
def test_every_block_of_the_way_up_takes_one_kept_map_of_its_own_size(n_blocks):
    unet = blank_unet(**SMALL, n_blocks=n_blocks)
    pairs = bridges(unet)
    assert [taker.module for _, taker in pairs] == [m for m in unet.up if isinstance(m, UpBlock)]
    assert all(kept.level == taker.level for kept, taker in pairs)
    assert all(kept.channels[1] < taker.channels[0] for kept, taker in pairs)
    assert len({kept.name for kept, _ in pairs}) == len(pairs) == len(unet.down) + 1


def test_costs_add_up_to_those_of_all_layers(unet):
    for image_size in (8, 16):
        spent, found = costs(unet, image_size), layers(unet, image_size)
        assert sum(cost.parameters for cost in spent) == sum(p.numel() for p in unet.parameters())
        assert sum(cost.macs for cost in spent) == sum(layer.macs for layer in found)


def test_costs_do_not_confuse_part_1_with_part_10():
    unet = blank_unet(**SMALL, n_blocks=3)
    held = {cost.part.name: cost.parameters for cost in costs(unet, 8)}
    assert held["up.1"] == sum(p.numel() for p in unet.up[1].parameters())
    assert held["up.10"] == sum(p.numel() for p in unet.up[10].parameters())


def test_neighbours_maps_are_those_of_the_image_before(unet):
    """With every route exchanged, the answer is the neighbour's."""
    xt, t = torch.randn(3, 1, 8, 8), torch.tensor([3, 3, 3])
    own = unet(xt, t)
    with neighbours(unet, 0), neighbours(unet, 1), neighbours(unet, 2), neighbours(unet, "middle"):
        torch.testing.assert_close(unet(xt, t), own.roll(1, 0))
    assert unet(xt, t).equal(own)


def test_each_route_carries_something(unet):
    xt, t = torch.randn(2, 1, 8, 8), torch.tensor([3, 3])
    own = unet(xt, t)
    for route in routes(unet):
        with neighbours(unet, route):
            assert not torch.allclose(unet(xt, t), own, atol=1e-3)
    with neighbours(unet, None):
        assert unet(xt, t).equal(own)


def test_exchange_ends_even_after_an_error(unet):
    xt, t = torch.randn(2, 1, 8, 8), torch.tensor([3, 3])
    own = unet(xt, t)
    with pytest.raises(ZeroDivisionError), neighbours(unet, 0):
        raise ZeroDivisionError
    assert unet(xt, t).equal(own)


def test_route_losses_are_losses_of_the_noise(unet):
    diffusion, x0 = DenoiseDiffusion(unet, 100), torch.rand(4, 1, 8, 8)
    losses = route_losses(diffusion, x0, (0, 50), seed=7, n_noises=2)
    assert list(losses) == [None, 0, 1, 2, "middle"]
    t = torch.full((4,), 50)
    noises = fresh_noise(x0.expand(2, -1, -1, -1, -1), 7)
    expected = torch.stack([unet(diffusion.q_sample(x0, t, eps), t) - eps for eps in noises]).square().mean()
    torch.testing.assert_close(losses[None][1], expected)
    assert losses[0][1] != losses[None][1]


def test_neighbours_that_are_the_same_image_with_the_same_noise_change_nothing(unet):
    x0 = torch.rand(1, 1, 8, 8).expand(3, -1, -1, -1)
    losses = route_losses(DenoiseDiffusion(unet, 100), x0, (10,), same_noise=True)
    for loss in losses.values():
        torch.testing.assert_close(loss, losses[None])


def test_with_the_same_noise_the_top_exchanged_is_all_below_exchanged(unet, rng):
    xt, t = torch.randn(2, 1, 8, 8, generator=rng(0)), torch.tensor([3, 3])
    with neighbours(unet, 0):
        top = unet(xt, t)
    with neighbours(unet, 1), neighbours(unet, 2), neighbours(unet, "middle"):
        torch.testing.assert_close(unet(xt, t).roll(1, 0), top)


def test_random_weights_are_seeded_and_nowhere_zero():
    one, same, other = (randomised(UNet(**SMALL, n_blocks=1), seed) for seed in (0, 0, 1))
    for p, q, r in zip(one.parameters(), same.parameters(), other.parameters(), strict=True):
        assert p.equal(q)
        assert not p.equal(r)
        assert p.all()


def test_gradients_wake_the_network_from_its_end():
    steps = list(first_steps(UNet(**SMALL, n_blocks=1), torch.rand(8, 1, 8, 8), n_steps=3, batch_size=4))
    final = 9 * 8 + 1
    n_parameters = sum(p.numel() for p in UNet(**SMALL, n_blocks=1).parameters())
    assert steps[0].reached == final / n_parameters
    assert steps[0].reached < steps[1].reached < steps[2].reached


def test_a_loud_network_learns_everywhere_at_once_and_starts_worse():
    torch.manual_seed(0)
    silent = next(first_steps(UNet(**SMALL, n_blocks=1), torch.rand(8, 1, 8, 8), 1, batch_size=8))
    (step,) = first_steps(loud(UNet(**SMALL, n_blocks=1)), torch.rand(8, 1, 8, 8), 1, batch_size=8)
    assert step.reached > 0.95
    assert step.loss > silent.loss


def test_first_steps_leave_the_callers_random_numbers_alone():
    torch.manual_seed(5)
    unet, expected = UNet(**SMALL, n_blocks=1), torch.rand(3)
    torch.manual_seed(5)
    unet = UNet(**SMALL, n_blocks=1)
    list(first_steps(unet, torch.full((4, 1, 8, 8), 0.5), 2, batch_size=2))
    assert torch.rand(3).equal(expected)

"""A network without some of its skips, held against the network itself."""

import statistics

import pytest
import torch

from ddpm_lesson import DenoiseDiffusion
from ddpm_lesson.lesson.ch08_down_up_middle import experiments as r
from ddpm_lesson.lesson.kit.exercise import numbers
from ddpm_lesson.lesson.kit.probe import fresh_noise
from ddpm_lesson.lesson.kit.xray import bridges


def test_without_skips_the_named_blocks_get_zeros_and_only_meanwhile(unet):
    xt, t = numbers(3, 1, 8, 8, seed=0), torch.tensor([5, 100, 800])
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
    xt, t, seen = numbers(2, 1, 8, 8, seed=0), torch.tensor([5, 800]), []
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


def test_unknown_up_blocks_are_refused(unet):
    with (
        pytest.raises(ValueError, match=r"names must be among up\.0, .*; got down\.0"),
        r.without_skips(unet, ["down.0"]),
    ):
        pass


def test_guess_without_any_change_is_that_of_the_diffusion(unet):
    diffusion = DenoiseDiffusion(unet, 1000)
    x0, t = numbers(4, 1, 8, 8, seed=0).tanh(), torch.full((4,), 300)
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

"""What notebook 07 says it found, and how to find it anew; images and noise come from seeds of their own."""

from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from ddpm_lesson.lesson.ch07_attention_block import experiments, eyes
from ddpm_lesson.lesson.ch07_attention_block.cost import map_bytes, memory
from ddpm_lesson.lesson.kit.claim import ClaimBook
from ddpm_lesson.lesson.kit.shipped import digits, network

BOOK = ClaimBook(7)
claim = BOOK.claim
WAY_UP = ("up.0.attn", "up.1.attn")


def scrambled(x: Tensor) -> Tensor:
    """The map (B, C, H, W) whose tokens are what a mere reshape makes of ``x``."""
    return x.reshape(len(x), -1, x.shape[1]).mT.reshape(x.shape)


@lru_cache
def trained(seed: int, kind: str) -> eyes.EyeDenoiser:
    """A denoiser of eyes of the kind "convolutions", "attention" or "scrambled"."""
    torch.manual_seed(seed)
    model = eyes.EyeDenoiser(eyes.eye_schedule(), has_attn=kind != "convolutions")
    if kind == "scrambled":
        model.middle.register_forward_pre_hook(lambda _, args: scrambled(*args))
        model.middle.register_forward_hook(lambda _, __, out: out.flatten(2).mT.reshape(out.shape))  # and back
    list(eyes.train_eyes(model, seed=seed))
    return model


@claim("the eyes match about half of the time", low=0.4, high=0.6, seeds=range(4), slow=True, kind="convolutions")
@claim("with attention they match in 99 pictures of 100 or more", low=0.99, seeds=range(4), slow=True, kind="attention")
@claim("such a block let the eyes match in 99 pictures of 100 or more", low=0.99, slow=True, kind="scrambled")
def matched(seed, kind):
    """The share of matching eyes among 200 drawn pictures."""
    return eyes.matching(eyes.draw_eyes(trained(seed, kind), seed=1000 + seed))


@claim("in three of the four that we tried", low=3, high=3, seeds=(0,), slow=True)
def trainings_below_the_floor(seed):
    floor = {s: eyes.best_error(eyes.eye_schedule(), sees_both=False, seed=2000 + s) for s in range(seed, seed + 4)}
    return sum(eyes.eye_error(trained(s, "attention"), seed=2000 + s) < each for s, each in floor.items())


@claim("the error fell by a tenth or two only", low=0.05, high=0.24, seeds=range(4), slow=True)
def fall_of_the_error(seed):
    error = {kind: eyes.eye_error(trained(seed, kind), seed=2000 + seed) for kind in ("convolutions", "attention")}
    return 1 - error["attention"] / error["convolutions"]


def unscaled(seed: int, d_k: int) -> Tensor:
    """Scores of 500 random queries with 16 random keys each, not scaled."""
    q, *k = torch.randn(17, 500, d_k, generator=torch.Generator().manual_seed(seed))
    return (q * torch.stack(k)).sum(-1).T


@claim("By 64, one or two keys take most of it in nearly every draw", low=0.95)
def draws_with_two_keys_at_64(seed):
    return (unscaled(seed, 64).softmax(-1).topk(2).values.sum(-1) > 0.5).float().mean()


@claim("by 1024 it is in two draws of three one single key, weight 1.000", low=0.6, high=0.75)
def draws_with_one_key_at_1024(seed):
    return (unscaled(seed, 1024).softmax(-1).amax(-1) >= 0.9995).float().mean()


@claim("With $1/d_k$ it fails the other way: at 1024 all weights are alike", low=15.9, high=16)
def keys_seen_at_1024_if_divided_by_the_width(seed):
    return experiments.effective_pixels((unscaled(seed, 1024) / 1024).softmax(-1)).mean()


@lru_cache
def noised(seed: int, t: int) -> tuple[Tensor, Tensor, Tensor]:
    """Four digits drawn by the network, noised with other noise: x_t, the times and eps."""
    at, eps = torch.full((4,), t), torch.randn(4, 1, 28, 28, generator=torch.Generator().manual_seed(5000 + seed + t))
    return network().q_sample(digits(seed, 4, 30), at, eps), at, eps


@claim("of twenty pixels or so three to six are left", low=2.5, high=6.5, slow=True)
@torch.no_grad()
def pixels_at_twice_the_scale(seed):
    block, x = network().eps_model.middle.attn, inputs(seed, 200)["middle.attn"]
    frozen = [experiments.with_frozen_norm(block, one).attention_map(2 * one) for one in x.split(1)]
    return experiments.effective_pixels(torch.stack(frozen)).mean()


def inputs(seed: int, t: int) -> dict[str, Tensor]:
    """What reaches each attention block."""
    return experiments.attention_inputs(network().eps_model, *noised(seed, t)[:2])


@claim("Each row varies by a factor of about two", low=1.7, high=2.4, slow=True)
def growth_of_what_is_normed(seed):
    spread = {name: [float(inputs(seed, t)[name].std()) for t in (0, 200, 500, 900)] for name in inputs(seed, 0)}
    return max((max(each) / min(each) for each in spread.values()), key=lambda factor: abs(factor - 2))


@lru_cache
def reaches(seed: int, t: int) -> dict[str, experiments.Reach]:
    """How far each block looks, on average over queries and digits."""
    maps = experiments.looks(network().eps_model, *noised(seed, t)[:2])[1]
    found = {name: torch.tensor([experiments.reach(one) for one in each[:, 0]]) for name, each in maps.items()}
    return {name: experiments.Reach(*each.mean(0).tolist()) for name, each in found.items()}


@claim("60 to 70 % of the look goes further than two pixels", low=0.6, high=0.7, slow=True)
def far_looks_below(seed):
    far = [reaches(seed, t)[name].far for t in (0, 300, 900) for name in ("down.4.attn", "middle.attn")]
    return max(far, key=lambda share: abs(share - 0.65))


@claim("look a little nearer, with 45 to 65 %", low=0.45, high=0.65, slow=True)
def far_looks_on_the_way_up(seed):
    return max((reaches(seed, t)[name].far for t in (0, 300, 900) for name in WAY_UP), key=lambda s: abs(s - 0.55))


@claim("at most a quarter of the weight stays", high=0.25, slow=True)
def looks_at_itself(seed):
    return max(each.own for t in (0, 300, 900) for each in reaches(seed, t).values())


@claim("at $t = 300$ it is spread over fewer pixels than at either end", high=0.95, slow=True)
def narrowing_by_some_noise(seed):
    here, ends = reaches(seed, 300), [reaches(seed, t) for t in (0, 900)]
    return max(here[name].pixels / end[name].pixels for end in ends for name in ("middle.attn", *WAY_UP))


@claim("while `down.4.attn` hardly narrows", low=0.85, slow=True)
def narrowing_on_the_way_down(seed):
    return reaches(seed, 300)["down.4.attn"].pixels / reaches(seed, 0)["down.4.attn"].pixels


@claim("At $t = 900$ all four look most evenly, at about 40 of the 49 pixels", low=36, high=45, slow=True)
def evenness_at_900(seed):
    return max((each.pixels for each in reaches(seed, 900).values()), key=lambda pixels: abs(pixels - 40))


@claim("Without a border all places hold the same numbers, to the last digit shown", high=5e-4, seeds=(0, 200, 900))
def spread_of_places_without_a_border(seed):
    model = experiments.without_border(network().eps_model)
    x = experiments.attention_inputs(model, torch.zeros(1, 1, 28, 28), torch.tensor([seed]))["down.4.attn"]
    return x.std((2, 3)).mean()


@torch.no_grad()
def errors(seed: int, t: int) -> tuple[float, float]:
    """Mean squared error of the network with its border and without."""
    xt, at, eps = noised(seed, t)
    models = network().eps_model, experiments.without_border(network().eps_model)
    return tuple(float(F.mse_loss(model(xt, at), eps)) for model in models)


@claim("by the largest factor at $t = 900$, about ten", low=7, high=15, slow=True)
def factor_without_a_border_at_900(seed):
    factors = {t: errors(seed, t)[1] / errors(seed, t)[0] for t in (100, 500, 900)}
    return factors[900] if factors[900] == max(factors.values()) else float("nan")


@claim("and by the largest amount in the middle", low=1, slow=True)
def amount_without_a_border_in_the_middle(seed):
    amounts = {t: errors(seed, t)[1] - errors(seed, t)[0] for t in (100, 500, 900)}
    return amounts[500] / max(amounts[100], amounts[900])


@claim("the peak is about two maps", low=1.9, high=2.1, seeds=(0,))
def maps_held_by_hand(seed):
    q = torch.randn(3, 1, 1, 32**2, 64, generator=torch.Generator().manual_seed(seed))
    return memory(experiments.attention, *q).peak / map_bytes(32)

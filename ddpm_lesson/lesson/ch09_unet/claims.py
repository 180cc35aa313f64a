"""What notebook 09 says it found, and how to find it anew; noise is never that of which the images were drawn."""

from functools import lru_cache

import torch
from torch import Tensor

from ddpm_lesson.data import load_images
from ddpm_lesson.lesson.ch09_unet.experiments import (
    FirstStep,
    Route,
    costs,
    first_steps,
    loud,
    neighbours,
    route_losses,
)
from ddpm_lesson.lesson.ch09_unet.proofs import PAPER
from ddpm_lesson.lesson.kit.claim import ClaimBook
from ddpm_lesson.lesson.kit.shipped import DIGITS, REAL, digits, network
from ddpm_lesson.lesson.kit.xray import blank_unet
from ddpm_lesson.sample import sample
from ddpm_lesson.unet import UNet

BOOK = ClaimBook(9)
claim = BOOK.claim
TIMES = (0, 50, 100, 200, 300, 400, 600, 900)


@lru_cache
def run(seed: int, silent: bool) -> list[FirstStep]:
    """The first 40 steps of a training, with branches at zero or with nothing at zero."""
    torch.manual_seed(seed)
    unet = UNet(1, 32, (1, 2), (False, True), 1, n_groups=8)
    return list(first_steps(unet if silent else loud(unet), load_images("digits")[:256], n_steps=40))


@claim(
    "In the first step only the last convolution learns, a tiny share of all parameters", high=0.001, slow=True, step=0
)
@claim("In the third, everything learns", low=0.999, slow=True, step=2)
def reached(seed, step):
    return run(seed, True)[step].reached


@claim("the other network starts\n*above* 1", low=1.1, slow=True)
def loud_start(seed):
    return run(seed, False)[0].loss


@claim("Its first step even makes it worse", low=1.1, slow=True)
def loud_second_step(seed):
    return run(seed, False)[1].loss / run(seed, False)[0].loss


@claim("It is still behind after 40 steps", low=1.05, slow=True)
def loud_end(seed):
    last = [sum(step.loss for step in run(seed, silent)[-5:]) for silent in (True, False)]
    return last[1] / last[0]


def work(side: int = 32, **changes: object) -> int:
    """Multiply-adds of the paper's network, changed."""
    return sum(cost.macs for cost in costs(blank_unet(**PAPER | changes), side))


@claim("Multiply-adds rise by 3.76", low=3.755, high=3.765, seeds=(0,))
def work_of_twice_the_side(_):
    return work(64, is_attn=(False, False, True, False)) / work()


@claim("The work: 29 % more", low=0.285, high=0.295, seeds=(0,))
def work_of_attention_everywhere(_):
    return work(is_attn=(True,) * 4) / work() - 1


@lru_cache
def losses(seed: int, same_noise: bool) -> dict[Route, Tensor]:
    """With one route after the other swapped, at each of the times."""
    return route_losses(network(), digits(seed, n_steps=25), TIMES, same_noise=same_noise, seed=seed)


def added(seed: int, same_noise: bool, route: Route) -> Tensor:
    """What a swapped route adds to the loss, at each of the times."""
    return losses(seed, same_noise)[route] - losses(seed, same_noise)[None]


def baseline(seed: int, t: int) -> float:
    """The loss of answering with x_t, as in the notebook."""
    a = float(network().alpha_bar[t])
    return a * float(digits(seed, n_steps=25).square().mean()) + (1 - (1 - a) ** 0.5) ** 2


@claim("At $t = 900$ the network's loss is about 0.4 times the baseline's", low=0.3, high=0.5, seeds=DIGITS, slow=True)
def loss_beside_the_baseline_at_900(seed):
    return losses(seed, False)[None][-1] / baseline(seed, 900)


@claim("both are below 0.001", high=0.001, seeds=DIGITS, slow=True)
def baseline_at_900(seed):
    return max(baseline(seed, 900), float(losses(seed, False)[None][-1]))


@claim("in the first row they lose about 0.15 only", low=0.12, high=0.18, seeds=(REAL,), slow=True)
def loss_of_real_digits_at_0(seed):
    return losses(seed, False)[None][0]


@claim("Real test digits lose a little less, on average over the rows by up to a quarter", low=0.75, high=1, slow=True)
def real_beside_drawn(seed):
    return (losses(REAL, False)[None][1:] / losses(seed, False)[None][1:]).mean()


@claim("the loss rises to nearly 2 at $t = 900$", low=1.9, high=2.05, seeds=DIGITS, slow=True)
def noise_of_the_neighbour(seed):
    return losses(seed, False)[0][-1]


@claim("plugging any other route wrongly costs 0.06 at most", high=0.06, seeds=DIGITS, slow=True)
def other_routes(seed):
    return max(float(added(seed, False, route).max()) for route in (1, 2, "middle"))


@claim("nothing that shows at $t = 900$", high=0.001, seeds=DIGITS, slow=True)
def known_below_at_900(seed):
    return added(seed, True, 0)[-1]


@claim("most at $t$ of 200 or 300", low=200, high=300, seeds=DIGITS, slow=True)
def time_of_most_known_below(seed):
    return TIMES[int(added(seed, True, 0).argmax())]


def share_at_14(seed: int, t: int) -> float:
    """What 14x14 alone adds, over what all deep routes add together."""
    i = TIMES.index(t)
    return float(added(seed, True, 1)[i] / added(seed, True, 0)[i])


@claim("More than half at $t = 200$", low=0.5, seeds=DIGITS, slow=True)
def share_at_14_at_200(seed):
    return share_at_14(seed, 200)


@claim("less than half from 400 on", high=0.5, seeds=DIGITS, slow=True)
def share_at_14_from_400(seed):
    return max(share_at_14(seed, t) for t in (400, 600))


@claim("Its peak comes earlier than that of the middle", low=100, seeds=DIGITS, slow=True)
def delay_of_the_middle(seed):
    first, second = (TIMES[int(added(seed, True, route).argmax())] for route in (1, "middle"))
    return second - first


@claim("which at $t = 600$ does more than 14×14", low=1e-4, seeds=DIGITS, slow=True)
def middle_beside_14_at_600(seed):
    i = TIMES.index(600)
    return added(seed, True, "middle")[i] - added(seed, True, 1)[i]


@claim("routes that add 0.015 to the loss at most", high=0.015, seeds=DIGITS, slow=True)
def deep_routes(seed):
    return max(float(added(seed, same, route).max()) for same in (True, False) for route in (2, "middle"))


def flipped(seed: int, route: Route) -> float:
    """The share of pixels that change between ink and paper if a route is swapped in every step of a sampling."""
    with neighbours(network().eps_model, route):
        swapped = sample(network(), (24, 1, 28, 28), 25, torch.Generator().manual_seed(seed))
    return float(((swapped > 0) != (digits(seed, n_steps=25) > 0)).float().mean())


@claim("14×14 changes the most pixels", low=1, slow=True)
def pixels_changed_by_14(seed):
    return flipped(seed, 1) / max(flipped(seed, 2), flipped(seed, "middle"))

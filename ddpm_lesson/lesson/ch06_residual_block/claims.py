"""The sentences of notebook 06 that state what a trial found, each with the trial."""

import functools

import torch

from ddpm_lesson import checkpoint, load_images
from ddpm_lesson.lesson.ch06_residual_block.experiments import (
    BlockStack,
    first_gradient,
    look_inside,
    residual_blocks,
    share_kept,
    shifts,
    short_training,
    spread_loss,
    surviving_shift,
)
from ddpm_lesson.lesson.kit.claim import ClaimBook
from ddpm_lesson.sample import sample

BOOK = ClaimBook(6)
claim = BOOK.claim
NO_SHORTCUT, NO_NORM, NEITHER = ("shortcut",), ("norm", "silence"), ("shortcut", "norm")


@claim("The same image with the same noise gets other numbers", low=0.5)
def batch_norm_leaks(seed: int) -> float:
    """Largest change of image 0 when its companions move from t = 0 to t = 999."""
    model, x0 = checkpoint.load("digits"), load_images("digits", "test")[8 * seed : 8 * seed + 8]
    eps = torch.randn(x0.shape, generator=torch.Generator().manual_seed(seed))
    norm, first = torch.nn.BatchNorm2d(model.eps_model.image_proj.out_channels), []
    for others in (0, 999):
        xt = model.q_sample(x0, torch.tensor([100] + 7 * [others]), eps)
        first.append(norm(model.eps_model.image_proj(xt))[0].detach())
    return float((first[0] - first[1]).abs().max())


@claim("the learned shift loses little, and hardly a random layer keeps as much", high=0.02)
def chance_that_keeps_as_much(seed: int) -> float:
    """Share of random layers that keep as much as the learned one, at most, in blocks of three channels a group."""
    model, worst = checkpoint.load("mnist").eval(), 0.0
    generator = torch.Generator().manual_seed(seed)
    for block in residual_blocks(model.eps_model).values():
        groups, channels = block.norm2.num_groups, block.norm2.num_channels
        if channels == 3 * groups:
            learned = share_kept(shifts(model.eps_model, block, 1000), groups)
            read = block.time_act(model.eps_model.time_emb(torch.arange(1000))).detach()
            layers = torch.randn(200, read.shape[1], channels, generator=generator)
            worst = max(worst, sum(share_kept(read @ layer, groups) >= learned for layer in layers) / 200)
    return worst


@claim("Channel 0 of the first block is lifted by more than 10", low=10, seeds=(0,))
def lift_of_channel_0(seed: int) -> float:
    """The largest shift that survives, over all times."""
    model = checkpoint.load("mnist")
    block = model.eps_model.down[0].res
    return float(surviving_shift(shifts(model.eps_model, block, 1000), block.norm2.num_groups)[:, 0].max())


def share_off(seed: int, told: int) -> list[float]:
    """Share of the channels that are off in four blocks, told a time about a digit noised to t = 100."""
    model = checkpoint.load("mnist").eval()
    x0 = sample(model, (1, 1, 28, 28), n_steps=20, generator=torch.Generator().manual_seed(5 + seed)).sign()
    eps = torch.randn(x0.shape, generator=torch.Generator().manual_seed(100 + seed))
    names = ("down.0.res", "down.2.res", "middle.res1", "up.7.res")
    xt = model.q_sample(x0, torch.tensor([100]), eps)
    views = look_inside(model.eps_model, xt, torch.tensor([told]), names)
    return [float((view.seen.amax((2, 3)) <= 0).double().mean()) for view in views.values()]


@claim("each of these blocks switches off a fifth of its channels or more", low=0.19)
def off_when_late(seed: int) -> float:
    """The least share of four blocks."""
    return min(share_off(seed, 999))


@claim("told $t = 100$, next to none", high=0.06)
def off_when_early(seed: int) -> float:
    """The largest share of four blocks."""
    return max(share_off(seed, 100))


@claim("it too keeps its direction", low=0.95)
def direction_with_shortcut(seed: int) -> float:
    """Cosine without norm."""
    return first_gradient(NO_NORM, seed=seed)[1]


@claim("cosine between 0.2 and 0.7, depending on the seed", low=0.15, high=0.75, seeds=range(6))
def direction_without_shortcut(seed: int) -> float:
    """Cosine for a move of a tenth."""
    return first_gradient(NO_SHORTCUT, seed=seed)[1]


@claim("for a move of 0.01 it still stands", low=0.95)
def direction_of_a_small_move(seed: int) -> float:
    """Cosine without shortcut for a move of a hundredth."""
    return first_gradient(NO_SHORTCUT, moved=0.01, seed=seed)[1]


@claim("now it vanishes, to less than $10^{-11}$ of what arrived", high=1e-11)
def size_without_both(seed: int) -> float:
    """Size with neither norm nor shortcut."""
    return first_gradient(NEITHER, seed=seed)[0]


def growth(without: tuple[str, ...], seed: int) -> float:
    """Size with three times the weights over that with the weights as they are."""
    return first_gradient(without, factor=3, seed=seed)[0] / first_gradient(without, seed=seed)[0]


@claim("change the size about fivefold with shortcut", low=4, high=6)
def growth_with_shortcut(seed: int) -> float:
    """Norm and shortcut."""
    return growth(("silence",), seed)


@claim("some twentyfold without", low=13, high=27)
def growth_without_shortcut(seed: int) -> float:
    """Norm alone."""
    return growth(NO_SHORTCUT, seed)


@claim("Without norm the gradient explodes, by thirteen powers of ten and more", low=1e13)
def growth_without_norm(seed: int) -> float:
    """Shortcut alone, and neither: the smaller growth."""
    return min(growth(without, seed) for without in (NO_NORM, NEITHER))


@claim("The branches fall silent, the $I$ is left, and the size is 1, with or without norm", high=0.05)
def distance_from_one(seed: int) -> float:
    """Of the size, with a tenth of the weights."""
    return max(abs(first_gradient(w, factor=0.1, seed=seed)[0] - 1) for w in (("silence",), NO_NORM))


@claim("it vanishes, to less than $10^{-11}$, though both norms are there", high=1e-11)
def size_of_small_weights(seed: int) -> float:
    """Without shortcut, a tenth of the weights."""
    return first_gradient(NO_SHORTCUT, factor=0.1, seed=seed)[0]


@claim("a tenth of the weights leaves the gradient at 2 or more", low=2)
def size_of_small_weights_without_time(seed: int) -> float:
    """Without shortcut and without the time's shift, a tenth of the weights."""
    return first_gradient(NO_SHORTCUT, factor=0.1, deaf=True, seed=seed)[0]


@functools.cache
def trained(part: str, n_blocks: int, n_steps: int, seed: int, threads: int) -> float:
    """Loss on new digits after a short training without a part; ``threads`` keeps what each found apart."""
    model = BlockStack(n_blocks=n_blocks, without=(part,) if part else (), seed=seed)
    for _ in short_training(model, load_images("digits", "train")[:], n_steps, seed=seed):
        pass
    return spread_loss(model, load_images("digits", "test")[:200])


def loss_without(part: str, seed: int, n_blocks: int = 6, n_steps: int = 150) -> float:
    """As in section 9."""
    return trained(part, n_blocks, n_steps, seed, torch.get_num_threads())


@claim("**The shortcut is missed most**", low=1.1, slow=True)
def shortcut_over_the_next(seed: int) -> float:
    """Loss without shortcut over the largest of the others."""
    return loss_without("shortcut", seed) / max(loss_without(part, seed) for part in ("", "silence", "norm", "time"))


@claim("the loss without shortcut lay between 0.18 and 0.3", low=0.175, high=0.305, slow=True)
def loss_without_shortcut(seed: int) -> float:
    """On 200 new digits."""
    return loss_without("shortcut", seed)


@claim("all others between 0.13 and 0.18", low=0.125, high=0.185, slow=True)
def loss_of_the_others(seed: int) -> float:
    """The largest of them."""
    return max(loss_without(part, seed) for part in ("", "silence", "norm", "time"))


@claim("without shortcuts hardly anything is learned", low=0.8, slow=True)
def deep_without_shortcut(seed: int) -> float:
    """Loss of 16 blocks after 40 steps."""
    return loss_without("shortcut", seed, 16, 40)

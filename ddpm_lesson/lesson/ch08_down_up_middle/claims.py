"""What notebook 08 says it found, and how to find it anew; noise is never that of which the images were drawn."""

from functools import lru_cache
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import nn

from ddpm_lesson.data import load_images
from ddpm_lesson.diffusion import DenoiseDiffusion
from ddpm_lesson.lesson.ch08_down_up_middle.experiments import guess_without, train_without, up_blocks
from ddpm_lesson.lesson.ch08_down_up_middle.upsampling import learn_upsampling
from ddpm_lesson.lesson.ch08_down_up_middle.windows import convolutions_only, extent, stage_influences
from ddpm_lesson.lesson.kit.claim import ClaimBook
from ddpm_lesson.lesson.kit.probe import fresh_noise
from ddpm_lesson.lesson.kit.shipped import DIGITS, digits, network
from ddpm_lesson.lesson.kit.xray import layers
from ddpm_lesson.unet import UNet, Upsample

BOOK = ClaimBook(8)
claim = BOOK.claim
TIMES = (20, 100, 300, 600, 900)
FULL_SIZE = ("up.6", "up.7")


@lru_cache
def spent(side: int) -> tuple[int, int]:
    """Weights and multiply-adds of the convolutions at a resolution."""
    here = [one for one in layers(network().eps_model, 28) if one.kind == "Conv2d" and one.shape[1] == side]
    return sum(one.parameters for one in here), sum(one.macs for one in here)


@claim("The lowest level holds most of the weights", low=0.5, seeds=(0,))
def weights_below(_):
    return spent(7)[0] / sum(spent(side)[0] for side in (28, 14, 7))


@claim("costs about as much as each of the others", low=0.8, high=1.2, seeds=(28, 14))
def work_below(side):
    return spent(7)[1] / spent(side)[1]


@lru_cache
def growth_by_stage(image_size: int) -> dict[str, int]:
    """By how much the window grows at every stage, with convolutions only; ``final`` holds the whole side."""
    found = stage_influences(convolutions_only(network().eps_model), fresh_noise(torch.zeros(1, 1, *[image_size] * 2)))
    ends = {name: extent(seen) for name, seen in found.items()}
    sides = {name: max(bottom - top, right - left) + 1 for name, (top, bottom, left, right) in ends.items()}
    grown = {name: sides[name] - sides[before] for before, name in pairwise(sides)}
    return grown | {"final": sides["final"]}


@claim("to 133 pixels", low=133, high=133, seeds=(144,), slow=True)
def window_at_the_end(image_size):
    return growth_by_stage(image_size)["final"]


@claim("by 16 in each block at 7 x 7", low=16, high=16, seeds=(144,), slow=True)
def growth_at_7(image_size):
    return sum(growth_by_stage(image_size)[name] for name in ("up.0", "up.1")) / 2


@claim("by 8 or less later", high=8, seeds=(144,), slow=True)
def growth_later(image_size):
    grown = growth_by_stage(image_size)
    return max(grown[name] for name in grown if name > "up.1" and name.startswith("up"))


@claim("Make all weights\n  positive, and there are none.", high=0)
def specks_without_signs(seed):
    model = convolutions_only(network().eps_model)
    for parameter in model.parameters():
        parameter.abs_()
    xt = fresh_noise(torch.zeros(1, 1, 80, 80), seed)
    seen = stage_influences(model, xt, 500, ["down.4"])["down.4"]
    top, bottom, left, right = extent(seen)
    window = seen[top : bottom + 1, left : right + 1]
    around = F.unfold(window[None, None], 3).median(1).values.flatten()
    return (window[1:-1, 1:-1].flatten() < around / 5).float().mean()


@lru_cache
def loss(seed: int, t: int, names: tuple[str, ...] = (), below: tuple[str, ...] = ()) -> float:
    """Of the network, without some inputs of its up blocks."""
    return guess_without(network(), digits(seed), t, names, below=below, seed=seed).loss


@claim("comes out about a quarter of what it is", low=0.15, high=0.35, slow=True)
@torch.no_grad()
def loss_by_the_noise_of_the_picture(seed):
    x0, t = digits(seed), torch.full((24,), 100)
    found = []
    for eps in (torch.randn(x0.shape, generator=torch.Generator().manual_seed(seed)), fresh_noise(x0)):
        found.append(F.mse_loss(network().eps_model(network().q_sample(x0, t, eps), t), eps))
    return found[0] / found[1]


@claim("about one and a half times as large at $t = 100$", low=1.3, high=1.8, seeds=DIGITS, slow=True, t=100)
@claim("about twice as large at $t = 300$", low=1.7, high=2.7, seeds=DIGITS, slow=True, t=300)
@claim("at $t = 600$ it rises by less than a quarter", low=1, high=1.25, seeds=DIGITS, slow=True, t=600)
def other_padding(seed, t):
    """The loss with the other padding over that with the right one."""
    other = UNet(**network().eps_model.settings | {"downsample": "symmetric"})
    other.load_state_dict(network().eps_model.state_dict())
    moved = DenoiseDiffusion(other, schedule=network().schedule)
    return guess_without(moved, digits(seed), t, seed=seed).loss / loss(seed, t)


@lru_cache
@torch.no_grad()
def doubled(seed: int, kind: str, n_steps: int) -> tuple[float, float]:
    """Standard deviation on grey and loss on test digits of a small network around a layer of a kind."""
    torch.manual_seed(seed)
    kinds = {
        "kernel 3": nn.ConvTranspose2d(16, 16, kernel_size=3, stride=2, padding=1, output_padding=1),
        "kernel 4": Upsample(16, "transposed"),
        "nearest": Upsample(16),
    }
    with torch.enable_grad():
        learned = learn_upsampling(kinds[kind], load_images("digits")[:], n_steps, seed)
    test = load_images("digits", "test")[:]
    spread = learned(torch.zeros(1, 1, 12, 12))[..., 4:20, 4:20].std()
    return float(spread), float(F.mse_loss(learned(F.avg_pool2d(test, 2)), test))


@claim("twofold to thirtyfold in the six seeds that we tried", low=2, high=30, seeds=range(6), slow=True)
def growth_of_the_pattern(seed):
    grown = [doubled(seed, kind, 200)[0] / doubled(seed, kind, 0)[0] for kind in ("kernel 3", "kernel 4")]
    return max(grown, key=lambda growth: abs(growth - 16))


@claim("to a standard deviation between 0.02 and 0.16", low=0.02, high=0.16, seeds=range(6), slow=True)
def strength_of_the_pattern(seed):
    return max((doubled(seed, kind, 200)[0] for kind in ("kernel 3", "kernel 4")), key=lambda s: abs(s - 0.09))


@claim("Only the last is 0 for every seed", high=1e-6, seeds=range(6), slow=True)
def pattern_of_repeated_pixels(seed):
    return doubled(seed, "nearest", 200)[0]


@claim(
    'the transposed layer with kernel 4 is even a little better than "nearest + conv", by 3 to 12 %',
    low=0.03,
    high=0.12,
    seeds=range(6),
    slow=True,
)
def gain_by_kernel_4(seed):
    return 1 - doubled(seed, "kernel 4", 200)[1] / doubled(seed, "nearest", 200)[1]


@claim("The one is below a loss of 0.3 within two dozen steps", high=24, slow=True)
def steps_with_skips(seed):
    losses = train_without((), load_images("digits", image_size=16), seed)[1]
    return next(i for i, value in enumerate(losses, 1) if value < 0.3)


@claim("the other is still above 0.5 after a hundred", low=0.5, slow=True)
def loss_without_skips(seed):
    return sum(train_without(None, load_images("digits", image_size=16), seed)[1][-10:]) / 10


def added(seed: int, t: int, name: str) -> float:
    """What the loss rises by if an up block gets zeros in place of its skip."""
    return loss(seed, t, (name,)) - loss(seed, t)


@claim("at each of these $t$ at least five times as much as any other", low=5, seeds=DIGITS, slow=True)
def skips_of_full_size_against_others(seed):
    others = [name for name in up_blocks(network().eps_model) if name not in FULL_SIZE]
    return min(
        min(added(seed, t, name) for name in FULL_SIZE) / max(added(seed, t, name) for name in others) for t in TIMES
    )


@claim("`up.3` adds about a hundredth at $t = 100$", low=0.005, high=0.018, seeds=DIGITS, slow=True)
def skip_at_14(seed):
    return added(seed, 100, "up.3")


@claim("Those at 7 x 7 add less than 0.002 at any of these $t$", high=0.002, seeds=DIGITS, slow=True)
def skips_at_7(seed):
    return max(added(seed, t, name) for t in TIMES for name in ("up.0", "up.1"))


@claim("a missing skip of full resolution costs most at small $t$", low=1, seeds=DIGITS, slow=True)
def skips_of_full_size_at_small_t(seed):
    return min(added(seed, 20, name) / added(seed, t, name) for name in FULL_SIZE for t in TIMES[1:])


@claim("without any skips about 1, as if it guessed nothing", low=0.95, high=1.06, seeds=DIGITS, slow=True)
def loss_without_any_skip(seed):
    return loss(seed, 900, tuple(up_blocks(network().eps_model)))


@claim("At $t = 900$ the whole network has almost no loss", high=0.0003, seeds=DIGITS, slow=True)
def loss_at_900(seed):
    return loss(seed, 900)


@claim("at $t = 20$ the loss is 1.1 to 1.2 times as large", low=1.05, high=1.25, seeds=DIGITS, slow=True, t=20)
@claim("at $t = 100$ 1.3 to 1.4 times", low=1.25, high=1.45, seeds=DIGITS, slow=True, t=100)
@claim("at $t = 300$ 1.7 to 2.2 times", low=1.6, high=2.3, seeds=DIGITS, slow=True, t=300)
def coarse_levels(seed, t):
    """The loss without what is coarser than 28 x 28, over that of the whole network."""
    return loss(seed, t, below=("up.6",)) / loss(seed, t)

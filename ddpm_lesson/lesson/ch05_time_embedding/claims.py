"""The sentences of notebook 05 that state what a trial found, each with the trial."""

import functools

import torch
from torch import Tensor, nn

from ddpm_lesson import NoiseSchedule, checkpoint, load_images
from ddpm_lesson.lesson.ch05_time_embedding.experiments import (
    CLOCKS,
    added_by_blocks,
    answers,
    excess_error,
    loss_when_told,
    price_of_no_clock,
    time_posterior,
    timeless_eps,
    train_on_line,
)
from ddpm_lesson.lesson.kit.claim import ClaimBook
from ddpm_lesson.lesson.kit.mixture import TWO_BUMPS

BOOK = ClaimBook(5)
claim = BOOK.claim
LINE = NoiseSchedule.linear(200, beta_start=0.0005, beta_end=0.1)
GRID = torch.linspace(-4, 4, 801, dtype=torch.float64)


def price() -> float:
    """(5.2) on the line: what not knowing t costs."""
    return float(excess_error(timeless_eps(TWO_BUMPS, LINE, GRID[:, None])[:, 0], TWO_BUMPS, LINE, GRID).mean())


@claim("The average loss goes up from 0.17 to 0.20", low=0.195, high=0.205, seeds=(0,))
def loss_without_clock(seed: int) -> float:
    """The floor and the price."""
    return 1 - float(excess_error(torch.zeros(801), TWO_BUMPS, LINE, GRID).mean()) + price()


@functools.cache
def race(clock: str, seed: int, threads: int) -> float:
    """Error above the floor after the training of section 9; ``threads`` keeps what each found apart."""
    said = answers(train_on_line(clock, TWO_BUMPS, LINE, train_steps=1000, lr=0.01, seed=seed), GRID)
    return float(excess_error(said, TWO_BUMPS, LINE, GRID).mean())


def finish(clock: str, seed: int) -> float:
    """Error of a clock, with as many threads as there are."""
    return race(clock, seed, torch.get_num_threads())


@claim("The same number, to within one per cent", high=0.01, slow=True)
def trained_off_the_formula(seed: int) -> float:
    """Relative distance of the trained network's excess from the price."""
    return abs(finish("none", seed) / price() - 1)


def posterior_spread(n_pixels: int, seed: int) -> float:
    """Standard deviation of p(t | x_t) for an image of independent pixels made at t = 40."""
    generator, a = torch.Generator().manual_seed(seed), float(LINE.alpha_bar[40])
    eps = torch.randn(n_pixels, dtype=torch.float64, generator=generator)
    weight = time_posterior(
        TWO_BUMPS, LINE, (a**0.5 * TWO_BUMPS.sample(n_pixels, generator) + (1 - a) ** 0.5 * eps)[None]
    )
    t = torch.arange(LINE.n_steps)
    return float((weight * (t - (weight * t).sum()) ** 2).sum().sqrt())


@claim("A single pixel knows almost nothing", low=30, seeds=range(5))
def spread_of_one_pixel(seed: int) -> float:
    """Steps; 58 would be no knowledge."""
    return posterior_spread(1, seed)


@claim("3072 pixels know $t$ to within a step or two", high=2.5, seeds=range(5))
def spread_of_many_pixels(seed: int) -> float:
    """Steps."""
    return posterior_spread(3072, seed)


@claim("The smaller the image, the more it matters", low=2)
def price_of_small_over_large(seed: int) -> float:
    """One pixel over 64."""
    return price_of_no_clock(TWO_BUMPS, LINE, 1, 4096, seed) / price_of_no_clock(TWO_BUMPS, LINE, 64, 128, seed)


def reading_error(together: bool, seed: int) -> float:
    """Root mean square error, in steps, of a small network that reads t = 100 off new 8x8 digits.

    Args:
        together: pixels of an image stay together; otherwise each is drawn by itself.
        seed: of weights, images, times and noise.
    """
    schedule, generator = NoiseSchedule.linear(), torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    network = nn.Sequential(nn.Linear(64, 128), nn.SiLU(), nn.Linear(128, 128), nn.SiLU(), nn.Linear(128, 1))
    optimizer = torch.optim.Adam(network.parameters(), 2e-3)

    def noisy(split: str, t: Tensor) -> Tensor:
        x0 = load_images("digits", split)[:].flatten(1)
        pool = x0 if together else x0.flatten()
        shape = (len(t),) if together else (len(t), 64)
        a = schedule.alpha_bar[t, None]
        x0 = pool[torch.randint(len(pool), shape, generator=generator)]
        return a.sqrt() * x0 + (1 - a).sqrt() * torch.randn(x0.shape, generator=generator)

    for _ in range(500):
        t = torch.randint(1000, (128,), generator=generator)
        loss = (network(noisy("train", t))[:, 0] - t / 1000).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        said = network(noisy("test", torch.full((1000,), 100)))
    return 1000 * float((said - 0.1).square().mean().sqrt())


@claim("errs more than twice as much when the same pixel values are drawn independently", low=2, slow=True)
def independent_over_real(seed: int) -> float:
    """Error without resemblance of neighbours over that with it."""
    return reading_error(False, seed) / reading_error(True, seed)


@claim("**Any clock beats none, on average.**", high=0.8, slow=True)
def worst_clock_over_none(seed: int) -> float:
    """Error above the floor, relative."""
    return max(finish(clock, seed) for clock in CLOCKS[1:]) / finish("none", seed)


@claim("already recovers more than nine tenths of the price of section 2", low=0.9, slow=True)
def recovered_by_share(seed: int) -> float:
    """By t / T."""
    return 1 - finish("t / T", seed) / finish("none", seed)


@claim("nothing is last, the sinusoids first", low=1, slow=True)
def next_over_sinusoids(seed: int) -> float:
    """The best of the others."""
    return min(finish(clock, seed) for clock in CLOCKS[:-1]) / finish("sinusoids", seed)


@claim("between 1.2 and 16 times that of the sinusoids", low=1.15, high=16.5, seeds=range(4), slow=True)
def number_over_sinusoids(seed: int) -> float:
    """The whole number."""
    return finish("t", seed) / finish("sinusoids", seed)


@claim("Its error is about two to three times that of the sinusoids", low=1.8, high=3.2, seeds=range(4), slow=True)
def share_over_sinusoids(seed: int) -> float:
    """The number t / T."""
    return finish("t / T", seed) / finish("sinusoids", seed)


def far_20_steps(name: str) -> Tensor:
    """How far 20 steps lead from every t in what the blocks add, in units of the spread: (980,)."""
    v = added_by_blocks(checkpoint.load(name).eps_model, torch.arange(1000))
    return (v[20:] - v[:-20]).norm(dim=1) / v.std(0).norm()


@claim("The very first times stay farthest apart from their neighbours", high=30, seeds=(0,))
def farthest_time(seed: int) -> float:
    """The t from which 20 steps lead farthest, the later of two networks."""
    return max(float(far_20_steps(name).argmax()) for name in ("digits", "mnist"))


@claim("they are more than one and a half times as long as at $t = 70$", low=1.5, seeds=(0,))
def late_length_over_early(seed: int) -> float:
    """The shortest from t = 500 on, in both networks."""
    with torch.no_grad():
        networks = (checkpoint.load(name).eps_model for name in ("digits", "mnist"))
        lengths = [network.time_emb(torch.arange(1000)).norm(dim=1) for network in networks]
    return min(float(length[500:].min() / length[70]) for length in lengths)


@claim("the late times are told apart about as well as those around 300", low=0.7, high=1.4, seeds=(0,))
def late_over_middle(seed: int) -> float:
    """20 steps from 900 on over 20 steps around 300, in MNIST's network."""
    far = far_20_steps("mnist")
    return float(far[900:].mean() / far[250:350].mean())


@torch.no_grad()
def told(time: int, seed: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """x_0, noise, x_t and the answer of the digits' network for 200 new digits at t = 249, told another time."""
    model, x0 = checkpoint.load("digits").eval(), load_images("digits", "test")[:200]
    eps = torch.randn(x0.shape, generator=torch.Generator().manual_seed(100 + seed))
    xt = model.q_sample(x0, torch.full((200,), 249), eps)
    return x0, eps, xt, model.eps_model(xt, torch.full((200,), time))


def root_mean_square(time: int, seed: int) -> float:
    """Of the answer."""
    return float(told(time, seed)[3].square().mean().sqrt())


@claim("root mean square 1.2 to 1.35", low=1.19, high=1.37)
def size_told_99(seed: int) -> float:
    """Told 99."""
    return root_mean_square(99, seed)


@claim("told the truth 0.9", low=0.88, high=0.95)
def size_told_the_truth(seed: int) -> float:
    """Told 249."""
    return root_mean_square(249, seed)


@claim("what $\\hat x_0$ keeps of $\\epsilon$ is *negative*", high=-0.03)
def noise_kept(seed: int) -> float:
    """b in the least squares fit x0_hat = a x_0 + b eps, the larger of those told 20 and 99."""
    kept = []
    for time in (20, 99):
        x0, eps, xt, said = told(time, seed)
        x0_hat = checkpoint.load("digits").predict_x0(xt, torch.full((200,), 249), said)
        known = torch.stack([x0.flatten(), eps.flatten()], dim=1).double()
        kept.append(float(torch.linalg.lstsq(known, x0_hat.flatten()[:, None].double()).solution[1]))
    return max(kept)


@claim("${\\color{#D55E00}{\\epsilon_\\theta}}$ is about $x_t$", low=0.99)
def copy_of_the_input(seed: int) -> float:
    """Correlation of the answer with x_t, told 700."""
    _, _, xt, said = told(700, seed)
    return float(torch.corrcoef(torch.stack([xt.flatten(), said.flatten()]))[0, 1])


def errors(t: int, times: list[int], seed: int) -> Tensor:
    """Loss of the digits' network, told other times, on 24 new digits."""
    x0 = load_images("digits", "test")[24 * seed : 24 * seed + 24]
    return loss_when_told(checkpoint.load("digits"), x0, t, times, torch.Generator().manual_seed(seed))


@claim("it makes an error of about 0.7", low=0.65, high=0.8)
def error_told_0(seed: int) -> float:
    """True t = 800."""
    return float(errors(800, [0], seed)[0])


@claim("told 100, the error is a sixth larger or more", low=1.15)
def narrow_valley(seed: int) -> float:
    """True t = 50."""
    right, late = errors(50, [50, 100], seed)
    return float(late / right)


@claim("any time from 700 on will do, with errors below 0.003", high=0.003)
def wide_valley(seed: int) -> float:
    """True t = 800."""
    return float(errors(800, [700, 750, 800, 850, 900, 950, 999], seed).max())


@claim("An index shifted by one costs nothing you would notice", high=0.005)
def cost_of_one_step(seed: int) -> float:
    """Relative change of the loss, the largest of three times."""
    pairs = [errors(t, [t, t + 1], seed) for t in (0, 50, 250)]
    return max(abs(float(late / right) - 1) for right, late in pairs)

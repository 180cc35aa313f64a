"""The probes: each asks the package one question, with a seed for its noise, and answers in a sentence.

They ask by independent ways: plain numbers, Bayes, a law that is known exactly. None knows which bug it looks for.
"""

import tempfile
from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

from ddpm_lesson import checkpoint, data, diffusion, schedule
from ddpm_lesson.bound import prior_bits, variational_bound
from ddpm_lesson.doctor import Finding, silent_weights, stopped
from ddpm_lesson.lesson.kit.mixture import ExactNoise, GaussianMixture
from ddpm_lesson.lesson.kit.probe import fresh_generator
from ddpm_lesson.sample import steps
from ddpm_lesson.train import get_preset, loop
from ddpm_lesson.unet import blocks, model

Probe = Callable[[int], Finding]
SMALL = get_preset(
    "digits", n_channels=8, ch_mults=(1,), is_attn=(False,), n_groups=4, dropout=0.5, n_steps=20, sample_steps=None
)
DATA = GaussianMixture((0.4, 0.6), (-0.6, 0.5), (0.1, 0.1))  # what the sampler's oracle draws from
NORMAL = GaussianMixture((1.0,), (0.0,), (1.0,))
SHORT = {"n_steps": 20, "beta_start": 0.02, "beta_end": 0.4}
PAPER = (3, 128, (1, 2, 2, 2), (False, True, False, False))  # its network for CIFAR-10
PAPER_SIZE = 35_746_307


class Says(nn.Module):
    """A network that says a multiple of x_t, and remembers the times that it was told."""

    def __init__(self, share: float = 0.0):
        super().__init__()
        self.share, self.told = share, []

    def forward(self, xt: Tensor, t: Tensor) -> Tensor:
        """The share of ``xt`` (B, ...)."""
        self.told.append(t.tolist())
        return self.share * xt


def randn(seed: int, *shape: int) -> Tensor:
    """Fresh noise."""
    return torch.randn(shape, generator=fresh_generator(seed))


def short(network: nn.Module | None = None, **settings: object) -> diffusion.DenoiseDiffusion:
    """A chain of 20 steps."""
    chain = schedule.NoiseSchedule.linear(**SHORT)
    return diffusion.DenoiseDiffusion(network or Says(), schedule=chain, **settings)


def plain(n_steps: int, beta_start: float, beta_end: float) -> tuple[list[float], list[float]]:
    """beta and alpha_bar of the linear schedule, in plain numbers."""
    beta = [beta_start + (beta_end - beta_start) * i / (n_steps - 1) for i in range(n_steps)]
    alpha_bar, product = [], 1.0
    for b in beta:
        product *= 1 - b
        alpha_bar.append(product)
    return beta, alpha_bar


def small_unet(seed: int, **changes: object) -> model.UNet:
    """A tiny U-Net of which every weight is shaken, so that no branch is silent."""
    settings = {"n_blocks": 1, "n_groups": 4, "dropout": 0.5} | changes
    generator = fresh_generator(seed)
    network = model.UNet(1, 8, (1, 2), (False, True), **settings)
    with torch.no_grad():
        for p in network.parameters():
            p.copy_(0.2 * torch.randn(p.shape, generator=generator) + (p.ndim == 1))
    return network.eval()


def within(off: float, sick: str, healthy: str) -> Finding:
    """A finding about what should be 0 but for rounding, of which a healthy sentence says nothing."""
    return Finding(off < 1e-3, healthy if off < 1e-3 else sick)


# Range


def range_of_data(seed: int = 0) -> Finding:
    """Where do bytes end up?"""
    x = data.from_bytes(torch.arange(256, dtype=torch.uint8))
    return Finding((x.min(), x.max()) == (-1, 1), f"the data lies in {x.min():g} .. {x.max():g}, for -1 .. 1")


def way_back(seed: int = 0) -> Finding:
    """Do values become the bytes that they stand for?"""
    found = data.to_bytes(torch.linspace(-1, 1, 256))
    return Finding(found.tolist() == list(range(256)), f"middle grey comes out as byte {int(found[128])}, for 128")


def range_of_estimate(seed: int = 0) -> Finding:
    """Are estimates at the end of the chain finite, and in [-1, 1]?"""
    xt, t = randn(seed, 8, 1, 4, 4), torch.full((8,), 19)
    free, clipped = (short(clip_x0=clip).denoise(xt, t) for clip in (False, True))
    if not free.isfinite().all():
        return Finding(False, "x0_hat at the end of the chain is not finite")
    return Finding(clipped.abs().max() <= 1, f"x0_hat reaches {clipped.abs().max():.2g}, for at most 1")


# Schedule


def schedule_table(seed: int = 0) -> Finding:
    """Do the tables follow from beta?"""
    table = schedule.NoiseSchedule.linear()
    beta = table.beta.double()
    alpha_bar = (1 - beta).cumprod(0)
    before = torch.cat((torch.ones(1).double(), alpha_bar[:-1]))
    for name, right in {"alpha_bar": alpha_bar, "alpha_bar_prev": before, "one_minus_alpha_bar": 1 - alpha_bar}.items():
        off = (getattr(table, name) - right).abs() > 1e-5 * right + 1e-6
        if off.any():
            t = int(off.nonzero()[0])
            return Finding(False, f"{name}[{t}] is {getattr(table, name)[t]:.6g}, and {right[t]:.6g} follows from beta")
    return Finding(True, "alpha_bar and the tables beside it follow from beta")


def end_of_chain(seed: int = 0) -> Finding:
    """What signal is left at the last step?"""
    last = float(schedule.NoiseSchedule.linear().alpha_bar[-1])
    return Finding(1e-12 < last < 1e-3, f"alpha_bar at the last step is {last:.2g}")


def forward_process(seed: int = 0) -> Finding:
    """Do the squares of what multiplies signal and noise add up to 1?"""
    d, t = short(), torch.arange(20)
    one, nothing = torch.ones(20, 1), torch.zeros(20, 1)
    total = d.q_sample(one, t, nothing) ** 2 + d.q_sample(nothing, t, one) ** 2
    return Finding(
        (total - 1).abs().max() < 1e-5, f"x_t of unit data has variance {total.min():.3f} .. {total.max():.3f}"
    )


# Time


def times_of_sampler(seed: int = 0) -> Finding:
    """From T - 1 down, within 0 .. T-1?"""
    for T, n in ((1000, 50), (1000, 1000), (10, 3), (7, 7)):
        times = steps.spaced_times(T, n)
        if times != sorted(set(times), reverse=True) or times[0] != T - 1 or times[-1] < 0 or len(times) != n:
            return Finding(False, f"{n} of {T} times go from {times[0]} to {times[-1]}")
    return Finding(True, "times fall from T - 1")


def what_the_network_is_told(seed: int = 0) -> Finding:
    """Is the network told the time that the loop says it is at?"""
    network, t = Says(), torch.arange(20)
    d = short(network)
    d.loss(randn(seed, 20, 1), t=t)
    d.denoise(randn(seed, 20, 1), t)
    if network.told != [t.tolist()] * 2:
        return Finding(False, f"at t = 9 the network is told {network.told[-1][9]}")
    for name, chain in (
        ("all steps", steps.ddpm_steps(d, (2, 1))),
        ("6 steps of DDPM", steps.ddpm_steps(d, (2, 1), n_steps=6)),
        ("6 steps of DDIM", steps.ddim_steps(d, (2, 1), 6)),
    ):
        network.told.clear()
        said = [step.t for step in chain]
        told = network.told[:: -(-len(network.told) // len(said))]  # a step may ask more than once
        wrong = [(t, answer[0]) for t, answer in zip(said, told, strict=True) if answer != [t, t]]
        if wrong:
            return Finding(False, f"{name}: at t = {wrong[0][0]} the network is told {wrong[0][1]}")
    return Finding(True, "the network is told the t that the sampler is at")


def embedding(seed: int = 0) -> Finding:
    """Are neighbouring times told apart, and does the embedding begin with its sines?"""
    table = blocks.TimeEmbedding(64).sinusoids(torch.arange(1000))
    apart = float((table[1:] - table[:-1]).norm(dim=1).min())
    if apart < 0.5:
        return Finding(False, f"neighbouring times are {apart:.2g} apart in the embedding, for at least 0.5")
    if table[0, :8].any():
        return Finding(False, f"at t = 0 the embedding begins with {table[0, 0]:g}, for sin 0")
    return Finding(True, f"neighbouring times are at least {apart:.2g} apart, and sines come first")


@torch.no_grad()
def vary_t(seed: int = 0) -> Finding:
    """Does the same x get another answer at another t?"""
    network, x = small_unet(seed), randn(seed, 1, 1, 8, 8).expand(3, -1, -1, -1)
    early, middle, late = network(x, torch.tensor([0, 500, 999]))
    apart = float((early - late).std() / middle.std())
    return Finding(apart > 1e-3, f"from t = 0 to 999 the answer to the same x changes by {apart:.1%}")


# Sampler


def bayes(x0: Tensor, xt: Tensor, t: int) -> Tensor:
    """Mean of q(x_{t-1} | x_t, x_0), t > 0, from the product of two Gaussians."""
    beta, alpha_bar = plain(**SHORT)
    forward, prior = (1 - beta[t]) / beta[t], 1 / (1 - alpha_bar[t - 1])  # precisions of x_{t-1}
    weighted = (1 - beta[t]) ** 0.5 * xt / beta[t] + alpha_bar[t - 1] ** 0.5 * x0 * prior
    return weighted / (forward + prior)


def posterior(seed: int = 0) -> Finding:
    """Is the mean of the posterior what Bayes says, and x0 at the first step?"""
    d, x0, xt = short(), randn(seed, 4, 1), randn(seed + 100, 4, 1)
    for t in (0, 1, 10, 19):
        right = bayes(x0, xt, t) if t else x0
        off = float((d.q_posterior(x0, xt, torch.full((4,), t))[0] - right).abs().max())
        if not off < 1e-4:
            return Finding(False, f"at t = {t} the posterior's mean is off by {off:.2g}")
    return Finding(True, "the posterior's mean is that of Bayes")


def ddpm_step(seed: int = 0) -> Finding:
    """Is a step, given its noise and its estimate, mean + sigma noise?"""
    d, x0, xt = short(), randn(seed, 4, 1).clamp(-1, 1), randn(seed + 100, 4, 1)
    beta, _ = plain(**SHORT)
    for t in (1, 10, 19):
        right = bayes(x0, xt, t) + beta[t] ** 0.5 * randn(seed + 200, 4, 1)
        made = d.p_sample(xt, torch.full((4,), t), x0_hat=x0, generator=fresh_generator(seed + 200))
        if not float((made - right).abs().max()) < 1e-4:
            return Finding(False, f"at t = {t} a step of DDPM is off by {float((made - right).abs().max()):.2g}")
    return Finding(True, "a step of DDPM is Bayes' mean and sigma times noise")


def last_step(seed: int = 0) -> Finding:
    """Is the last step's result its estimate, without noise?"""
    d, x0, xt = short(), randn(seed, 64, 1).clamp(-1, 1), randn(seed + 100, 64, 1)
    t = torch.zeros(64, dtype=torch.long)
    one, other = (d.p_sample(xt, t, x0_hat=x0, generator=fresh_generator(seed + i)) for i in (1, 2))
    if not torch.equal(one, other):
        return Finding(False, f"the last step adds noise of {float((one - other).std()) / 2**0.5:.2g}")
    off = float((one - x0).abs().max())
    return Finding(off < 1e-4, f"the last step ends {off:.2g} away from its estimate")


def ddim_formula(seed: int = 0) -> Finding:
    """Does DDIM, at the times that it visits, do what its formula says? The network is eager, so that clipping acts."""
    _, alpha_bar = plain(**SHORT)
    xt = start = randn(seed, 8, 1)
    made = list(steps.ddim_steps(short(Says(0.5)), (8, 1), 6, start=start))
    for step, later in zip(made, [*made[1:], None], strict=True):
        a = alpha_bar[step.t]
        x0 = ((xt - (1 - a) ** 0.5 * 0.5 * xt) / a**0.5).clamp(-1, 1)
        off = max(float((step.xt - xt).abs().max()), float((step.x0_hat - x0).abs().max()))
        if not off < 1e-4:
            return Finding(False, f"at t = {step.t} DDIM is off its formula by {off:.2g}")
        if later is not None:
            b = alpha_bar[later.t]
            xt = b**0.5 * x0 + (1 - b) ** 0.5 * (xt - a**0.5 * x0) / (1 - a) ** 0.5
    return Finding(True, "DDIM follows its formula")


def known_law(n_steps: int | None, name: str, most: float) -> Probe:
    """Do samples of a perfect network have the law of the data?"""

    def probe(seed: int = 0) -> Finding:
        chain = schedule.NoiseSchedule.linear(60, 1e-3, 0.25)
        d = diffusion.DenoiseDiffusion(ExactNoise(DATA, chain), schedule=chain, sigma="posterior")
        start = NORMAL.quantile((torch.arange(1000) + 0.5) / 1000).float()[:, None]  # x_T, evenly
        if n_steps is None:
            path = steps.ddpm_steps(d, (1000, 1), fresh_generator(seed), start=start)
        else:
            path = steps.ddim_steps(d, (1000, 1), n_steps, start=start)
        samples = steps.final_samples(path)
        off = DATA.distance(samples) if samples.isfinite().all() else torch.inf
        return Finding(off < most, f"samples by {name} lie {off:.3f} from the law of the data, for at most {most}")

    return probe


def perfect_guess(seed: int = 0) -> Finding:
    """Does a network that knows the noise pay nothing, and one that says nothing pay 1?"""
    eps, t = randn(seed, 4096, 1), torch.zeros(4096, dtype=torch.long)
    d = short()
    known, zero = short(Knows(eps)).loss(torch.full_like(eps, 0.5), eps, t), d.loss(torch.full_like(eps, 0.5), eps, t)
    sentence = f"who knows the noise pays {float(known):.3f}, who says nothing {float(zero):.3f}"
    return Finding(bool(known < 1e-6 and abs(zero - 1) < 0.1), sentence)


class Knows(nn.Module):
    """A network that says noise which it was given."""

    def __init__(self, eps: Tensor):
        super().__init__()
        self.eps = eps

    def forward(self, xt: Tensor, t: Tensor) -> Tensor:
        """The noise."""
        return self.eps


# Pixels and gradients


def gradient_trace(seed: int = 0) -> Finding:
    """Does the loss reach every weight, by every way?"""
    network, x0 = small_unet(seed), randn(seed, 4, 1, 8, 8)
    silent = silent_weights(short(network), x0, randn(seed + 1, 4, 1, 8, 8))
    if silent:
        return Finding(False, f"no gradient reaches {len(silent)} weights, such as {silent[0]}")
    dead = dead_skips(network)
    return Finding(not dead, f"{dead} skip connections carry nothing" if dead else "the loss reaches every weight")


def dead_skips(network: model.UNet) -> int:
    """How many blocks of the way up are deaf to the feature map that was kept for them."""
    deaf = 0
    for block in network.up:
        if isinstance(block, blocks.UpBlock):
            width = block.res.norm1.num_channels
            skip = torch.randn(1, width // 2, 4, 4, generator=fresh_generator(9))
            x, t_emb = torch.ones(1, width - width // 2, 4, 4), torch.ones(1, 32)
            with torch.no_grad():
                deaf += torch.equal(block(x, skip, t_emb), block(x, -skip, t_emb))
    return deaf


@torch.no_grad()
def pixels_keep_places(seed: int = 0) -> Finding:
    """Attention has no sense of place: does it give shuffled pixels the same answer, shuffled?"""
    block, x = small_unet(seed).middle.attn, randn(seed, 3, 16, 4, 4)
    order = torch.randperm(16, generator=fresh_generator(seed))
    shuffled = x.flatten(2)[..., order].view(x.shape)
    off = float((block(shuffled) - block(x).flatten(2)[..., order].view(x.shape)).abs().max())
    return within(off, f"shuffled pixels change the answer of attention by {off:.2g}", "pixels keep their places")


@torch.no_grad()
def images_keep_apart(seed: int = 0) -> Finding:
    """Does an image get the same answer alone as in a batch?"""
    network, x, t = small_unet(seed), randn(seed, 3, 1, 8, 8), torch.tensor([0, 500, 999])
    alone = torch.cat([network(x[i : i + 1], t[i : i + 1]) for i in range(3)])
    off = float((network(x, t) - alone).abs().max() / alone.std())
    return within(
        off, f"neighbours in the batch change the answer by {off:.2g}", "an image is answered alone as in a batch"
    )


@torch.no_grad()
def flat_stays_flat(seed: int = 0) -> Finding:
    """Is a flat feature map still flat, away from the edge, when it is made larger?"""
    network = model.UNet(1, 8, (1, 2), (False, False), 1, n_groups=4)
    up = next(module for module in network.up if isinstance(module, blocks.Upsample))
    large = up(torch.ones(1, 16, 6, 6))[..., 2:-2, 2:-2]
    spread = float(large.std((2, 3)).max() / large.std())
    return within(spread, f"a flat map varies by {spread:.2g} of its size after upsampling", "a flat map stays flat")


def size_of_network(seed: int = 0) -> Finding:
    """Has the paper's network its 35,746,307 parameters, and do settings arrive?"""
    with torch.device("meta"):
        count = sum(p.numel() for p in model.UNet(*PAPER).parameters())
    if count != PAPER_SIZE:
        return Finding(False, f"the paper's network has {count:,} parameters, for {PAPER_SIZE:,}")
    groups = {m.num_groups for m in small_unet(seed).modules() if isinstance(m, nn.GroupNorm)}
    return Finding(groups == {4}, f"{PAPER_SIZE:,} parameters; asked for 4 groups, norms have {sorted(groups)}")


def asked_twice(seed: int = 0) -> Finding:
    """Does the same seed give the same samples from a model that is being trained?"""
    d = short(small_unet(seed).train())
    one, other = (steps.sample(d, (2, 1, 8, 8), 4, fresh_generator(seed)) for _ in range(2))
    off = float((one - other).abs().max())
    return Finding(off == 0, f"the same seed gives samples that differ by {off:.2g}")


# State


def memory_of_average(seed: int = 0) -> Finding:
    """Is the average near weights that have been the same for a hundred steps?"""
    average, rule = [torch.zeros(1)], loop.average_with_warmup(0.9999)
    for n in range(1, 101):
        rule(average, [torch.ones(1)], n)
    return Finding(
        float(average[0]) > 0.9, f"after 100 steps {1 - float(average[0]):.0%} of the average is its beginning"
    )


def small_state(seed: int) -> loop.TrainState:
    """A run before its first step, of which weights and average differ."""
    state = loop.TrainState(SMALL, (1, 8, 8), "cpu")
    for start, network in ((seed, state.diffusion.eps_model), (seed + 1, state.ema.module)):
        generator = fresh_generator(start)
        with torch.no_grad():
            for p in network.parameters():
                p.copy_(torch.randn(p.shape, generator=generator))
    return state


def same(one: nn.Module, other: nn.Module) -> bool:
    """Whether two networks have the same weights."""
    return all(torch.equal(x, y) for x, y in zip(one.parameters(), other.parameters(), strict=True))


def sampled_weights(seed: int = 0) -> Finding:
    """Are samples drawn with the average?"""
    state = small_state(seed)
    ok = same(state.averaged().eps_model, state.ema.module)
    return Finding(ok, f"samples are drawn with {'the average' if ok else 'the weights of the last step'}")


def resumption(seed: int = 0) -> Finding:
    """Is all of a run there again after it was saved and taken up?"""
    state = small_state(seed)
    for p in state.diffusion.eps_model.parameters():
        p.grad = torch.ones_like(p)
    state.optimizer.step()
    state.step = 1
    again = loop.TrainState(SMALL, (1, 8, 8), "cpu")
    with tempfile.TemporaryDirectory() as folder:
        checkpoint.save_training(state, folder)
        checkpoint.load_training(again, folder)
    model, average = again.diffusion.eps_model, again.ema.module
    if same(model, state.ema.module):
        return Finding(False, "after a resumption the weights are those of the average")
    if not same(model, state.diffusion.eps_model):
        return Finding(False, "after a resumption the weights are not those that were saved")
    ok = same(average, state.ema.module)
    return Finding(ok, f"after a resumption weights are back, the average is {'too' if ok else 'not'}")


def bits(seed: int = 0) -> Finding:
    """Do the terms of the bound add up, and is L_T what the closed form says?"""
    x0, d = torch.full((1, 1, 4, 4), 0.5), short()
    _, alpha_bar = plain(**SHORT)
    a = torch.tensor(alpha_bar[-1], dtype=torch.float64)
    right = float(0.5 * ((1 - a) + a * 0.25 - 1 - (1 - a).log()) / torch.tensor(2.0).log())
    found = float(prior_bits(d.schedule, x0))
    if abs(found - right) > 1e-3 * right:
        return Finding(False, f"L_T of a grey image is {found / right:.2g} of what it must be")
    bound = variational_bound(d, x0, fresh_generator(seed))
    share = float(bound.total / (bound.L_T + bound.L_t.sum(1)))
    return Finding(abs(share - 1) < 1e-5, f"the bound is {share:.3f} of the sum of its terms")


# All in all


@torch.no_grad()
def shipped_weights(seed: int = 0) -> Finding:
    """Does a network that was trained before, with the package as it was, still know noise where it sees it?"""
    d = checkpoint.load("digits", "cpu")
    x0 = data.load_images("digits", "test")[:32]
    eps, t = randn(seed, *x0.shape), torch.arange(32) * 25 + 100
    loss = float(d.loss(x0, eps, t))
    return Finding(loss < 0.1, f"shipped weights have a loss of {loss:.2f} on digits, for less than 0.1")


PROBES: dict[str, Probe] = {
    "range of the data": range_of_data,
    "way back to bytes": way_back,
    "range of the estimate": range_of_estimate,
    "schedule table": schedule_table,
    "end of the chain": end_of_chain,
    "forward process": forward_process,
    "times of the sampler": times_of_sampler,
    "what the network is told": what_the_network_is_told,
    "embedding": embedding,
    "vary t": vary_t,
    "posterior": posterior,
    "one step of DDPM": ddpm_step,
    "last step": last_step,
    "DDIM against its formula": ddim_formula,
    "DDPM samples": known_law(None, "DDPM", 0.06),
    "DDIM samples": known_law(20, "DDIM", 0.04),
    "loss of a perfect guess": perfect_guess,
    "gradient trace": gradient_trace,
    "pixels keep their places": pixels_keep_places,
    "images keep apart": images_keep_apart,
    "flat stays flat": flat_stays_flat,
    "size of the network": size_of_network,
    "asked twice": asked_twice,
    "memory of the average": memory_of_average,
    "which weights are sampled": sampled_weights,
    "resumption": resumption,
    "bits": bits,
    "shipped weights": shipped_weights,
}


def look(name: str, seed: int = 0) -> Finding:
    """What a probe finds; an error is a finding too. ValueError if there is no such probe."""
    if name not in PROBES:
        raise ValueError(f"name must be that of a probe: {', '.join(PROBES)}; got {name!r}")
    try:
        return PROBES[name](seed)
    except Exception as error:  # whatever a bug leads to
        return Finding(False, stopped(error))


def findings(names: Iterable[str] = PROBES, seed: int = 0) -> dict[str, Finding]:
    """What several probes find, by name."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return {name: look(name, seed) for name in names}

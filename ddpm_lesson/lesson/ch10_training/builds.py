"""The build of notebook 10: a training loop with an average, a warm-up, and a state to go on from."""

from copy import deepcopy

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ddpm_lesson.lesson.kit.build import Build, Stage, unlike
from ddpm_lesson.lesson.kit.exercise import numbers
from ddpm_lesson.lesson.kit.mixture import TWO_BUMPS, ExactNoise
from ddpm_lesson.schedule import NoiseSchedule


def fit(eps_model, images, alpha_bar, n_updates, state):
    optimizer = torch.optim.Adam(eps_model.parameters())
    average, first = deepcopy(eps_model), 0
    if state is not None:
        state = deepcopy(state)  # so that whoever gave it may use it again
        eps_model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        average, first = state["average"], state["updates"]
    for k in range(first, first + n_updates):
        for group in optimizer.param_groups:
            group["lr"] = 2e-3 * min(1, (k + 1) / 100)
        x0 = images[torch.randint(len(images), (32,))]
        t = torch.randint(len(alpha_bar), (32,))
        eps = torch.randn_like(x0)
        a = alpha_bar[t].view(-1, 1, 1, 1)
        loss = F.mse_loss(eps_model(a.sqrt() * x0 + (1 - a).sqrt() * eps, t), eps)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        decay = min(0.99, (1 + k) / (10 + k))
        for mean, weight in zip(average.parameters(), eps_model.parameters()):  # noqa: B905
            mean.data = decay * mean.data + (1 - decay) * weight.data
    return {
        "average": average,
        "model": deepcopy(eps_model.state_dict()),
        "optimizer": deepcopy(optimizer.state_dict()),
        "updates": first + n_updates,
    }


class Watched(nn.Module):
    """``gain * xt + bias``; notes what it is asked, and its weights at that moment."""

    def __init__(self, gain: float = 0.0, bias: float = 0.0):
        super().__init__()
        self.gain, self.bias = (nn.Parameter(torch.tensor(w, dtype=torch.float64)) for w in (gain, bias))
        self.asked: list[tuple[Tensor, Tensor]] = []
        self.weights: list[Tensor] = []

    def __deepcopy__(self, memo: dict) -> "Watched":
        """A copy that has been asked nothing yet."""
        return Watched(float(self.gain), float(self.bias))

    def now(self) -> Tensor:
        """Both weights, (2,)."""
        return torch.stack([self.gain, self.bias]).detach().clone()

    def forward(self, xt: Tensor, t: Tensor) -> Tensor:
        """(B, ...) and (B,) to (B, ...)."""
        if xt.shape[:1] != t.shape:
            raise ValueError(f"t must have one time an image, ({len(xt)},); got {tuple(t.shape)}")
        self.asked.append((xt.detach(), t))
        self.weights.append(self.now())
        return self.gain * xt + self.bias


IMAGE = torch.tensor([[[0.9, -0.3, 0.1], [-1.0, 1.0, 0.5]]], dtype=torch.float64)  # (1, 2, 3)
IMAGES = torch.stack([IMAGE, -IMAGE.flip(2)])  # (2, 1, 2, 3)
ALPHA_BAR = torch.tensor([0.98, 0.7, 0.4, 0.1, 0.02], dtype=torch.float64)


def gives_a_state(built) -> str:
    """A dictionary with an average of its own, after exactly as many updates as were asked for."""
    model = Watched()
    state = built(model, IMAGES, ALPHA_BAR, 7, None)
    if not isinstance(average := state.get("average") if isinstance(state, dict) else None, Watched):
        got = "nothing. Is the `return` missing?" if state is None else f"{type(state).__name__}."
        return f'BUILT must return a dictionary whose "average" is a module like `eps_model`; got {got}'
    if len(model.asked) != 7:
        return f"For 7 updates the model was asked {len(model.asked)} times; once an update is wanted."
    if torch.equal(model.now(), model.weights[0]):
        return "After 7 updates `eps_model` has the weights that it began with."
    if average is model or torch.equal(average.now(), model.now()):
        return "The average is the model itself: it must be a copy of its own, and stay behind."
    return ""


def draws_well(built) -> str:
    """Of 400 updates: the images, the times, and the noise that they hold; five standard errors."""
    model = Watched()
    built(model, IMAGES, ALPHA_BAR, 400, None)
    xt, t = (torch.cat(parts) for parts in zip(*model.asked, strict=True))
    if tuple(xt.shape) != (32 * 400, 1, 2, 3):
        got = f"{len(xt) / 400:g} of shape {tuple(xt.shape[1:])}"
        return f"Each update must take 32 images of shape (1, 2, 3); the model was asked about {got}."
    a, share = ALPHA_BAR[t].view(-1, 1, 1, 1), t.bincount(minlength=5) / len(t)
    if (share - 0.2).abs().max() > 5 * (0.2 * 0.8 / len(t)) ** 0.5:
        return f"The times must be drawn evenly from 0 .. 4; seen were {[round(float(s), 2) for s in share]}."
    if all((times == times[0]).all() for _, times in model.asked):
        return "All images of a batch have the same time."
    near, a = t < 2, a[t < 2]  # there the noise is weak enough to tell the two images apart
    guesses = torch.stack([(xt[near] - a.sqrt() * image) / (1 - a).sqrt() for image in IMAGES])  # the noise, if it was
    second = guesses.square().sum((2, 3, 4)).argmin(0)
    eps = guesses.gather(0, second.view(1, -1, 1, 1, 1).expand(1, -1, 1, 2, 3))[0]
    if abs(float(second.double().mean()) - 0.5) > 5 * 0.5 / len(second) ** 0.5:
        return "Not every image has the same chance."
    image, error = IMAGES[second], 5 / eps.numel() ** 0.5
    off = (eps.mean(), (eps * image).mean() / image.square().mean().sqrt(), (eps.square().mean() - 1) / 2**0.5)
    if any(abs(float(one)) > error for one in off):
        return "What the model is shown is not sqrt(alpha_bar) x0 + sqrt(1 - alpha_bar) eps with eps from N(0, 1)."
    known = torch.full((400, 32, 6), torch.nan, dtype=eps.dtype)
    known[near.view(400, 32)] = eps.flatten(1)
    for what, pairs in (("image", known[:, 1:] * known[:, :-1]), ("update", known[1:] * known[:-1])):
        if abs(float(pairs.nanmean())) > 5 / int(pairs.isfinite().sum()) ** 0.5:
            return f"The noise of one {what} is that of the next: every value wants noise of its own."
    return ""


def warms_up(built) -> str:
    """A bias that is far too high is pushed by the same gradient each time, so Adam moves it by the learning rate."""
    model = Watched(bias=100.0)
    built(model, IMAGES, ALPHA_BAR, 130, None)
    moved = -torch.stack([*model.weights, model.now()])[:, 1].diff()
    for k in (0, 1, 49, 98, 99, 100, 129):
        wanted = 2e-3 * min(1, (k + 1) / 100)
        if abs((got := float(moved[k])) / wanted - 1) > 0.008:
            return f"A weight with a steady gradient moved by {got:.3g} in update {k}; {wanted:.3g} is right."
    return ""


def averages(built) -> str:
    """The average, found again from the weights after each update."""
    model = Watched(0.3, 2.0)
    average = built(model, IMAGES, ALPHA_BAR, 1000, None)["average"].now()
    wanted = model.weights[0]
    for k, weights in enumerate([*model.weights[1:], model.now()]):
        decay = min(0.99, (1 + k) / (10 + k))
        wanted = decay * wanted + (1 - decay) * weights
    return unlike(average, wanted, 1e-9, "After 1000 updates the average").replace("must give", "must hold")


def goes_on(built) -> str:
    """30 updates in one go, and 20, 7 and 3 with another model each time, from the same random numbers; twice."""
    random, whole, first = torch.random.get_rng_state(), Watched(0.3, 2.0), Watched(0.3, 2.0)
    right = built(whole, IMAGES, ALPHA_BAR, 30, None)["average"]
    torch.random.set_rng_state(random)
    kept = built(first, IMAGES, ALPHA_BAR, 20, None)
    random = torch.random.get_rng_state()
    for name, second in (("", first), (" a second time", Watched(-1.0, 5.0))):
        torch.random.set_rng_state(random)
        model = Watched(4.0, 2.0)
        average = built(model, IMAGES, ALPHA_BAR, 3, built(second, IMAGES, ALPHA_BAR, 7, kept))["average"]
        for what, got, wanted in (("model", model, whole), ("average", average, right)):
            if wrong := unlike(got.now(), wanted.now(), 1e-9, f"After going on{name} from 20 updates, the {what}"):
                return f"{wrong} (20, 7 and 3 updates, held against 30 in one go.)"
    return ""


class Small(nn.Module):
    """A noise predictor for single numbers, images of (1, 1, 1), at 10 times."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(11, 32), nn.SiLU(), nn.Linear(32, 1))

    def forward(self, xt: Tensor, t: Tensor) -> Tensor:
        """(B, 1, 1, 1) and (B,) to (B, 1, 1, 1)."""
        return self.layers(torch.cat((xt.flatten(1), F.one_hot(t, 10).to(xt)), 1))[..., None, None]


def learns(built) -> str:
    """The slope of the loss at a bias of 100, and numbers from a mixture: how much of the best answer is learned."""
    model, slopes = Watched(bias=100.0), []
    model.bias.register_hook(lambda slope: slopes.append(float(slope)))
    built(model, IMAGES, ALPHA_BAR, 1, None)
    if abs(slopes[0] - 200) > 2:  # 2 (100 - eps), averaged over 192 values
        return f"At a bias of 100 the loss has the slope {slopes[0]:.4g}; the mean squared error has 200."
    schedule = NoiseSchedule.linear(10, 0.02, 0.5)
    x0 = TWO_BUMPS.sample(2000, torch.Generator().manual_seed(1)).float().view(-1, 1, 1, 1)
    average = built(Small(), x0, schedule.alpha_bar, 700, None)["average"]
    t = torch.arange(10).repeat_interleave(200)
    a = schedule.alpha_bar[t].view(-1, 1, 1, 1)
    xt = a.sqrt() * x0 + (1 - a).sqrt() * numbers(2000, 1, 1, 1, seed=2)
    right = ExactNoise(TWO_BUMPS, schedule)(xt, t)
    left = float((average(xt, t) - right).square().mean().detach() / right.square().mean())
    missed = f"After 700 updates the average misses {left:.0%} of the best answer; below 10 % is easy."
    return "" if left < 0.1 else missed


build_fit = Build(
    fit,
    (
        Stage(gives_a_state).says("""
            The average begins as a copy of the model; the state is a dictionary that you return at the end.
            `average = deepcopy(eps_model)` before the loop, `return {"average": average, ...}` behind it."""),
        Stage(draws_well).says("""
            Look at what goes into the model: which images, which times, how much noise?
            `torch.randint(len(images), (32,))`, `torch.randint(len(alpha_bar), (32,))`, `torch.randn_like(x0)`."""),
        Stage(warms_up).says("""
            The rate is set before each update, and counts from the very first one: (10.5) without its cool-down.
            `group["lr"] = 2e-3 * min(1, (k + 1) / 100)` for each group of `optimizer.param_groups`, before
                `step()`."""),
        Stage(averages).says("""
            After each update the average moves towards the new weights. By what share?
            `decay = min(0.99, (1 + k) / (10 + k))`, then `decay * mean + (1 - decay) * weight`, both as `.data`."""),
        Stage(goes_on).says("""
            What does a run know that a new model and optimiser do not? And is the state that you get left as it was?
            Model, optimiser, average and the number of updates belong into the state, copied (`deepcopy`) on the way in
                and out."""),
        Stage(learns).says("""
            All parts are there. Is the gradient set to zero, and the loss that of the noise?
            `F.mse_loss(eps_model(xt, t), eps)`, `zero_grad()`, `backward()`, `step()`."""),
    ),
    "It trains, calms, and goes on as if nothing had happened: all that a run of weeks needs, in thirty lines. "
    "In notebook 13 it trains your network.",
)

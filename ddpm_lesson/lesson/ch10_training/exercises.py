"""Exercises of notebook 10: what a step draws, the loop, the average of the weights, and the learning rate."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from ddpm_lesson.lesson.kit.exercise import (
    CheckResult,
    Exercise,
    Mistake,
    agree,
    as_tensors,
    call,
    check,
    in_words,
    is_stub,
    wrong,
)

UNKNOWN = "it looks like no mistake we know"

# draw_batch


@dataclass(frozen=True)
class RandomExercise(Exercise):
    """An exercise whose answers are random: what is compared is what ``summary`` says about them.

    ``parts`` names the numbers of the summary, tensor by tensor; ``refused`` is said when PyTorch cannot do what it is
    asked for.
    """

    summary: Callable[[Any], Any] = field(kw_only=True)
    parts: Sequence[Sequence[str]] = field(kw_only=True)
    refused: str = field(kw_only=True)

    def judge(self, function: Callable[..., Any]) -> CheckResult:
        """Try the learner's function and hold the summary of its answers against the right one."""
        mistakes = [replace(m, function=self.summarised(m.function)) for m in self.known]
        right = self.summarised(self.solution)
        exercise = Exercise(right, self.cases, mistakes, self.consequence, self.tolerance, function=self.function)
        if not callable(function):
            return check(exercise, function)
        result = check(exercise, self.summarised(function))
        return result if result.passed or UNKNOWN not in result.message else wrong(self.difference(function))

    def summarised(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """The same function, answering with the summary; a stub stays one."""

        def summary_of(*case: Any) -> Any:
            try:
                result = function(*case)
            except NotImplementedError as error:
                raise type(error)(f"{error}. {self.refused}") if error.args else error from None
            if result is None and is_stub(function):
                return ...
            return result if result is None or result is ... else self.summary(result)

        return summary_of

    def difference(self, function: Callable[..., Any]) -> str:
        """The first number of the summary that is wrong, by its name."""
        for case in self.cases:
            answer, right = (as_tensors(call(self.summarised(f), case)) for f in (function, self.solution))
            for names, x, y in zip(self.parts, answer, right, strict=True):
                if not agree(x, y, self.tolerance):
                    i = int((x - y).abs().nan_to_num(torch.inf).argmax())
                    got, expected = (in_words(float(z.flatten()[i])) for z in (x, y))
                    what = names[i] if len(names) > 1 else names[0]
                    return f"`{self.function}`: {what} is {got} where {expected} is right, and {UNKNOWN}."
        raise AssertionError("called for answers that are right")


def describe_batch(batch: Any) -> tuple[Tensor, ...]:
    """What can be said about x0, t and eps: a few numbers each, nearly the same for every draw.

    Raises:
        TypeError: if the batch is no such three tensors.
    """
    if not isinstance(batch, (tuple, list)) or len(batch) != 3:
        raise TypeError("draw_batch must return three tensors: x0, t, eps")
    if any(isinstance(part, Tensor) and part.ndim == 1 and part.is_floating_point() for part in batch):
        raise TypeError("t must hold whole numbers, because `alpha_bar[t]` looks them up: `torch.randint` draws such")
    x0, t, eps = (as_tensors(part)[0] for part in batch)
    swapped = eps.ndim == 1 < t.ndim
    if swapped:
        t, eps = eps, t
    if t.ndim != 1 or min(x0.ndim, eps.ndim) < 2 or not len(x0) == len(t) == len(eps) > 1:
        shapes = ", ".join(str(tuple(x.shape)) for x in (x0, t, eps))
        raise TypeError(
            f"draw_batch must return x0 (B, ...), t (B,) and eps (B, ...); got shapes {shapes}. Only `alpha_bar[t]` "
            "needs more axes, and that comes later"
        )
    repeated = [(eps - eps[:1]).abs().max() < 1e-9, (eps.flatten(1) - eps.flatten(1)[:, :1]).abs().max() < 1e-9]
    tails = 10 * ((eps - eps.mean()).abs().mean() / eps.std() - (2 / torch.pi) ** 0.5)  # 0 if normal, 0.7 if uniform
    n_times, counted = len(t.unique()), (t.diff() == 1).double().mean()
    moments = torch.stack([eps.mean(), eps.std(), tails])
    return (
        x0,
        torch.stack([t.min(), t.max()]) * (n_times > 1),  # a single one may be any
        torch.tensor(float(n_times)),
        moments * (not any(repeated)),  # of a few numbers they would be left to chance
        torch.tensor([*repeated, eps.shape == x0.shape, counted, swapped], dtype=torch.float64),
    )


SUMMARY = (
    ("a value of x0",),
    ("the smallest t", "the largest t"),
    ("the number of different times",),
    ("the mean of eps", "the standard deviation of eps", "how far eps is from normal"),
    (
        "whether all images get the same eps (1 for yes)",
        "whether all pixels of an image get the same eps (1 for yes)",
        "whether eps has the shape of x0 (1 for yes)",
        "how often a t is the one before plus 1, as a share,",
        "whether t and eps are swapped (1 for yes)",
    ),
)


def bytes_of(images: Tensor) -> Tensor:
    """Bytes -> [-1, 1]."""
    return images.float() / 127.5 - 1


def times_for(images: Tensor, n_steps: int) -> Tensor:
    """A time for every image."""
    return torch.randint(n_steps, (len(images),))


def draw_with(
    scale: Callable[[Tensor], Tensor] = bytes_of,
    times: Callable[[Tensor, int], Tensor] = times_for,
    noise: Callable[[Tensor], Tensor] = torch.randn_like,
) -> Callable[[Tensor, int], tuple[Tensor, Tensor, Tensor]]:
    """A learner's ``draw_batch``, put together from three parts."""

    def draw_batch(images: Tensor, n_steps: int) -> tuple[Tensor, Tensor, Tensor]:
        x0 = scale(images)
        return x0, times(images, n_steps), noise(x0)

    return draw_batch


def some_bytes(*shape: int) -> Tensor:
    """Random bytes, the same every time, black and white among them."""
    return torch.randint(256, shape, generator=torch.Generator().manual_seed(0)).to(torch.uint8)


check_draw_batch = RandomExercise(
    function="draw_batch",
    solution=draw_with(),
    cases=[(some_bytes(2000, 1, 4, 4), 8), (some_bytes(10_000, 3, 2, 2), 5)],
    mistakes=(
        Mistake("data in [0, 1]", draw_with(scale=lambda images: images.float() / 255)).says("""
            This looks like images in [0, 1].
            The samples are clipped to $[-1, 1]$, and noise has mean 0. Where should grey be?
            Black is -1 and white is 1: `images.float() / 127.5 - 1`."""),
        Mistake("bytes as they are", draw_with(scale=lambda images: images.float())).says("""
            This looks like bytes, 0 to 255, as they are.
            Noise has size 1. How much of it would be seen beside numbers up to 255?
            Scale to $[-1, 1]$: `images.float() / 127.5 - 1`."""),
        Mistake("data in [-1/2, 1/2]", draw_with(scale=lambda images: images.float() / 255 - 0.5)).says("""
            This looks like images in $[-1/2, 1/2]$.
            The middle is right. What about the ends?
            `images.float() / 127.5 - 1` maps 0 to -1 and 255 to 1."""),
        Mistake("one t for all", draw_with(times=lambda images, n: torch.randint(n, (1,)).expand(len(images)))).says("""
            This looks like one $t$ for the whole batch.
            What would one step of training learn about the other times?
            Draw as many times as there are images: `torch.randint(n_steps, (len(images),))`."""),
        Mistake("t from 1 to T", draw_with(times=lambda images, n: torch.randint(1, n + 1, (len(images),)))).says(r"""
            This looks like the paper's $t = 1, \dots, T$.
            In this lesson's code the first time is 0. What would `alpha_bar[T]` be?
            `torch.randint(n_steps, ...)` draws 0 .. T-1: its upper end is left out."""),
        Mistake("t from 0 to T", draw_with(times=lambda images, n: torch.randint(n + 1, (len(images),)))).says(r"""
            This looks like $t = 0, \dots, T$, one time too many.
            `alpha_bar` has T entries. What is the index of the last?
            `torch.randint(n_steps, ...)` draws 0 .. T-1: its upper end is left out."""),
        Mistake("T written as 1000", draw_with(times=lambda images, n: torch.randint(1000, (len(images),)))).says("""
            This looks like times below 1000, whatever `n_steps` is.
            The loop above had T = 1000. What does this function get?
            `torch.randint(n_steps, (len(images),))`."""),
        Mistake("times counted, not drawn", draw_with(times=lambda images, n: torch.arange(len(images)) % n)).says("""
            This looks like times that are counted, 0, 1, 2, .., and not drawn.
            Batch after batch the same image could meet the same time.
            `torch.randint(n_steps, (len(images),))`."""),
        Mistake("t from 1 to T-1", draw_with(times=lambda images, n: torch.randint(1, n, (len(images),)))).says("""
            This looks like $t = 0$ never drawn.
            The last step of sampling asks the network at $t = 0$. Has it ever seen that?
            Start at 0: `torch.randint(0, n_steps, ...)`."""),
        Mistake("last t left out", draw_with(times=lambda images, n: torch.randint(n - 1, (len(images),)))).says("""
            This looks like $t = T-1$ never drawn.
            `torch.randint` leaves out its upper end by itself.
            `torch.randint(n_steps, ...)`, without `- 1`."""),
        Mistake("eps uniform in [0, 1)", draw_with(noise=torch.rand_like)).says(r"""
            This looks like noise that is uniform between 0 and 1.
            `rand` or `randn`: which of them is normal?
            $\epsilon \sim \mathcal{N}(0, I)$: `torch.randn_like(x0)`."""),
        Mistake("eps uniform in [-1, 1]", draw_with(noise=lambda x0: 2 * torch.rand_like(x0) - 1)).says(r"""
            This looks like noise that is uniform between -1 and 1.
            Its mean is right. Its variance is 1/3, and it has no tails.
            $\epsilon \sim \mathcal{N}(0, I)$: `torch.randn_like(x0)`."""),
        Mistake("one noise for all", draw_with(noise=lambda x0: torch.randn_like(x0[:1]).expand_as(x0))).says("""
            This looks like the same noise for every image.
            The network would hear one answer for the whole batch.
            Noise of the shape of the whole batch: `torch.randn_like(x0)`."""),
        Mistake("one number an image", draw_with(noise=lambda x0: torch.randn(len(x0), 1, 1, 1).expand_as(x0))).says("""
            This looks like one random number an image, the same for all of its pixels.
            Every pixel has noise of its own.
            `torch.randn_like(x0)` draws one for every value of x0."""),
        Mistake(
            "one channel for all colours", draw_with(noise=lambda x0: torch.randn(len(x0), 1, *x0.shape[2:]))
        ).says("""
            This looks like noise with a single channel, also for images that have three.
            Does `eps` have the shape of `x0`?
            `torch.randn_like(x0)` has it by itself."""),
        Mistake("t and eps swapped", lambda images, n: tuple(draw_with()(images, n)[i] for i in (0, 2, 1))).says("""
            This looks like the right three, in another order.
            In which order does the exercise ask for them?
            `return x0, t, eps`."""),
    ),
    consequence="Each image meets another time and other noise at every visit, so that no picture is ever seen twice "
    "in the same way.",
    tolerance=0.1,
    summary=describe_batch,
    parts=SUMMARY,
    refused="Bytes have no normal noise: draw it like `x0`, `torch.randn_like(x0)`",
)


# train_on: the loop


class Toy(nn.Module):
    """A noise predictor with two weights, one of which works with t."""

    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(torch.tensor([0.5, -0.1], dtype=torch.float64))

    def forward(self, xt: Tensor, t: Tensor) -> Tensor:
        """(B, D), (B,) -> (B, D)."""
        if t.shape != (len(xt),):
            raise ValueError(f"eps_model wants one time an image, shape ({len(xt)},); got {tuple(t.shape)}")
        return self.w[0] * xt + self.w[1] * t[:, None]


def toy_case(seed: int, n_batches: int, max_norm: float) -> tuple[Any, ...]:
    """A model, its optimiser, batches of x0, t and eps, alpha_bar and the largest norm."""
    generator = torch.Generator().manual_seed(seed)
    model = Toy()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.5)
    batches = []
    for _ in range(n_batches):
        x0, eps = torch.randn(2, 6, 6, generator=generator, dtype=torch.float64)
        batches.append((x0, torch.randint(8, (6,), generator=generator), eps))
    alpha_bar = (1 - torch.linspace(0.05, 0.4, 8, dtype=torch.float64)).cumprod(0)
    return model, optimizer, batches, alpha_bar, max_norm


def mix(x0: Tensor, t: Tensor, eps: Tensor, alpha_bar: Tensor) -> Tensor:
    """x_t for points (B, D)."""
    a = alpha_bar[t][:, None]
    return a.sqrt() * x0 + (1 - a).sqrt() * eps


def square(eps_theta: Tensor, x0: Tensor, eps: Tensor) -> Tensor:
    """The right loss."""
    return ((eps_theta - eps) ** 2).mean()


ORDER = ("zero", "backward", "clip", "step")


def loop_with(
    *,
    order: Sequence[str] = ORDER,
    loss: Callable[[Tensor, Tensor, Tensor], Tensor] = square,
    noised: Callable[[Tensor, Tensor, Tensor, Tensor], Tensor] = mix,
    clip: Callable[..., Any] = nn.utils.clip_grad_norm_,
    t_of: Callable[[Tensor], Tensor] = lambda t: t,
    eps_of: Callable[[Tensor], Tensor] = lambda eps: eps,
) -> Callable[..., list[float]]:
    """A learner's loop, put together from its parts."""

    def train_on(
        eps_model: nn.Module,
        optimizer: torch.optim.Optimizer,
        batches: Sequence[tuple[Tensor, Tensor, Tensor]],
        alpha_bar: Tensor,
        max_norm: float,
    ) -> list[float]:
        losses = []
        for x0, t, eps in batches:
            t, eps = t_of(t), eps_of(eps)
            value = loss(eps_model(noised(x0, t, eps, alpha_bar), t), x0, eps)
            actions = {
                "zero": optimizer.zero_grad,
                "backward": value.backward,
                "clip": lambda: clip(eps_model.parameters(), max_norm),
                "step": optimizer.step,
            }
            for name in order:
                actions[name]()
            losses.append(float(value))
        return losses

    return train_on


check_train_on = Exercise(
    function="train_on",
    solution=loop_with(),
    cases=[toy_case(0, 6, 0.5), toy_case(1, 4, 100.0)],
    mistakes=(
        Mistake("gradients never zeroed", loop_with(order=("backward", "clip", "step"))).says("""
            This looks like gradients that pile up from step to step.
            `backward` *adds* to what is in `.grad`. Who empties it?
            Call `optimizer.zero_grad()` once a step, before `backward()`."""),
        Mistake("zeroed too late", loop_with(order=("backward", "zero", "clip", "step"))).says("""
            This looks like a loop that never learns: `step()` is missing, or the gradients are emptied before it.
            In which order do `zero_grad`, `backward` and `step` stand?
            `zero_grad`, `backward`, clip, `step`."""),
        Mistake("step before backward", loop_with(order=("step", "zero", "backward", "clip"))).says("""
            This looks like `step()` before `backward()`: every gradient is used one batch too late.
            `step` uses the gradient that `backward` made.
            `zero_grad`, `backward`, clip, `step`."""),
        Mistake("clipped after the step", loop_with(order=("zero", "backward", "step", "clip"))).says("""
            This looks like no clipping, or clipping after the step, when it is too late.
            What does the optimiser see when it takes its step?
            Clip between `backward()` and `step()`."""),
        Mistake("clipped value by value", loop_with(clip=nn.utils.clip_grad_value_)).says("""
            This looks like every value of the gradient clipped on its own.
            That bends the gradient. Clipping its *norm* keeps its direction.
            `torch.nn.utils.clip_grad_norm_(eps_model.parameters(), max_norm)`."""),
        Mistake(
            "always scaled to the largest norm",
            loop_with(clip=lambda parameters, max_norm: scale_to(list(parameters), max_norm)),
        ).says("""
            This looks like every gradient scaled to `max_norm`, small ones too.
            Clipping only shortens what is too long.
            The factor is at most 1: `min(1, max_norm / norm)`."""),
        Mistake(
            "sum instead of mean", loop_with(loss=lambda eps_theta, x0, eps: ((eps_theta - eps) ** 2).sum())
        ).says("""
            This looks like a sum over the batch, where a mean belongs.
            With a sum, a batch twice as large means a gradient twice as large.
            `((eps_theta - eps) ** 2).mean()`."""),
        Mistake(
            "network guesses x0", loop_with(loss=lambda eps_theta, x0, eps: ((eps_theta - x0) ** 2).mean())
        ).says("""
            This looks like a network that is asked for the image.
            What does the sampler take the answer for?
            Compare with `eps`."""),
        Mistake("absolute error", loop_with(loss=lambda eps_theta, x0, eps: (eps_theta - eps).abs().mean())).says("""
            This looks like the absolute error.
            Its best answer is a median. Which error has the mean as its best answer?
            `((eps_theta - eps) ** 2).mean()`."""),
        Mistake(
            "no roots", loop_with(noised=lambda x0, t, eps, a: a[t][:, None] * x0 + (1 - a[t][:, None]) * eps)
        ).says(r"""
            This looks like image and noise mixed without the roots.
            $\bar\alpha_t$ and $1-\bar\alpha_t$ are shares of *variance*.
            `alpha_bar[t].sqrt()` and `(1 - alpha_bar[t]).sqrt()`."""),
        Mistake(
            "noise without its root",
            loop_with(noised=lambda x0, t, eps, a: a[t][:, None].sqrt() * x0 + (1 - a[t][:, None]) * eps),
        ).says("""
            This looks like the noise multiplied by its variance.
            The image has its root. And the noise?
            `(1 - alpha_bar[t]).sqrt() * eps`."""),
        Mistake("clean image shown", loop_with(noised=lambda x0, t, eps, a: x0)).says("""
            This looks like a network that sees the clean image.
            How could it guess noise that is not there?
            It sees `xt`, the mix of `x0` and `eps`."""),
        Mistake("one t for the whole batch", loop_with(t_of=lambda t: t[:1].expand(len(t)))).says("""
            This looks like the first time of the batch, used for all images.
            `t` holds one time an image.
            `alpha_bar[t]` has shape (B,); give it a second axis with `[:, None]` and it broadcasts."""),
        Mistake("t shifted by one", loop_with(noised=lambda x0, t, eps, a: mix(x0, t - 1, eps, a))).says("""
            This looks like `alpha_bar[t - 1]`, the paper's count.
            In code, index t is the step itself.
            `alpha_bar[t]`."""),
        Mistake(
            "no second axis", loop_with(noised=lambda x0, t, eps, a: a[t].sqrt() * x0 + (1 - a[t]).sqrt() * eps)
        ).says("""
            This looks like `alpha_bar[t]` without a second axis.
            (B,) meets (B, D) from the right: which value got which time? (Here B = D; else it would be an error.)
            `alpha_bar[t][:, None]` has shape (B, 1), and broadcasts with (B, D)."""),
        Mistake("axes for images", loop_with(noised=lambda x0, t, eps, a: mix(x0, t[:, None, None], eps, a))).says("""
            This looks like `.view(-1, 1, 1, 1)`, which fits images, on points of shape (B, D).
            Print the shape of `xt`. Every point was mixed with the times of all.
            `alpha_bar[t][:, None]` has shape (B, 1), and broadcasts with (B, D)."""),
        Mistake("roots swapped", loop_with(noised=lambda x0, t, eps, a: mix(eps, t, x0, a))).says(r"""
            This looks like the roots of image and noise swapped.
            At $t = 0$, $\bar\alpha_t$ is nearly 1. Which of the two should be seen there?
            `alpha_bar[t].sqrt() * x0 + (1 - alpha_bar[t]).sqrt() * eps`."""),
        Mistake(
            "sum over the values", loop_with(loss=lambda eps_theta, x0, eps: ((eps_theta - eps) ** 2).sum(-1).mean())
        ).says(r"""
            This looks like a sum over the values of a point, and a mean over the batch.
            It is $\lVert\cdot\rVert^2$ to the letter. The lesson also takes the mean over the values, so that
                guessing nothing costs 1.
            `((eps_theta - eps) ** 2).mean()`."""),
        Mistake("eps drawn anew", loop_with(eps_of=torch.randn_like)).says("""
            This looks like noise of your own in place of the batch's.
            What does each batch hold besides `x0` and `t`?
            `for x0, t, eps in batches:` has drawn it already."""),
        Mistake(
            "clipped to 1", loop_with(clip=lambda parameters, max_norm: nn.utils.clip_grad_norm_(parameters, 1.0))
        ).says("""
            This looks like clipping to 1, whatever `max_norm` is.
            What does the function get it for?
            `clip_grad_norm_(eps_model.parameters(), max_norm)`."""),
        Mistake("last loss only", lambda *case: loop_with()(*case)[-1]).says("""
            This looks like the loss of the last batch alone.
            The exercise asks for all of them.
            `losses.append(float(loss))` in the loop, and `return losses` after it."""),
    ),
    consequence="These lines are Algorithm 1 of the paper, and they are all that the network ever learns from.",
)


def scale_to(parameters: list[nn.Parameter], norm: float) -> None:
    """Give the gradient this norm, whatever it was."""
    total = torch.stack([p.grad.norm() for p in parameters]).norm()
    for p in parameters:
        p.grad.mul_(norm / total)


# averaged: the running average


def average_with(
    mix: Callable[[Tensor, Tensor, float], Tensor], start: Callable[[Tensor], Tensor] = lambda w: w
) -> Callable[[Tensor, Tensor, float], Tensor]:
    """A learner's average: ``mix(average, weights, decay)`` after every update."""

    def averaged(weights: Tensor, updates: Tensor, decay: float) -> Tensor:
        average = start(weights)
        for update in updates:
            weights = weights + update
            average = mix(average, weights, decay)
        return average

    return averaged


def average_of_single_updates(weights: Tensor, updates: Tensor, decay: float) -> Tensor:
    """Every update is added to the first weights."""
    average = weights
    for update in updates:
        average = right_mix(average, weights + update, decay)
    return average


def average_too_early(weights: Tensor, updates: Tensor, decay: float) -> Tensor:
    """The average takes in the weights before their update."""
    average = weights
    for update in updates:
        average = decay * average + (1 - decay) * weights
        weights = weights + update
    return average


def average_fed_back(weights: Tensor, updates: Tensor, decay: float) -> Tensor:
    """The average overwrites the weights that are trained."""
    for update in updates:
        weights = decay * weights + (1 - decay) * (weights + update)
    return weights


def average_in_place(weights: Tensor, updates: Tensor, decay: float) -> Tensor:
    """Without a copy, what is done to the average is done to the weights."""
    average = weights
    for update in updates:
        weights += update
        average.mul_(decay).add_((1 - decay) * weights)
    return average


def average_rebound(weights: Tensor, updates: Tensor, decay: float) -> Tensor:
    """Without a copy, the first update in place changes both; then the average is a tensor of its own."""
    average = weights
    for update in updates:
        weights += update
        average = decay * average + (1 - decay) * weights
    return average


def average_warmed_up(weights: Tensor, updates: Tensor, decay: float) -> Tensor:
    """With the decay that training uses, which grows with the steps."""
    average = weights
    for k, update in enumerate(updates, start=1):
        weights = weights + update
        average = right_mix(average, weights, min(decay, (1 + k) / (10 + k)))
    return average


def mean_of_all(weights: Tensor, updates: Tensor, decay: float) -> Tensor:
    """The plain mean of all weights, the first among them."""
    return torch.cat([weights[None], weights + updates.cumsum(0)]).mean(0)


def right_mix(average: Tensor, weights: Tensor, decay: float) -> Tensor:
    """One step of the running average."""
    return decay * average + (1 - decay) * weights


def wander(n: int, seed: int) -> tuple[Tensor, Tensor]:
    """First weights and n updates."""
    numbers = torch.randn(n + 1, 4, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return numbers[0] + 1, numbers[1:]


check_averaged = Exercise(
    function="averaged",
    solution=average_with(right_mix),
    cases=[(*wander(1, 0), 0.9), (*wander(5, 1), 0.8), (*wander(12, 2), 0.97)],
    mistakes=(
        Mistake(
            "decay swapped", average_with(lambda average, weights, decay: (1 - decay) * average + decay * weights)
        ).says("""
            This looks like `decay` and `1 - decay` swapped.
            With a decay of 0.9999 the average must hardly move. Does yours?
            `decay * average + (1 - decay) * weights`."""),
        Mistake("average is the weights", average_with(lambda average, weights, decay: weights)).says("""
            This returns the last weights themselves.
            Where is the memory of the weights before?
            `average = decay * average + (1 - decay) * weights` after every update."""),
        Mistake("two names for one tensor", average_in_place).says("""
            This looks like `average` and `weights` being one and the same tensor, changed in place.
            `average = weights` makes no copy. What does `weights += update` do then?
            Start with `average = weights.clone()`."""),
        Mistake("starts after the first update", average_rebound).says("""
            This looks like an average that starts with the weights *after* their first update.
            Did you mean to? If not: `average = weights` makes no copy, and `weights += update` changes both.
            Start with `average = weights.clone()`. (`AveragedModel` starts one step later, in training.)"""),
        Mistake("with warm-up", average_warmed_up).says("""
            This looks like the average with its warm-up.
            A good idea for a real run. Here the decay is the same in every step.
            `decay * average + (1 - decay) * weights`."""),
        Mistake("fed back into the weights", average_fed_back).says("""
            This looks like the average written over the weights that are trained, or mixed once, after the loop.
            The average only watches, at every step. The weights must not notice it.
            Keep two tensors: `weights` gets the updates, and `average` is mixed after each of them."""),
        Mistake("updates that do not add up", average_of_single_updates).says("""
            This looks like every update added to the *first* weights.
            Training walks on from where the last step ended.
            `weights = weights + update`, and then the average."""),
        Mistake("one step behind", average_too_early).says("""
            This looks like an average that takes in the weights before their update.
            Which comes first, the step of the optimiser or the average?
            First `weights = weights + update`, then the average."""),
        Mistake("starts at zero", average_with(right_mix, start=torch.zeros_like)).says("""
            This looks like an average that starts at zero.
            After the first step it would hold a tenth of the weights, or a ten-thousandth.
            Start with a copy of the first weights."""),
        Mistake(
            "starts at zero and says so",
            lambda weights, updates, decay: (
                average_with(right_mix, start=torch.zeros_like)(weights, updates, decay) / (1 - decay ** len(updates))
            ),
        ).says("""
            This looks like Adam's way: start at zero and divide by $1 - d^n$.
            A good idea, but (10.1) starts with a copy of the first weights.
            Start with `weights.clone()`, and divide by nothing."""),
        Mistake("plain mean", mean_of_all).says("""
            This looks like the plain mean of all weights.
            It never forgets the random first weights.
            What is new counts `1 - decay`, whatever came before."""),
        Mistake("not a mean", average_with(lambda average, weights, decay: decay * average + weights)).says("""
            This looks like a sum that grows: the factors do not add up to 1.
            If the weights stood still, the average should stand still too.
            `(1 - decay)` in front of the weights."""),
        Mistake(
            "updates averaged",
            lambda weights, updates, decay: average_with(lambda a, w, d: right_mix(a, w, d))(
                weights, updates.diff(dim=0, prepend=weights[None]), decay
            ),
        ).says("""
            This looks like an average of the updates.
            What is sampled from later, weights or updates?
            Mix `weights`, after `update` has been added to them."""),
    ),
    consequence="The package leaves this to `torch.optim.swa_utils.AveragedModel`, and only tells it the decay.",
    tolerance=1e-6,
)


# learning_rate


def rate_with(
    rise: Callable[[int, int], float] = lambda step, warmup: (step + 1) / warmup,
    fall: Callable[[int, int, int], float] = lambda step, n_steps, cooldown: (n_steps - step) / cooldown,
    join: Callable[[float, float], float] = lambda rise, fall: min(1.0, rise, fall),
) -> Callable[[int, int, float, int, int], float]:
    """A learner's learning rate, put together from its parts."""

    def learning_rate(step: int, n_steps: int, lr: float, warmup: int, cooldown: int) -> float:
        return lr * join(rise(step, warmup), fall(step, n_steps, cooldown))

    return learning_rate


def rate_in_turn(step: int, n_steps: int, lr: float, warmup: int, cooldown: int) -> float:
    """First the warm-up, then the plateau, then the cool-down, each on its own."""
    if step < warmup:
        return lr * (step + 1) / warmup
    return lr * (n_steps - step) / cooldown if step >= n_steps - cooldown else lr


check_learning_rate = Exercise(
    function="learning_rate",
    solution=rate_with(),
    cases=[(step, 100, 0.2, 10, 30) for step in (0, 1, 4, 9, 10, 50, 70, 71, 72, 90, 99)]
    + [(step, 20, 1.0, 15, 15) for step in (0, 8, 9, 12, 19)],
    mistakes=(
        Mistake("first step of zero", rate_with(rise=lambda step, warmup: step / warmup)).says("""
            This looks like a learning rate that starts at 0.
            A step with learning rate 0 is no step.
            Start with `1 / warmup`: `(step + 1) / warmup`."""),
        Mistake("brackets forgotten in the rise", rate_with(rise=lambda step, warmup: step + 1 / warmup)).says("""
            This looks like `step + 1 / warmup`, without brackets.
            What does Python divide first?
            `(step + 1) / warmup`."""),
        Mistake("the largest counts", rate_with(join=lambda rise, fall: max(1.0, rise, fall))).says("""
            This looks like `max` where `min` belongs.
            At the first step, which of 1, the rise and the fall should count?
            `lr * min(1, rise, fall)`."""),
        Mistake(
            "warm-up and cool-down swapped",
            lambda step, n_steps, lr, warmup, cooldown: rate_with()(step, n_steps, lr, cooldown, warmup),
        ).says("""
            This looks like `warmup` and `cooldown` swapped.
            Which of the two is at the beginning?
            `(step + 1) / warmup` rises, `(n_steps - step) / cooldown` falls."""),
        Mistake("no ceiling", rate_with(join=min)).says("""
            This looks like a learning rate that goes on rising after the warm-up.
            Where is the plateau?
            Three things compete: 1, the rise and the fall. `min(1, rise, fall)`."""),
        Mistake("no warm-up", rate_with(join=lambda rise, fall: min(1.0, fall))).says("""
            This looks like a run without warm-up.
            What should the first of `warmup` steps have?
            `(step + 1) / warmup`, as long as that is less than 1."""),
        Mistake("no cool-down", rate_with(join=lambda rise, fall: min(1.0, rise))).says("""
            This looks like a run without cool-down, or with one whose brackets are missing.
            How many steps are left, and what share of `cooldown` is that?
            `(n_steps - step) / cooldown`, as long as that is less than 1."""),
        Mistake("product", rate_with(join=lambda rise, fall: min(1.0, rise) * min(1.0, fall))).says("""
            This looks like rise times fall. It is the same unless warm-up and cool-down meet.
            Try 20 steps with 15 of warm-up and 15 of cool-down.
            The smaller of the two counts: `min(1, rise, fall)`."""),
        Mistake(
            "last step of zero", rate_with(fall=lambda step, n_steps, cooldown: (n_steps - 1 - step) / cooldown)
        ).says("""
            This looks like a last step with learning rate 0.
            At `step = n_steps - 1`, how many steps are left, counting this one?
            `(n_steps - step) / cooldown`."""),
        Mistake(
            "fall from the start", rate_with(fall=lambda step, n_steps, cooldown: (n_steps - step) / n_steps)
        ).says("""
            This looks like a fall over the whole run.
            Only the last `cooldown` steps are to fall.
            Divide by `cooldown`, not by `n_steps`."""),
        Mistake(
            "warm-up downwards",
            rate_with(rise=lambda step, warmup: max(warmup - step, 1) / warmup if step < warmup else 1.0),
        ).says("""
            This looks like a warm-up that starts at the top.
            Adam's first steps are the uncertain ones.
            It rises: `(step + 1) / warmup`."""),
        Mistake("steps counted from 1", rate_with(rise=lambda step, warmup: (step + 2) / warmup)).says("""
            This looks like the step counted one too far.
            `step` is 0 for the first step.
            `(step + 1) / warmup` is `1 / warmup` at first."""),
        Mistake("one after the other", rate_in_turn).says("""
            This is right until warm-up and cool-down overlap. Then the smaller of the two counts.
            Try 20 steps with 15 of warm-up and 15 of cool-down: what should step 12 have?
            `lr * min(1, rise, fall)` needs no `if`."""),
        Mistake(
            "lr among the shares",
            lambda step, n_steps, lr, warmup, cooldown: min(lr, (step + 1) / warmup, (n_steps - step) / cooldown),
        ).says("""
            This looks like `lr` inside the `min`.
            Rise and fall are shares, from 0 to 1. What are they shares of?
            `lr * min(1, rise, fall)`."""),
        Mistake(
            "zero at both ends",
            rate_with(
                rise=lambda step, warmup: step / warmup,
                fall=lambda step, n_steps, cooldown: (n_steps - 1 - step) / cooldown,
            ),
        ).says("""
            This looks like a learning rate of 0 at the first step and at the last.
            A step with learning rate 0 is no step.
            `(step + 1) / warmup` and `(n_steps - step) / cooldown`."""),
        Mistake("not scaled", lambda *arguments: rate_with()(*arguments) / arguments[2]).says("""
            This looks like the factor alone, without `lr`.
            The plateau should be as high as `lr`.
            Multiply by `lr`."""),
    ),
    consequence="It is `learning_rate` of the package, with the numbers in a `TrainConfig`.",
    tolerance=1e-6,
)

"""Exercises of notebook 10: what a step draws, the loop, the average of the weights, and the learning rate."""

import functools
import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from ddpm_lesson.lesson.kit.answer import EPS, Answer, answer_of, call, read, settled, tensor_of
from ddpm_lesson.lesson.kit.exercise import (
    CheckResult,
    Exercise,
    Later,
    Mistake,
    check,
    in_words,
    numbers,
    wrong,
)

UNKNOWN = "it looks like no mistake we know"

# draw_batch


@dataclass(frozen=True)
class RandomExercise(Exercise):
    """An exercise whose answers are random: what is compared is what ``summary`` says about them.

    ``summary`` takes the function and a case, and gives by name numbers with what chance may do to them; ``refused``
    is said when PyTorch cannot do what it is asked for.
    """

    summary: Callable[..., dict[str, tuple[Any, float]]] = field(kw_only=True)
    refused: str = field(kw_only=True)

    def judge(self, function: Callable[..., Any]) -> CheckResult:
        """Try the learner's function and hold the summary of its answers against the right one."""
        if not callable(function) or isinstance(function, type):
            return check(self, function)
        result = check(self, self.summarised(function))
        return result if result.passed or UNKNOWN not in result.message else wrong(self.difference(function))

    def summarised(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """The same function, answering with the numbers of the summary; a stub stays one."""

        @functools.wraps(function)
        def summary_of(*case: Any) -> Any:
            try:
                said = self.summary(function, *case)
            except NotImplementedError as error:
                raise type(error)(f"{error}. {self.refused}") if error.args else error from None
            return tuple(number for number, _ in said.values()) if isinstance(said, dict) else said

        return summary_of

    @cached_property
    def named(self) -> dict[str, tuple[Any, float]]:
        """The summary of the right answer to the first case."""
        return call(self.summary, (self.solution, *self.cases[0]))

    @cached_property
    def results(self) -> list[Any]:
        """The right summaries."""
        return [call(self.summarised(self.solution), case) for case in self.cases]

    @cached_property
    def answers(self) -> list[list[Answer]]:
        """The summaries of what each known mistake answers."""
        return [[answer_of(self.summarised(m.function), case) for case in self.cases] for m in self.known]

    def allowed(self, case: int, part: int, wanted: Tensor, eps: float) -> Tensor:
        """What chance may do, and more to numbers in half precision."""
        return torch.full_like(wanted, [slack for _, slack in self.named.values()][part] * eps / EPS)

    def difference(self, function: Callable[..., Any]) -> str:
        """The first number of the summary that is wrong, by its name."""
        for i, (case, right) in enumerate(zip(self.cases, self.right, strict=True)):
            answer = read(call(self.summarised(function), case))
            for name, fit, x, y in zip(self.named, self.fits(i, answer, right), answer.parts, right.parts, strict=True):
                if not fit:
                    k = int((x - y).abs().nan_to_num(torch.inf).argmax()) if x.shape == y.shape else 0
                    got, expected = (in_words(float(z.flatten()[k])) for z in (x, y))
                    return f"`{self.function}`: {name} is {got} where {expected} is right, and {UNKNOWN}."
        raise AssertionError("called for answers that are right")


def three_tensors(batch: Any, n_images: int) -> tuple[Tensor, Tensor, Tensor]:
    """x0, t and eps as they were returned.

    Raises:
        TypeError: if the batch is no such three tensors.
    """
    batch = list(itertools.islice(batch, 4)) if isinstance(batch, Iterator) else batch
    if not isinstance(batch, (tuple, list)) or len(batch) != 3:
        raise TypeError("draw_batch must return three tensors: x0, t, eps")
    x0, t, eps = (tensor_of(settled(part, n_images)) for part in batch)
    if any(part.ndim == 1 and part.is_floating_point() for part in (x0, t, eps)):
        raise TypeError("t must hold whole numbers, because `alpha_bar[t]` looks them up: `torch.randint` draws such")
    return x0, t, eps


def describe_batch(function: Callable[..., Any], images: Tensor, n_steps: int) -> Any:
    """What can be said about x0, t and eps, nearly the same for every draw; a stub's answer as is.

    By name a number, and what chance may do to it.

    Raises:
        TypeError: if the batch is no such three tensors.
    """
    first, second = function(images, n_steps), function(images, n_steps)
    if first is None or first is ...:
        return first
    x0, t, eps = three_tensors(first, len(images))
    again = [torch.equal(*pair) for pair in zip((t, eps), three_tensors(second, len(images))[1:], strict=True)]
    swapped = eps.ndim == 1 < t.ndim
    t, eps = (eps, t.double()) if swapped else (t, eps.double())
    if t.ndim != 1 or min(x0.ndim, eps.ndim) < 2 or not len(x0) == len(t) == len(eps) > 1:
        shapes = ", ".join(str(tuple(x.shape)) for x in (x0, t, eps))
        raise TypeError(
            f"draw_batch must return x0 (B, ...), t (B,) and eps (B, ...); got shapes {shapes}. Only `alpha_bar[t]` "
            "needs more axes, and that comes later"
        )
    pixels, several = eps.flatten(1), len(t.unique()) > 1  # a single time may be any
    repeated = [bool((eps == eps[:1]).all()), bool((pixels == pixels[:, :1]).all())]
    drawn, most = not any(repeated), 2 * n_steps  # of a few numbers the rest would be left to chance
    tails = 10 * ((eps - eps.mean()).abs().mean() / eps.std() - (2 / torch.pi) ** 0.5)  # 0 if normal, 0.7 if uniform
    shares = (t[:, None] == torch.arange(n_steps)).double().mean(0) * n_steps
    image, across = x0 if x0.shape == eps.shape else eps * 0, correlation(pixels[:, 1:], pixels[:, :-1])
    return {  # about five standard deviations for thousands of images
        "a value of x0": (x0, 4 * EPS),
        "the smallest t": (several * t.min().clamp(max=most), 0.5),
        "the largest t": (several * t.max().clamp(max=most), 0.5),
        "the number of different times": (several * min(len(t.unique()), most), 0.5),
        "how often a time is drawn, over how often it should be,": (several * shares, 0.3),
        "the mean of eps": (drawn * eps.mean(), 0.03),
        "the standard deviation of eps": (drawn * eps.std(), 0.03),
        "the correlation of eps between neighbouring images": (drawn * correlation(pixels[1:], pixels[:-1]), 0.03),
        "the correlation of eps between neighbouring pixels": (drawn * across, 0.03),
        "the correlation of eps with x0": (drawn * correlation(eps, image), 0.03),
        "how far eps is from normal": (drawn * tails, 0.3),
        "whether all images get the same eps (1 for yes)": (repeated[0], 0.04),
        "whether all pixels of an image get the same eps (1 for yes)": (repeated[1], 0.04),
        "whether eps has the shape of x0 (1 for yes)": (eps.shape == x0.shape, 0.04),
        "how often a t is the one before plus 1, as a share,": ((t.diff() == 1).double().mean(), 0.04),
        "whether t and eps are swapped (1 for yes)": (swapped, 0.04),
        "whether a second call draws the same t (1 for yes)": (again[0] and several, 0.04),
        "whether a second call draws the same eps (1 for yes)": (again[1], 0.04),
    }


def correlation(x: Tensor, y: Tensor) -> Tensor:
    """Pearson's correlation of two tensors of one shape; 0 if one is constant."""
    return torch.corrcoef(torch.stack((x.flatten().double(), y.flatten().double())))[0, 1].nan_to_num()


def draw_batch(images: Tensor, n_steps: int) -> tuple[Tensor, Tensor, Tensor]:
    """Images in [-1, 1], and for each a time and noise."""
    x0 = images.float() / 127.5 - 1
    t = torch.randint(n_steps, (len(images),))
    eps = torch.randn_like(x0)
    return x0, t, eps


def some_bytes(*shape: int) -> Tensor:
    """Random bytes, the same every time, black and white among them."""
    return torch.randint(256, shape, generator=torch.Generator().manual_seed(0)).to(torch.uint8)


check_draw_batch = RandomExercise(
    solution=draw_batch,
    cases=[(some_bytes(2000, 1, 4, 4), 8), (some_bytes(10_000, 3, 2, 2), 5)],
    mistakes=(
        Mistake("data in [0, 1]", ("127.5 - 1", "255")).says("""
            This looks like images in [0, 1].
            The samples are clipped to $[-1, 1]$, and noise has mean 0. Where should grey be?
            Black is -1 and white is 1: `images.float() / 127.5 - 1`."""),
        Mistake("bytes as they are", (" / 127.5 - 1", "")).says("""
            This looks like bytes, 0 to 255, as they are.
            Noise has size 1. How much of it would be seen beside numbers up to 255?
            Scale to $[-1, 1]$: `images.float() / 127.5 - 1`."""),
        Mistake("data in [-1/2, 1/2]", ("127.5 - 1", "255 - 0.5")).says("""
            This looks like images in $[-1/2, 1/2]$.
            The middle is right. What about the ends?
            `images.float() / 127.5 - 1` maps 0 to -1 and 255 to 1."""),
        Mistake("divided by 128", ("127.5", "128")).says("""
            This looks like white at 0.992: a division by 128.
            Bytes run from 0 to 255. Which number do you divide 255 by to get 2?
            `images.float() / 127.5 - 1` maps 0 to -1 and 255 to 1."""),
        Mistake("the same every time", ("t = torch", "torch.manual_seed(0); t = torch")).says("""
            This looks like a batch that comes out the same every time: a seed is set inside.
            What does the network learn from a second visit with the same $t$ and the same noise?
            Leave `manual_seed`, or a generator with a seed of its own, out of the function."""),
        Mistake(
            "early times more often",
            ("randint(n_steps, (len(images),))", "rand(len(images)).square().mul(n_steps).long()"),
        ).says("""
            This looks like small $t$ drawn more often than large ones.
            The sum over $t$ weighs all times alike. Which distribution does that take?
            `torch.randint(n_steps, (len(images),))` draws every time equally often."""),
        Mistake("one t for all", ("(len(images),))", "(1,)).expand(len(images))")).says("""
            This looks like one $t$ for the whole batch.
            What would one step of training learn about the other times?
            Draw as many times as there are images: `torch.randint(n_steps, (len(images),))`."""),
        Mistake("t from 1 to T", ("randint(n_steps", "randint(1, n_steps + 1")).says(r"""
            This looks like the paper's $t = 1, \dots, T$.
            In this lesson's code the first time is 0. What would `alpha_bar[T]` be?
            `torch.randint(n_steps, ...)` draws 0 .. T-1: its upper end is left out."""),
        Mistake("t from 0 to T", ("randint(n_steps", "randint(n_steps + 1")).says(r"""
            This looks like $t = 0, \dots, T$, one time too many.
            `alpha_bar` has T entries. What is the index of the last?
            `torch.randint(n_steps, ...)` draws 0 .. T-1: its upper end is left out."""),
        Mistake("T written as 1000", ("randint(n_steps", "randint(1000")).says("""
            This looks like times below 1000, whatever `n_steps` is.
            The loop above had T = 1000. What does this function get?
            `torch.randint(n_steps, (len(images),))`."""),
        Mistake(
            "times counted, not drawn", ("randint(n_steps, (len(images),))", "arange(len(images)) % n_steps")
        ).says("""
            This looks like times that are counted, 0, 1, 2, .., and not drawn.
            Batch after batch the same image could meet the same time.
            `torch.randint(n_steps, (len(images),))`."""),
        Mistake("t from 1 to T-1", ("randint(n_steps", "randint(1, n_steps")).says("""
            This looks like $t = 0$ never drawn.
            The last step of sampling asks the network at $t = 0$. Has it ever seen that?
            Start at 0: `torch.randint(0, n_steps, ...)`."""),
        Mistake("last t left out", ("randint(n_steps", "randint(n_steps - 1")).says("""
            This looks like $t = T-1$ never drawn.
            `torch.randint` leaves out its upper end by itself.
            `torch.randint(n_steps, ...)`, without `- 1`."""),
        Mistake("eps uniform in [0, 1)", ("randn_like", "rand_like")).says(r"""
            This looks like noise that is uniform between 0 and 1.
            `rand` or `randn`: which of them is normal?
            $\epsilon \sim \mathcal{N}(0, I)$: `torch.randn_like(x0)`."""),
        Mistake("eps uniform in [-1, 1]", ("torch.randn_like(x0)", "2 * torch.rand_like(x0) - 1")).says(r"""
            This looks like noise that is uniform between -1 and 1.
            Its mean is right. Its variance is 1/3, and it has no tails.
            $\epsilon \sim \mathcal{N}(0, I)$: `torch.randn_like(x0)`."""),
        Mistake("one noise for all", ("randn_like(x0)", "randn_like(x0[:1]).expand_as(x0)")).says("""
            This looks like the same noise for every image.
            The network would hear one answer for the whole batch.
            Noise of the shape of the whole batch: `torch.randn_like(x0)`."""),
        Mistake("one number an image", ("randn_like(x0)", "randn(len(x0), 1, 1, 1).expand_as(x0)")).says("""
            This looks like one random number an image, the same for all of its pixels.
            Every pixel has noise of its own.
            `torch.randn_like(x0)` draws one for every value of x0."""),
        Mistake("one channel for all colours", ("randn_like(x0)", "randn(len(x0), 1, *x0.shape[2:])")).says("""
            This looks like noise with a single channel, also for images that have three.
            Does `eps` have the shape of `x0`?
            `torch.randn_like(x0)` has it by itself."""),
        Mistake("t and eps swapped", ("x0, t, eps", "x0, eps, t")).says("""
            This looks like the right three, in another order.
            In which order does the exercise ask for them?
            `return x0, t, eps`."""),
    ),
    consequence="Each image meets another time and other noise at every visit, so that no picture is ever seen twice "
    "in the same way.",
    summary=describe_batch,
    refused="Bytes have no normal noise: draw it like `x0`, `torch.randn_like(x0)`",
)


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


def train_on(
    eps_model: nn.Module,
    optimizer: torch.optim.Optimizer,
    batches: Sequence[tuple[Tensor, Tensor, Tensor]],
    alpha_bar: Tensor,
    max_norm: float,
) -> list[float]:
    """Algorithm 1 on batches of x0, t and eps -> their losses."""
    losses = []
    for x0, t, eps in batches:
        a = alpha_bar[t][:, None]
        xt = a.sqrt() * x0 + (1 - a).sqrt() * eps
        loss = ((eps_model(xt, t) - eps) ** 2).mean()
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(eps_model.parameters(), max_norm)
        optimizer.step()
        losses.append(float(loss))
    return losses


check_train_on = Exercise(
    solution=train_on,
    cases=Later(lambda: [toy_case(0, 6, 0.5), toy_case(1, 4, 100.0)]),  # the first optimiser takes seconds
    mistakes=(
        Mistake("gradients never zeroed", ("optimizer.zero_grad()", "")).says("""
            This looks like gradients that pile up from step to step.
            `backward` *adds* to what is in `.grad`. Who empties it?
            Call `optimizer.zero_grad()` once a step, before `backward()`."""),
        Mistake("zeroed too late", ("optimizer.step()", "optimizer.zero_grad(); optimizer.step()")).says("""
            This looks like a loop that never learns: `step()` is missing or stands after the loop,
                or the gradients are emptied before it.
            In which order do `zero_grad`, `backward` and `step` stand?
            `zero_grad`, `backward`, clip, `step`."""),
        Mistake(
            "step before backward", ("optimizer.step()", "", "optimizer.zero", "optimizer.step(); optimizer.zero")
        ).says("""
            This looks like `step()` before `backward()`: every gradient is used one batch too late.
            `step` uses the gradient that `backward` made.
            `zero_grad`, `backward`, clip, `step`."""),
        Mistake("clipped after the step", ("optimizer.step()", "", "nn.utils", "optimizer.step(); nn.utils")).says("""
            This looks like no clipping, or clipping after the step, when it is too late.
            What does the optimiser see when it takes its step?
            Clip between `backward()` and `step()`."""),
        Mistake("clipped value by value", ("clip_grad_norm_", "clip_grad_value_")).says("""
            This looks like every value of the gradient clipped on its own.
            That bends the gradient. Clipping its *norm* keeps its direction.
            `torch.nn.utils.clip_grad_norm_(eps_model.parameters(), max_norm)`."""),
        Mistake("always scaled to the largest norm", ("loss.backward", "(1e9 * loss).backward")).says("""
            This looks like every gradient scaled to `max_norm`, small ones too.
            Clipping only shortens what is too long.
            The factor is at most 1: `min(1, max_norm / norm)`."""),
        Mistake("sum instead of mean", (".mean()", ".sum()")).says("""
            This looks like a sum over the batch, where a mean belongs.
            With a sum, a batch twice as large means a gradient twice as large.
            `((eps_theta - eps) ** 2).mean()`."""),
        Mistake("network guesses x0", ("t) - eps)", "t) - x0)")).says("""
            This looks like a network that is asked for the image.
            What does the sampler take the answer for?
            Compare with `eps`."""),
        Mistake("absolute error", ("((eps_model(xt, t) - eps) ** 2)", "(eps_model(xt, t) - eps).abs()")).says("""
            This looks like the absolute error.
            Its best answer is a median. Which error has the mean as its best answer?
            `((eps_theta - eps) ** 2).mean()`."""),
        Mistake("no roots", ("a.sqrt()", "a", "(1 - a).sqrt()", "(1 - a)")).says(r"""
            This looks like image and noise mixed without the roots.
            $\bar\alpha_t$ and $1-\bar\alpha_t$ are shares of *variance*.
            `alpha_bar[t].sqrt()` and `(1 - alpha_bar[t]).sqrt()`."""),
        Mistake("noise without its root", ("(1 - a).sqrt()", "(1 - a)")).says("""
            This looks like the noise multiplied by its variance.
            The image has its root. And the noise?
            `(1 - alpha_bar[t]).sqrt() * eps`."""),
        Mistake("clean image shown", ("a.sqrt() * x0 + (1 - a).sqrt() * eps", "x0")).says("""
            This looks like a network that sees the clean image.
            How could it guess noise that is not there?
            It sees `xt`, the mix of `x0` and `eps`."""),
        Mistake("one t for the whole batch", ("a = alpha", "t = t[:1].expand(len(t)); a = alpha")).says("""
            This looks like the first time of the batch, used for all images.
            `t` holds one time an image.
            `alpha_bar[t]` has shape (B,); give it a second axis with `[:, None]` and it broadcasts."""),
        Mistake("t shifted by one", ("alpha_bar[t]", "alpha_bar[t - 1]")).says("""
            This looks like `alpha_bar[t - 1]`, the paper's count.
            In code, index t is the step itself.
            `alpha_bar[t]`."""),
        Mistake("no second axis", ("[:, None]", "")).says("""
            This looks like `alpha_bar[t]` without a second axis.
            (B,) meets (B, D) from the right: which value got which time? (Here B = D; else it would be an error.)
            `alpha_bar[t][:, None]` has shape (B, 1), and broadcasts with (B, D)."""),
        Mistake("axes for images", ("[:, None]", "[:, None, None, None]")).says("""
            This looks like `.view(-1, 1, 1, 1)`, which fits images, on points of shape (B, D).
            Print the shape of `xt`. Every point was mixed with the times of all.
            `alpha_bar[t][:, None]` has shape (B, 1), and broadcasts with (B, D)."""),
        Mistake("roots swapped", ("* x0 +", "* eps +", "a).sqrt() * eps", "a).sqrt() * x0")).says(r"""
            This looks like the roots of image and noise swapped.
            At $t = 0$, $\bar\alpha_t$ is nearly 1. Which of the two should be seen there?
            `alpha_bar[t].sqrt() * x0 + (1 - alpha_bar[t]).sqrt() * eps`."""),
        Mistake("sum over the values", (".mean()", ".sum(-1).mean()")).says(r"""
            This looks like a sum over the values of a point, and a mean over the batch.
            It is $\lVert\cdot\rVert^2$ to the letter. The lesson also takes the mean over the values, so that
                guessing nothing costs 1.
            `((eps_theta - eps) ** 2).mean()`."""),
        Mistake("eps drawn anew", ("a = alpha", "eps = torch.randn_like(eps); a = alpha")).says("""
            This looks like noise of your own in place of the batch's.
            What does each batch hold besides `x0` and `t`?
            `for x0, t, eps in batches:` has drawn it already."""),
        Mistake("clipped to 1", ("max_norm)", "1.0)")).says("""
            This looks like clipping to 1, whatever `max_norm` is.
            What does the function get it for?
            `clip_grad_norm_(eps_model.parameters(), max_norm)`."""),
        Mistake("last loss only", ("return losses", "return losses[-1]")).says("""
            This looks like the loss of the last batch alone.
            The exercise asks for all of them.
            `losses.append(float(loss))` in the loop, and `return losses` after it."""),
    ),
    consequence="These lines are Algorithm 1 of the paper, and they are all that the network ever learns from.",
)


def averaged(weights: Tensor, updates: Tensor, decay: float) -> Tensor:
    """The running average (10.1) of weights that take one update after the other."""
    average = weights.clone()
    for update in updates:
        weights = weights + update
        average = decay * average + (1 - decay) * weights
    return average


def average_in_place(weights: Tensor, updates: Tensor, decay: float) -> Tensor:
    """Without a copy, what is done to the average is done to the weights."""
    average = weights
    for update in updates:
        weights += update
        average.mul_(decay).add_((1 - decay) * weights)
    return average


def average_warmed_up(weights: Tensor, updates: Tensor, decay: float) -> Tensor:
    """With the decay that training uses, which grows with the steps."""
    average = weights
    for k, update in enumerate(updates, start=1):
        weights = weights + update
        average = average.lerp(weights, 1 - min(decay, (1 + k) / (10 + k)))
    return average


def wander(n: int, seed: int) -> tuple[Tensor, Tensor]:
    """First weights and n updates."""
    first, *updates = numbers(n + 1, 4, seed=seed, dtype=torch.float64)
    return first + 1, torch.stack(updates)


check_averaged = Exercise(
    solution=averaged,
    cases=[(*wander(1, 0), 0.9), (*wander(5, 1), 0.8), (*wander(12, 2), 0.97)],
    mistakes=(
        Mistake("decay swapped", ("decay * average + (1 - decay)", "(1 - decay) * average + decay")).says("""
            This looks like `decay` and `1 - decay` swapped.
            With a decay of 0.9999 the average must hardly move. Does yours?
            `decay * average + (1 - decay) * weights`."""),
        Mistake("average is the weights", ("return average", "return weights")).says("""
            This returns the last weights themselves.
            Where is the memory of the weights before?
            `average = decay * average + (1 - decay) * weights` after every update."""),
        Mistake("two names for one tensor", average_in_place).says("""
            This looks like `average` and `weights` being one and the same tensor, changed in place.
            `average = weights` makes no copy. What does `weights += update` do then?
            Start with `average = weights.clone()`."""),
        Mistake(
            "starts after the first update", ("weights.clone()", "weights", "weights = weights +", "weights +=")
        ).says("""
            This looks like an average that starts with the weights *after* their first update.
            Did you mean to? If not: `average = weights` makes no copy, and `weights += update` changes both.
            Start with `average = weights.clone()`. (`AveragedModel` starts one step later, in training.)"""),
        Mistake("with warm-up", average_warmed_up).says("""
            This looks like the average with its warm-up.
            A good idea for a real run. Here the decay is the same in every step.
            `decay * average + (1 - decay) * weights`."""),
        Mistake("fed back into the weights", ("average = decay", "weights = average = decay")).says("""
            This looks like the average written over the weights that are trained, or mixed once, after the loop.
            The average only watches, at every step. The weights must not notice it.
            Keep two tensors: `weights` gets the updates, and `average` is mixed after each of them."""),
        Mistake(
            "updates that do not add up", ("weights = weights + update", "", "* weights", "* (weights + update)")
        ).says("""
            This looks like every update added to the *first* weights.
            Training walks on from where the last step ended.
            `weights = weights + update`, and then the average."""),
        Mistake(
            "one step behind", ("weights = weights + update", "", "* weights", "* weights; weights = weights + update")
        ).says("""
            This looks like an average that takes in the weights before their update.
            Which comes first, the step of the optimiser or the average?
            First `weights = weights + update`, then the average."""),
        Mistake("starts at zero", ("weights.clone()", "torch.zeros_like(weights)")).says("""
            This looks like an average that starts at zero.
            After the first step it would hold a tenth of the weights, or a ten-thousandth.
            Start with a copy of the first weights."""),
        Mistake(
            "starts at zero and says so",
            ("weights.clone()", "0", "return average", "return average / (1 - decay ** len(updates))"),
        ).says("""
            This looks like Adam's way: start at zero and divide by $1 - d^n$.
            A good idea, but (10.1) starts with a copy of the first weights.
            Start with `weights.clone()`, and divide by nothing."""),
        Mistake(
            "plain mean", lambda first, updates, decay: torch.stack([first, *(first + updates.cumsum(0))]).mean(0)
        ).says("""
            This looks like the plain mean of all weights.
            It never forgets the random first weights.
            What is new counts `1 - decay`, whatever came before."""),
        Mistake("not a mean", ("(1 - decay) * ", "")).says("""
            This looks like a sum that grows: the factors do not add up to 1.
            If the weights stood still, the average should stand still too.
            `(1 - decay)` in front of the weights."""),
        Mistake("updates averaged", ("* weights", "* update")).says("""
            This looks like an average of the updates.
            What is sampled from later, weights or updates?
            Mix `weights`, after `update` has been added to them."""),
    ),
    consequence="The package leaves this to `torch.optim.swa_utils.AveragedModel`, and only tells it the decay.",
    tolerance=1e-6,
)


def half_cosine(share: float) -> float:
    """From 1 to 0 as the share of a fall goes from 0 to 1, along a cosine; before it 1."""
    return 0.5 + 0.5 * math.cos(math.pi * max(share, 0.0))


def learning_rate(step: int, n_steps: int, lr: float, warmup: int, cooldown: int) -> float:
    """Up in the first ``warmup`` steps, down in the last ``cooldown``."""
    rise, fall = (step + 1) / warmup, (n_steps - step) / cooldown
    return lr * min(1.0, rise, fall)


check_learning_rate = Exercise(
    solution=learning_rate,
    cases=[(step, 100, 0.2, 10, 30) for step in (0, 1, 4, 9, 10, 50, 70, 71, 72, 90, 99)]
    + [(step, 20, 1.0, 15, 15) for step in (0, 8, 9, 12, 19)],
    mistakes=(
        Mistake("first step of zero", ("(step + 1)", "step")).says("""
            This looks like a learning rate that starts at 0.
            A step with learning rate 0 is no step.
            Start with `1 / warmup`: `(step + 1) / warmup`."""),
        Mistake("brackets forgotten in the rise", ("(step + 1)", "step + 1")).says("""
            This looks like `step + 1 / warmup`, without brackets.
            What does Python divide first?
            `(step + 1) / warmup`."""),
        Mistake("the largest counts", ("min(", "max(")).says("""
            This looks like `max` where `min` belongs.
            At the first step, which of 1, the rise and the fall should count?
            `lr * min(1, rise, fall)`."""),
        Mistake(
            "warm-up and cool-down swapped", ("/ warmup", "/ cooldown", "- step) / cooldown", "- step) / warmup")
        ).says("""
            This looks like `warmup` and `cooldown` swapped.
            Which of the two is at the beginning?
            `(step + 1) / warmup` rises, `(n_steps - step) / cooldown` falls."""),
        Mistake("no ceiling", ("1.0, ", "")).says("""
            This looks like a learning rate that goes on rising after the warm-up.
            Where is the plateau?
            Three things compete: 1, the rise and the fall. `min(1, rise, fall)`."""),
        Mistake("no warm-up", ("1.0, rise, fall", "1.0, fall")).says("""
            This looks like a run without warm-up.
            What should the first of `warmup` steps have?
            `(step + 1) / warmup`, as long as that is less than 1."""),
        Mistake("no cool-down", ("1.0, rise, fall", "1.0, rise")).says("""
            This looks like a run without cool-down, or with one whose brackets are missing.
            How many steps are left, and what share of `cooldown` is that?
            `(n_steps - step) / cooldown`, as long as that is less than 1."""),
        Mistake("product", ("min(1.0, rise, fall)", "min(1.0, rise) * min(1.0, fall)")).says("""
            This looks like rise times fall. It is the same unless warm-up and cool-down meet.
            Try 20 steps with 15 of warm-up and 15 of cool-down.
            The smaller of the two counts: `min(1, rise, fall)`."""),
        Mistake("last step of zero", ("(n_steps - step)", "(n_steps - 1 - step)")).says("""
            This looks like a last step with learning rate 0.
            At `step = n_steps - 1`, how many steps are left, counting this one?
            `(n_steps - step) / cooldown`."""),
        Mistake("fall from the start", ("/ cooldown", "/ n_steps")).says("""
            This looks like a fall over the whole run.
            Only the last `cooldown` steps are to fall.
            Divide by `cooldown`, not by `n_steps`."""),
        Mistake(
            "warm-up downwards", ("(step + 1) / warmup", "(warmup - step) / warmup if step < warmup else 1.0")
        ).says("""
            This looks like a warm-up that starts at the top.
            Adam's first steps are the uncertain ones.
            It rises: `(step + 1) / warmup`."""),
        Mistake("cosine in the cool-down", ("1.0, rise, fall", "1.0, rise, half_cosine(1 - fall)")).says("""
            This looks like a cool-down along a cosine. Many runs fall like that; (10.5) falls in a straight line.
            Half-way through the cool-down both have half the rate. And a quarter of the way?
            `(n_steps - step) / cooldown`, as long as that is less than 1."""),
        Mistake("cosine over the run", ("1.0, rise, fall", "1.0, rise) * (half_cosine(step / n_steps)")).says("""
            This looks like a fall along a cosine over the whole run. Many runs fall like that.
            In (10.5) the rate stays at its full value until the last `cooldown` steps.
            `min(1, rise, fall)`, with `fall = (n_steps - step) / cooldown`."""),
        Mistake("steps counted from 1", ("step + 1", "step + 2")).says("""
            This looks like the step counted one too far.
            `step` is 0 for the first step.
            `(step + 1) / warmup` is `1 / warmup` at first."""),
        Mistake("one after the other", ("min(1.0, rise, fall)", "(rise if step < warmup else min(1.0, fall))")).says("""
            This is right until warm-up and cool-down overlap. Then the smaller of the two counts.
            Try 20 steps with 15 of warm-up and 15 of cool-down: what should step 12 have?
            `lr * min(1, rise, fall)` needs no `if`."""),
        Mistake("lr among the shares", ("lr * min(1.0, ", "min(lr, ")).says("""
            This looks like `lr` inside the `min`.
            Rise and fall are shares, from 0 to 1. What are they shares of?
            `lr * min(1, rise, fall)`."""),
        Mistake("zero at both ends", ("(step + 1)", "step", "(n_steps - step)", "(n_steps - 1 - step)")).says("""
            This looks like a learning rate of 0 at the first step and at the last.
            A step with learning rate 0 is no step.
            `(step + 1) / warmup` and `(n_steps - step) / cooldown`."""),
        Mistake("not scaled", ("lr * ", "")).says("""
            This looks like the factor alone, without `lr`.
            The plateau should be as high as `lr`.
            Multiply by `lr`."""),
    ),
    consequence="It is `learning_rate` of the package, with the numbers in a `TrainConfig`.",
    tolerance=1e-6,
)

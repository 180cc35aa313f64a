"""What a step of training draws."""

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from ddpm_lesson.lesson.kit.answer import EPS, settled, tensor_of
from ddpm_lesson.lesson.kit.chance import RandomExercise
from ddpm_lesson.lesson.kit.exercise import Mistake


def three_tensors(batch: Any, n_images: int) -> tuple[Tensor, Tensor, Tensor]:
    """x0, t and eps as they were returned; a TypeError if they are no such three tensors."""
    batch = list(itertools.islice(batch, 4)) if isinstance(batch, Iterator) else batch
    if not isinstance(batch, (tuple, list)) or len(batch) != 3:
        raise TypeError("draw_batch must return three tensors: x0, t, eps")
    x0, t, eps = (tensor_of(settled(part, n_images)) for part in batch)
    if any(part.ndim == 1 and part.is_floating_point() for part in (x0, t, eps)):
        raise TypeError("t must hold whole numbers, because `alpha_bar[t]` looks them up: `torch.randint` draws such")
    return x0, t, eps


def describe_batch(function: Callable[..., Any], images: Tensor, n_steps: int) -> Any:
    """What can be said about x0, t and eps, nearly the same for every draw; a stub's answer as is.

    By name a number, and what chance may do to it. A TypeError if the batch is no such three tensors.
    """
    first, second = function(images, n_steps), function(images, n_steps)
    if first is None or first is ...:
        return first
    x0, t, eps = three_tensors(first, len(images))
    again = [torch.equal(*pair) for pair in zip((t, eps), three_tensors(second, len(images))[1:], strict=True)]
    swapped = eps.ndim == 1 < t.ndim
    t, eps = (eps, t.double()) if swapped else (t, eps.double())
    if t.ndim != 1 or min(x0.ndim, eps.ndim) < 2 or not len(x0) == len(t) == len(eps) > 1:
        got = f"got shapes {', '.join(str(tuple(x.shape)) for x in (x0, t, eps))}"
        later = "Only `alpha_bar[t]` needs more axes, and that comes later"
        raise TypeError(f"draw_batch must return x0 (B, ...), t (B,) and eps (B, ...); {got}. {later}")
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
            "early times more often", ("int(n_steps, (len(images),))", "(len(images)).square().mul(n_steps).long()")
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
        Mistake("times counted, not drawn", ("randint(n_steps, (", "arange(", "),))", ")) % n_steps")).says("""
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

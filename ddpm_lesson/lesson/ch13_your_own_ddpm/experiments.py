"""Eleven pieces at work: trained, sampled from and measured, and the package beside them at the same budget."""

import contextlib
import copy
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ddpm_lesson.data import ImageDataset
from ddpm_lesson.diffusion import DenoiseDiffusion
from ddpm_lesson.evaluate import extractor, features_of
from ddpm_lesson.lesson.ch13_your_own_ddpm.board import Board, piece_at_fault
from ddpm_lesson.lesson.kit.pieces import PIECES
from ddpm_lesson.lesson.kit.probe import fresh_generator
from ddpm_lesson.sample import sample as draw
from ddpm_lesson.sample import spaced_times
from ddpm_lesson.train import TrainState, get_preset, train


class Plan(NamedTuple):
    """What to build out of the pieces, and how long to train it."""

    n_steps: int = 1000  # T
    first: float = 0.999  # alpha_bar at the first step
    last: float = 0.001  # and at the last
    n_channels: int = 32
    ch_mults: tuple[int, ...] = (1, 2)
    n_updates: int = 800
    chunk: int = 100  # updates between two looks


STANDARD = Plan()
SMALL = Plan(n_steps=20, n_channels=8, n_updates=2, chunk=1)  # all parts at work, and nothing learned


class PieceError(RuntimeError):
    """A piece that stopped in the whole; the message says which, with what, and where it was written."""


@contextlib.contextmanager
def blaming() -> Iterator[None]:
    """Turn what is raised in the ``with`` block into a ``PieceError`` if a piece on the board raised it."""
    try:
        yield
    except Exception as error:
        name = piece_at_fault(error)
        if name is None:
            raise
        said = str(error).rstrip(".") or "no reason given"
        place = PIECES[name].notebook
        raise PieceError(f"{name} stopped with {type(error).__name__}: {said}. It was written in {place}") from error


class OwnDdpm:
    """A DDPM made of pieces.

    Args:
        board: with the eleven; what is put on it later does not count.
        image_shape: (C, H, W).
        plan: what to build and how long to train.
        seed: of the first weights.
        watch: see ``Board.pieces``.

    Raises:
        ValueError: if the sides of the images cannot be halved as often as the plan wants.
        PieceError: here and in all that follows, if a piece fails.
    """

    def __init__(
        self,
        board: Board,
        image_shape: tuple[int, int, int],
        plan: Plan = STANDARD,
        seed: int = 0,
        *,
        watch: Callable[[str, Any], Any] | None = None,
    ):
        if any(side % (factor := 2 ** (len(plan.ch_mults) - 1)) for side in image_shape[1:]):
            raise ValueError(f"image sides must be divisible by {factor} for {plan.ch_mults}; got {image_shape}")
        self.pieces, self.plan, self.image_shape = board.pieces(watch), plan, image_shape
        self.n_own, self.n_lines = board.n_own, board.n_lines
        with blaming(), torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.beta = self.pieces.schedule(plan.n_steps, plan.first, plan.last).float()
            self.alpha_bar = (1 - self.beta).cumprod(0)
            self.net: nn.Module = self.pieces.SmallUNet(image_shape[0], plan.n_channels, plan.ch_mults)
        self.first = copy.deepcopy(self.net.state_dict())  # for a first chunk that was stopped and begins again
        self.state: dict[str, Any] | None = None
        self.updates = 0

    @property
    def model(self) -> nn.Module:
        """The network to sample from: the average, once there is one."""
        return self.net if self.state is None else self.state["average"].eval()

    def train(self, images: Tensor, seed: int = 0) -> Iterator[int]:
        """Train on images (N, C, H, W) in [-1, 1] as planned; yields the updates so far after every chunk."""
        while self.updates < self.plan.n_updates:
            n = min(self.plan.chunk, self.plan.n_updates - self.updates)
            with blaming(), torch.random.fork_rng(devices=[]):
                torch.manual_seed(seed * 1_000_003 + self.updates)
                if self.state is None:
                    self.net.load_state_dict(self.first)
                self.state = self.pieces.fit(self.net, images, self.alpha_bar, n, self.state)
            self.updates += n
            yield self.updates

    @torch.no_grad()
    def loss(self, images: Tensor, seed: int = 0) -> float:
        """``simple_loss`` of images at random times, with noise that nothing else has seen."""
        generator = fresh_generator(seed)
        eps = torch.randn(images.shape, generator=generator)
        t = torch.randint(self.plan.n_steps, (len(images),), generator=generator)
        with blaming():
            return float(self.pieces.simple_loss(self.model, images, t, eps, self.alpha_bar))

    def noise(self, n: int, seed: int) -> Tensor:
        """x_T for n images."""
        return torch.randn(n, *self.image_shape, generator=torch.Generator().manual_seed(seed))

    def draw(self, n: int, n_evaluations: int = 20, eta: float = 0.0, seed: int = 0) -> Tensor:
        """n images by ``sample``, (n, C, H, W), clipped to [-1, 1]."""
        times = spaced_times(self.plan.n_steps, n_evaluations)
        generator = torch.Generator().manual_seed(seed)
        with blaming():
            x = self.pieces.sample(self.model, self.noise(n, seed), self.beta, times, eta, generator)
        return x.clamp(-1, 1)

    @torch.no_grad()
    def draw_by_posterior(self, n: int, seed: int = 0) -> Tensor:
        """n images by Algorithm 2 through ``posterior``, all T steps, with x0_hat clipped."""
        x, generator = self.noise(n, seed), torch.Generator().manual_seed(seed)
        for t in torch.arange(self.plan.n_steps - 1, -1, -1):
            a, batch_t = self.alpha_bar[t], t.expand(n)
            with blaming():
                x0_hat = ((x - (1 - a).sqrt() * self.model(x, batch_t)) / a.sqrt()).clamp(-1, 1)
                mean, var = self.pieces.posterior(x0_hat, x, batch_t, self.beta)
            x = mean + var.sqrt() * torch.randn(x.shape, generator=generator)
        return x.clamp(-1, 1)

    def measure(
        self, samples: Tensor, real: Tensor, floor_draws: int = 10, features: str = "classifier"
    ) -> tuple[float, Tensor]:
        """``evaluate`` on features of images, see ``extractor``: the distance, and its floor (floor_draws,).

        Raises:
            ValueError: if too few real images are left beside as many as there are samples.
        """
        if len(real) < len(samples) + 2:
            wanted = f"real must hold at least 2 images more than samples, for the floor, so {len(samples) + 2}"
            raise ValueError(f"{wanted}; got {len(real)}")
        extract = extractor(features, self.image_shape)
        with blaming(), torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            seen = [features_of(extract, images) for images in (samples, real)]
            distance, floor = self.pieces.evaluate(*seen, floor_draws)
        return float(distance), floor


def who_is_asked(watched: Callable[[str, Any, set[str]], Any], board: Board | None = None) -> set[str]:
    """Which pieces are asked on the way from the first weights to drawings.

    Args:
        watched: from a name, a piece and a set to a spy that notes the name in the set, as notebook 13 builds it.
        board: whose pieces; the lesson's unless given.
    """
    called: set[str] = set()
    own = OwnDdpm(board or Board(), (1, 8, 8), SMALL, watch=lambda name, piece: watched(name, piece, called))
    list(own.train(torch.zeros(40, *own.image_shape)))
    own.draw(2, 5)
    return called


def readings(board: Board, digits: ImageDataset, test: Tensor, seeds: Iterable[int]) -> dict[str, Tensor]:
    """What two measures say of runs that differ in their seed alone: ``"loss"`` and ``"distance"``, a number a run.

    Args:
        board: with the pieces of all runs.
        digits: to train on, as planned in ``STANDARD``.
        test: images to ask about the loss (N, C, H, W); with ``digits``, they are what drawings are held against.
        seeds: of the runs.
    """
    found: dict[str, list[float]] = {"loss": [], "distance": []}
    for seed in seeds:
        own = OwnDdpm(board, digits.shape, STANDARD, seed)
        list(own.train(digits[:], seed))
        found["loss"].append(own.loss(test))
        found["distance"].append(own.measure(own.draw(500, seed=seed), torch.cat([digits[:], test]))[0])
    return {name: torch.tensor(values) for name, values in found.items()}


def package_run(dataset: ImageDataset, plan: Plan = STANDARD, seed: int = 0) -> DenoiseDiffusion:
    """The package's loop on a network of about the same size, with as many images and updates, and the same rate."""
    config = get_preset(
        "digits",
        n_channels=20,
        ch_mults=plan.ch_mults,
        n_groups=4,
        n_steps=plan.n_steps,
        train_steps=plan.n_updates,
        batch_size=32,
        warmup_steps=100,
        cooldown_steps=0,
        ema_decay=0.99,
        seed=seed,
    )
    state = TrainState(config, dataset.shape, "cpu")
    for _ in train(state, dataset):
        pass
    return state.averaged()


def package_samples(diffusion: DenoiseDiffusion, n: int, shape: tuple[int, int, int], seed: int = 0) -> Tensor:
    """n images of the package's model, by DDIM in 20 steps, as ``OwnDdpm.draw`` takes them."""
    return draw(diffusion, (n, *shape), 20, torch.Generator().manual_seed(seed)).clamp(-1, 1)

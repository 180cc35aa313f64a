"""The board: which pieces of the DDPM are the learner's, whether each passes its check, and the whole they make."""

import __future__

import contextlib
import copy
import linecache
import math
import signal
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import FrameType, SimpleNamespace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import ddpm_lesson.unet
from ddpm_lesson.lesson.ch02_closed_form_posterior.builds import build_posterior
from ddpm_lesson.lesson.ch03_forward_noising.builds import build_schedule
from ddpm_lesson.lesson.ch03_forward_noising.exercises import check_q_sample
from ddpm_lesson.lesson.ch04_noise_prediction.exercises import check_simple_loss
from ddpm_lesson.lesson.ch05_time_embedding.builds import build_TimeEmbedding
from ddpm_lesson.lesson.ch06_residual_block.builds import build_ResidualBlock
from ddpm_lesson.lesson.ch07_attention_block.builds import build_AttentionBlock
from ddpm_lesson.lesson.ch09_unet.builds import build_SmallUNet
from ddpm_lesson.lesson.ch10_training.builds import build_fit
from ddpm_lesson.lesson.ch11_sampling.builds import build_sample
from ddpm_lesson.lesson.ch12_evaluation.builds import build_evaluate
from ddpm_lesson.lesson.kit.build import Build
from ddpm_lesson.lesson.kit.exercise import Exercise
from ddpm_lesson.lesson.kit.pieces import FILE, PIECES, definition, keep_if_piece, kept

CHECKS: dict[str, Build | Exercise] = {
    "schedule": build_schedule,
    "q_sample": check_q_sample,
    "posterior": build_posterior,
    "simple_loss": check_simple_loss,
    "TimeEmbedding": build_TimeEmbedding,
    "ResidualBlock": build_ResidualBlock,
    "AttentionBlock": build_AttentionBlock,
    "SmallUNet": build_SmallUNet,
    "fit": build_fit,
    "sample": build_sample,
    "evaluate": build_evaluate,
}
NAMES = {"torch": torch, "nn": nn, "F": F, "Tensor": Tensor, "np": np, "math": math, "copy": copy}  # for every piece
NAMES |= {name: vars(ddpm_lesson.unet)[name] for name in ddpm_lesson.unet.__all__} | {"deepcopy": copy.deepcopy}
HEAD = ("| piece | gives | whose |", "| :-- | :-- | :-- |")
PATIENCE = 20.0  # seconds that a check may take


@dataclass(frozen=True)
class Row:
    """A piece on the board."""

    name: str
    own: str = ""  # the learner's source; empty where the lesson's piece stands
    problem: str = ""  # what its check says; empty if it passed

    @property
    def in_use(self) -> bool:
        """Whether the learner's piece works in the whole."""
        return bool(self.own) and not self.problem

    @property
    def source(self) -> str:
        """The source of the piece that is in use."""
        return self.own if self.in_use else definition(CHECKS[self.name].solution)

    def __repr__(self) -> str:
        return f"Row({self.name}, {'the learner' if self.in_use else 'the lesson'}'s)"

    def _repr_markdown_(self) -> str:
        piece = PIECES[self.name]
        return "\n".join([*HEAD, f"| `{piece.signature}` | {piece.gives} | {state(self)} |"])


class Board:
    """The eleven pieces; the learner's where there are any, the lesson's elsewhere. Renders as a table.

    Args:
        own: the learner's sources by the names of the pieces. Each is checked.
    """

    def __init__(self, own: dict[str, str] | None = None):
        self.rows = {name: Row(name) for name in PIECES}
        for name, source in (own or {}).items():
            self.put(name, source)

    @classmethod
    def read(cls, file: str = FILE) -> "Board":
        """The board of what earlier notebooks kept in a file."""
        return cls(kept(file))

    def put(self, name: str, source: str) -> Row:
        """Set a piece of the learner's on the board, after its check.

        Raises:
            ValueError: if no piece is called that.
        """
        check_name(name)
        self.rows[name] = Row(name, source)
        self.rows[name] = Row(name, source, self.problem(name))
        return self.rows[name]

    def force(self, name: str, source: str) -> "Board":
        """Set a piece on the board without its check, to see what a wrong one does; returns the board.

        Raises:
            ValueError: if no piece is called that.
        """
        check_name(name)
        self.rows[name] = Row(name, source)
        return self

    def problem(self, name: str) -> str:
        """What the check of its notebook says against a piece, in one paragraph; empty if it passes."""
        try:
            with within(PATIENCE):
                result = CHECKS[name].judge(getattr(self.pieces(), name))
        except (Exception, SystemExit) as error:
            return f"**It does not run.** {type(error).__name__}: {error}."
        if result.message.startswith("*Your turn"):
            return "**Not yet.** It holds nothing."
        return "" if result.passed else result.message.split("\n")[0]

    def mine(self, *built: Callable[..., Any]) -> "Board":
        """The same for functions and classes that stand in cells; returns the board.

        Raises:
            ValueError: if one is no function or class, or is no piece by its name.
        """
        for piece in built:
            if not callable(piece) or not hasattr(piece, "__name__"):
                got = type(piece).__name__
                raise ValueError(f"built must be functions or classes, without quotes or parentheses; got {got}")
            check_name(piece.__name__)
            if self.put(piece.__name__, definition(piece)).in_use:
                keep_if_piece(piece.__name__, piece)
        return self

    def leave(self, *names: str) -> "Board":
        """Put the lesson's pieces back, the file stays as it is; returns the board.

        Raises:
            ValueError: if no piece is called that.
        """
        for name in names:
            check_name(name)
            self.rows[name] = Row(name)
        return self

    @property
    def n_own(self) -> int:
        """How many pieces in use are the learner's."""
        return sum(row.in_use for row in self.rows.values())

    @property
    def n_lines(self) -> int:
        """How many lines of code, blank ones apart, the learner's pieces in use have."""
        return sum(n_lines(row.own) for row in self.rows.values() if row.in_use)

    def pieces(self, watch: Callable[[str, Any], Any] | None = None) -> SimpleNamespace:
        """All pieces, made to work together: the network is built of the blocks that are on the board.

        Args:
            watch: from the name of a piece and the piece to what shall be asked in its place.
        """
        names, made = dict(NAMES), {}
        for name, row in self.rows.items():
            piece = run_source(name, row.source, names)
            made[name] = watch(name, piece) if watch else piece
            names[name] = like_the_package(name, made[name])
        return SimpleNamespace(**made)

    def __repr__(self) -> str:
        return f"Board({self.n_own} of {len(PIECES)} pieces are the learner's)"

    def _repr_markdown_(self) -> str:
        rows = [row._repr_markdown_().split("\n")[-1] for row in self.rows.values()]
        head = f"**{self.n_own} of {len(PIECES)} pieces are yours** ({self.n_lines} lines)"
        return "\n".join([head, "", *HEAD, *rows])


def check_name(name: str) -> None:
    """Raise a ValueError unless a piece is called that."""
    if name not in PIECES:
        raise ValueError(f"name must be one of {', '.join(PIECES)}; got {name!r}")


def state(row: Row) -> str:
    """A cell of the table: whose the piece is, and if the learner's cannot be used, what was seen and where to go."""
    notebook = PIECES[row.name].notebook
    link = f"[{notebook[:2]}]({notebook}.ipynb)"
    if row.in_use:
        return f"**yours**, {n_lines(row.own)} lines"
    if not row.own:
        return f"the lesson's, from {link}"
    return f"the lesson's, for yours does not pass: {row.problem.replace('|', chr(92) + '|')} Back to {link}"


def n_lines(source: str) -> int:
    """Lines of code, blank ones apart."""
    return sum(bool(line.strip()) for line in source.splitlines())


@contextlib.contextmanager
def within(seconds: float) -> Iterator[None]:
    """TimeoutError in the ``with`` block after so many seconds, where the system has alarms for this thread."""
    if not hasattr(signal, "setitimer") or threading.current_thread() is not threading.main_thread():
        yield
        return

    def ring(number: int, frame: FrameType | None) -> None:
        raise TimeoutError(f"it took more than {seconds:g} seconds")

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def run_source(name: str, source: str, names: dict[str, Any]) -> Any:
    """What a source defines, in a namespace of its own that begins with ``names``.

    Raises:
        NameError: if it defines something else.
        Exception: whatever the source raises.
    """
    file = f"<{name} of the board>"
    linecache.cache[file] = (len(source), None, source.splitlines(keepends=True), file)  # for tracebacks
    space = dict(names)
    exec(compile(source, file, "exec", __future__.annotations.compiler_flag), space)
    made = space.get(name)
    if made is None or made is names.get(name):
        raise NameError(f"it defines no {name}")
    return made


def like_the_package(name: str, made: Any) -> Any:
    """A block that also understands the arguments of the package's: a U-Net of the learner's may name them."""

    def residual(
        in_channels: int, out_channels: int, time_channels: int, n_groups: int = 32, dropout: float = 0.0
    ) -> Any:
        return made(in_channels, out_channels, time_channels, n_groups)

    def attention(n_channels: int, n_heads: int = 1, n_groups: int = 32) -> Any:
        return made(n_channels, n_heads, n_groups)

    return {"ResidualBlock": residual, "AttentionBlock": attention}.get(name, made)


def piece_at_fault(error: BaseException) -> str | None:
    """The piece on the board in whose code an error was raised, the innermost; None if it was in none."""
    found, trace = None, error.__traceback__
    while trace is not None:
        file = trace.tb_frame.f_code.co_filename
        if file.startswith("<") and file.endswith(" of the board>"):
            found = file[1:].split(" ")[0]
        trace = trace.tb_next
    return found

"""What notebook 13 is put together from: the pieces, and the learner's own code for them in a file to read and edit."""

import ast
import inspect
import linecache
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

FILE = "my_ddpm.py"  # beside the notebooks
TITLE = '"""My own pieces of a DDPM, as the checks of the notebooks let them pass. Edit or delete what you like."""\n'


class Piece(NamedTuple):
    """A part of the DDPM that is put together in notebook 13 out of what earlier notebooks had the learner write."""

    signature: str  # as the learner writes it
    gives: str  # what it returns, with shapes
    notebook: str  # where it is written


PIECES = {
    piece.signature.split("(")[0]: piece
    for piece in (
        Piece("schedule(n_steps, first, last)", "beta (T,) with alpha_bar from first to last", "03_forward_noising"),
        Piece("q_sample(x0, t, eps, alpha_bar)", "xt, the shape of x0", "03_forward_noising"),
        Piece("posterior(x0, xt, t, beta)", "mean, the shape of xt, and var (B, 1, ...)", "02_closed_form_posterior"),
        Piece("simple_loss(eps_model, x0, t, eps, alpha_bar)", "a scalar", "04_noise_prediction"),
        Piece("TimeEmbedding(n_channels)", "a module: t (B,) to (B, n_channels)", "05_time_embedding"),
        Piece(
            "ResidualBlock(in_channels, out_channels, time_channels, n_groups)",
            "a module: x (B, C, H, W), t_emb (B, D) to (B, C', H, W)",
            "06_residual_block",
        ),
        Piece(
            "AttentionBlock(n_channels, n_heads, n_groups)",
            "a module: x (B, C, H, W) to the same shape",
            "07_attention_block",
        ),
        Piece(
            "SmallUNet(image_channels, n_channels, ch_mults)",
            "a module: xt (B, C, H, W), t (B,) to the shape of xt",
            "09_unet",
        ),
        Piece(
            "fit(eps_model, images, alpha_bar, n_updates, state)",
            'a state: a dictionary with the "average" of the model and all that the next call needs',
            "10_training",
        ),
        Piece("sample(eps_model, x, beta, times, eta, generator)", "x0, the shape of x", "11_sampling"),
        Piece("evaluate(samples, real, floor_draws)", "the distance, and its floor (floor_draws,)", "12_evaluation"),
    )
}


def definition(built: Callable[..., Any]) -> str:
    """The source of a function or class with its decorators, also of one that was written in a notebook's cell.

    Raises:
        ValueError: if it was written nowhere, such as by ``exec``.
    """
    functions = map(inspect.unwrap, [built, *vars(built).values()] if isinstance(built, type) else [built])
    codes = [function.__code__ for function in functions if inspect.isfunction(function)]
    found = [text for code in codes for text in definitions(code.co_filename, built.__name__, code.co_firstlineno)]
    if not found:
        raise ValueError(f"built must stand in a file or in a cell; the source of {built.__name__} was not found")
    return found[0]


def definitions(file: str, name: str, line: int) -> Iterator[str]:
    """The sources of what is called ``name`` in a file or cell and has a line among its own."""
    lines = linecache.getlines(file)
    for node in ast.walk(ast.parse("".join(lines))):
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and node.name == name:
            first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
            if first <= line <= (node.end_lineno or first):
                yield inspect.cleandoc("\n" + "".join(lines[first - 1 : node.end_lineno]))


def sections(file: str | Path) -> dict[str, str]:
    """What stands in a file, by the names in its marks, in its order; what stands above the first has the name ''."""
    path = Path(file)
    text = path.read_text(encoding="utf-8-sig", errors="replace") if path.is_file() else TITLE
    head, *parts = re.split(r"^# --- (\w+).*\n", text, flags=re.M)
    return {"": head, **dict(zip(parts[::2], parts[1::2], strict=True))}


def kept(file: str | Path = FILE) -> dict[str, str]:
    """The learner's pieces in a file, by name, in its order; none if there is no such file."""
    return {name: text.strip() + "\n" for name, text in sections(file).items() if name in PIECES}


def keep(name: str, source: str, file: str | Path = FILE) -> None:
    """Write a piece into the file, in the place of an earlier one of that name; all else in it stays."""
    head, *parts = {**sections(file), name: source}.items()
    marks = {piece: f"{piece}, notebook {PIECES[piece].notebook}" if piece in PIECES else piece for piece, _ in parts}
    texts = [f"# --- {marks[piece]}\n{text.strip()}\n" for piece, text in parts]
    Path(file).write_text("\n\n".join([head[1].strip() + "\n", *texts]), encoding="utf-8")


def keep_if_piece(name: str, built: Callable[..., Any]) -> str:
    """Keep what passed its check in a notebook, if notebook 13 wants it; what to say about that."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    if name not in PIECES or shell is None:
        return ""
    try:
        keep(name, definition(built))
    except (OSError, ValueError) as error:
        return f" It could not be kept for notebook 13 ({error}); paste it there."
    return f" Kept for notebook 13 in `{FILE}`, the definition alone: what else it needs goes inside."

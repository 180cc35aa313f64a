"""Bad inputs on the command line, the API and image folders: how many are answered by a sentence of ours.

Run with: python -m tests.benchmarks.bad_inputs
"""

import contextlib
import io
import itertools
import json
import logging
import os
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from click.testing import CliRunner
from PIL import Image

from ddpm_lesson import DenoiseDiffusion, NoiseSchedule, checkpoint, load_images
from ddpm_lesson.bound import loss_weights, variational_bound
from ddpm_lesson.cli import main
from ddpm_lesson.cli.group import EXPECTED
from ddpm_lesson.evaluate import Classifier, bits_per_dim, closeness, frechet_distance, judge, load_classifier
from ddpm_lesson.pictures import grid_image, markdown_table, save_gif
from ddpm_lesson.runtime import get_device
from ddpm_lesson.sample import ddim_steps, ddpm_steps, inpaint_steps, interpolate_steps, slerp, spaced_times
from ddpm_lesson.train import TrainConfig, get_preset
from ddpm_lesson.unet import UNet

OURS = (*EXPECTED, TypeError)  # raised by us; a TypeError of ours names the argument, see is_ours
HERE = str(Path(__file__).parents[2] / "ddpm_lesson")
NAMES = ("", "mnits", "x" * 5000, "nul\0", "~nobody/x", "/dev/null")
SMALL = {"n_channels": 8, "ch_mults": (1, 2), "is_attn": (False, False), "n_blocks": 1, "n_groups": 4}


def is_ours(error: BaseException) -> bool:
    """Whether an error was raised in this package, with words of ours."""
    last = error.__traceback__
    while last.tb_next:
        last = last.tb_next
    return isinstance(error, OURS) and last.tb_frame.f_code.co_filename.startswith(HERE)


def answer(call: Callable[[], object]) -> str:
    """``"sentence"``, ``"result"`` or the name of a foreign error."""
    try:
        call()
    except Exception as error:  # what else comes is the finding
        return "sentence" if is_ours(error) else f"{type(error).__name__}: {error}"
    return "result"


# The command line


def bad_commands(place: Path) -> Iterator[list[str]]:
    """Command lines, each with one mistake."""
    numbers = ("", "x", "-1", "0", "1e9", "99999999999999999999", "nan")
    for command, options in COMMANDS.items():
        yield [*command.split(), "--no-such-option"]
        for option, value in itertools.product(options, numbers):
            if (option, value) not in {("--seed", "0"), ("--eta", "0"), ("--bits-times", "0")}:
                yield [*command.split(), "--out", str(place / "out"), f"{option}={value}"]
    for name in (
        "",
        "mnits",
        "x" * 5000,
        "~nobody/x",
        "../..",
        "/dev/null",
        str(place / "file"),
        "nul\0",
        "\N{SNOWMAN}",
    ):
        yield ["sample", name]
        yield ["evaluate", name]
        yield ["export", name, str(place / "out")]
        yield ["import", name, str(place / "out")]
        yield ["train-classifier", name]
        yield ["evaluate", "digits", "--data", name, "--out", str(place / "out")]
        yield ["evaluate", "digits", "--classifier", name or "no", "--out", str(place / "out")]
        yield ["train", name, "--out", str(place / "out")]
    for out in (place / "file", place / "file" / "out", "/proc/out", "/dev/null", "x" * 300):
        yield ["sample", "digits", "--steps=1", "--n=1", "--out", str(out)]
        yield ["evaluate", "digits", "--out", str(out)]
        yield ["train-classifier", "digits", "--out", str(out)]
    yield ["sample", "digits", "--eta=0.5"]
    for options in ("--label=10", "--label=3 --scale=-1", "--scale=2", "--solver=euler", "--solver=dpm --steps=1"):
        yield ["sample", "digits_guided", "--out", str(place / "out"), *options.split()]
    for options in ("--label=1", "--solver=dpm", "--steps=0", "--solver=heun --steps=1", "--eta=1 --steps=9"):
        yield ["sample", "digits_flow", "--out", str(place / "out"), *options.split()]
    for command in ("evaluate", "doctor", "export"):
        yield [command, "digits_flow", *[str(place / "out")] * (command == "export")]
    yield ["evaluate", "digits", "--classifier", "mnist", "--out", str(place / "out")]
    yield ["evaluate", "digits", "--data", str(place / "flat"), "--out", str(place / "out")]


COMMANDS = {
    "sample digits": ("--n", "--steps", "--seed", "--device", "--label", "--scale", "--solver"),
    "evaluate digits": ("--n", "--steps", "--eta", "--bits-images", "--seed", "--device", "--features"),
    "train-classifier digits": ("--n-channels", "--n-features", "--epochs", "--seed", "--device"),
}


def run_command(arguments: list[str]) -> str:
    """How a command answers."""
    with contextlib.redirect_stderr(io.StringIO()):
        result = CliRunner().invoke(main, arguments)
    if result.exception is None or isinstance(result.exception, SystemExit):
        return "sentence" if result.exit_code else "result"
    return f"{type(result.exception).__name__}: {result.exception}"


# Image folders


def bad_folders(place: Path) -> Iterator[tuple[Path, dict]]:
    """Folders with something wrong in them, and options to read them with."""
    grey = Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8))
    for kind in ("png", "jpg", "gif", "bmp", "tiff", "webp"):
        for kept in (0.0, 0.1, 0.3, 0.5, 0.7):
            folder = made(place)
            grey.convert("RGB").resize((32, 32)).save(folder / f"a.{kind}")
            data = (folder / f"a.{kind}").read_bytes()
            (folder / f"a.{kind}").write_bytes(data[: int(len(data) * kept)])
            yield folder, {}
        folder = made(place)
        (folder / f"a.{kind}").write_bytes(os.urandom(500))
        yield folder, {}
    for values in ([[0, 200.0]], [[-1.0, 1]], [[np.nan, 1]], [[np.inf, 0]]):
        folder = made(place)
        Image.fromarray(np.array(values, dtype=np.float32)).save(folder / "a.tiff")
        yield folder, {}
    for values in ([[0, 70_000]], [[-5, 5]], [[0, 255]]):
        folder = made(place)
        Image.fromarray(np.array(values, dtype=np.int32)).save(folder / "a.tiff")
        yield folder, {}
    for names in ((), ("README.md",), (".hidden.png",), ("a",), ("a.txt", "b.csv")):
        folder = made(place)
        for name in names:
            (folder / name).write_text("no image", encoding="utf-8")
        yield folder, {}
    folder = made(place)
    os.mkfifo(folder / "pipe.png")
    yield folder, {}
    folder = made(place)
    grey.save(folder / "a.png")
    grey.resize((5, 9)).save(folder / "b.png")
    yield folder, {}
    for size in (0, -1, 10**6, 2.5, "8", None):
        yield folder, {"image_size": size}
    for split in ("valid", "", None, 3):
        yield folder, {"split": split}


def made(place: Path) -> Path:
    return Path(tempfile.mkdtemp(dir=place))


# The API


def bad_batches() -> Iterator[Callable[[], object]]:
    """Calls of the model, each with a batch or times of a wrong shape, type or device."""
    model = DenoiseDiffusion(UNet(1, **SMALL), 20)
    x, t = torch.zeros(2, 1, 8, 8), torch.tensor([0, 3])
    batches = [torch.zeros(0, 1, 8, 8), torch.zeros(()), x.to(torch.uint8), x.to(torch.cfloat), None, x.numpy(), "x"]
    batches += [x.to("meta"), [1.0], torch.zeros(2, 3, 8, 8), torch.zeros(2, 1, 7, 7), x.double()]
    times = [
        torch.tensor([0, 20]),
        torch.tensor([-1, 0]),
        torch.tensor([0]),
        torch.tensor(3),
        t.float(),
        None,
        3,
        [0, 1],
    ]
    times += [t.bool(), t[:, None], torch.zeros(2, dtype=torch.long, device="meta")]
    for bad in batches[:-3]:
        for method in (model.q_xt_x0, model.q_sample, model.denoise, model.p_sample):
            yield lambda bad=bad, method=method: method(bad, t)
        yield lambda bad=bad: model.q_posterior(x, bad, t)
        yield lambda bad=bad: model.predict_x0(bad, t, x)
        yield lambda bad=bad: model.predict_eps(bad, t, x)
    for bad in batches:
        yield lambda bad=bad: model.loss(bad)
        yield lambda bad=bad: variational_bound(model, bad)
    for bad in times:
        for method in (model.q_xt_x0, model.q_sample, model.denoise, model.p_sample):
            yield lambda bad=bad, method=method: method(x, bad)
        yield lambda bad=bad: model.loss(x, t=3 if bad is None else bad)
    for shape in ((0, 1, 8, 8), (-1, 1, 8, 8), (), (2.5, 1, 8, 8), (1, 3, 8, 8), (1, 1, 7, 8), (1, 8)):
        for steps in (ddpm_steps, ddim_steps):
            yield lambda shape=shape, steps=steps: list(steps(model, shape, n_steps=2))


def bad_settings() -> Iterator[Callable[[], object]]:
    """Calls with a number, a name or a setting out of range."""
    model, x = DenoiseDiffusion(UNet(1, **SMALL), 20), torch.zeros(2, 1, 8, 8)
    for bad in (0, -1, 21, 2.5, "5", True):
        for steps in (ddpm_steps, ddim_steps):
            yield lambda bad=bad, steps=steps: steps(model, x.shape, n_steps=bad)
            yield lambda bad=bad, steps=steps: steps(model, x.shape, t_start=bad if bad != 0 else -2)
        yield lambda bad=bad: spaced_times(20, bad)
        yield lambda bad=bad: NoiseSchedule.linear(bad) if bad != 21 else NoiseSchedule.linear(0)
        yield lambda bad=bad: bits_per_dim(model, x, bad)
        yield lambda bad=bad: inpaint_steps(model, x, x == 0, resample=bad if bad != 21 else 0)
    for bad in (-0.1, 1.1, float("nan")):
        yield lambda bad=bad: ddim_steps(model, x.shape, 5, bad)
        yield lambda bad=bad: NoiseSchedule.linear(10, bad, 0.5)
        yield lambda bad=bad: NoiseSchedule.from_betas([0.1, bad])
        yield lambda bad=bad: NoiseSchedule.cosine(10, beta_max=bad)
        yield lambda bad=bad: UNet(1, **SMALL, dropout=bad)
        yield lambda bad=bad: slerp(x, x[:1], bad)
    for name in ("n_channels", "n_blocks", "n_groups"):
        for bad in (0, -4, 2.5, "8", None, True, 7):
            if (name, bad) != ("n_blocks", 7):
                yield lambda name=name, bad=bad: UNet(1, **SMALL | {name: bad})
    for settings in ({"ch_mults": ()}, {"ch_mults": (0, 1)}, {"is_attn": (True,)}, {"ch_mults": (1, 2.5)}):
        yield lambda settings=settings: UNet(1, **SMALL | settings)
    for option in ("downsample", "upsample", "narrow"):
        yield lambda option=option: UNet(1, **SMALL, **{option: "sideways"})
    for bad in ("linaer", None, "from_betas", ""):
        yield lambda bad=bad: DenoiseDiffusion(UNet(1, **SMALL), schedule=bad)
        yield lambda bad=bad: DenoiseDiffusion(UNet(1, **SMALL), sigma=bad)
        yield lambda bad=bad: loss_weights(model.schedule, bad)
        yield lambda bad=bad: get_preset(str(bad))
        yield lambda bad=bad: get_device(bad or "tpu")
        yield lambda bad=bad: load_classifier(str(bad))
        yield lambda bad=bad: checkpoint.load(str(bad))
        yield lambda bad=bad: interpolate_steps(model, (x[0], x[0]), 3, torch.ones(2), mix=bad)
    for name, bad in itertools.product(("n_steps", "batch_size", "lr", "train_steps", "n_samples"), (0, -1, "5", None)):
        yield lambda name=name, bad=bad: TrainConfig(**{name: bad})
    for name in (*NAMES, None, 7, ["mnist"]):
        yield lambda name=name: load_images(name)


def bad_evaluations(place: Path) -> Iterator[Callable[[], object]]:
    """Measures of images that cannot be measured, and pictures of none."""
    real = torch.rand(60, 1, 8, 8) * 2 - 1
    wrong = [real[:0], real[:1], real[0], real * 200, (real > 0).to(torch.uint8), real.clamp(0, 1), real * torch.nan]
    for bad in wrong:
        yield lambda bad=bad: frechet_distance("random", real, bad)
    yield lambda: closeness(real, real, real)
    yield lambda: closeness(real[:, :, :4], real, -real)
    yield lambda: judge(Classifier((1, 8, 8)), real[:0])
    yield lambda: judge(Classifier((1, 8, 8)), torch.zeros(2, 3, 8, 8))
    yield lambda: frechet_distance("nonsense", real, real)
    yield lambda: grid_image(real[:0])
    yield lambda: save_gif([], place / "a.gif")
    yield lambda: Classifier((1, 2, 2))
    for sizes in itertools.product((0, -1, 2.5), ("n_classes", "n_channels", "n_features")):
        yield lambda sizes=sizes: Classifier((1, 8, 8), **{sizes[1]: sizes[0]})


def bad_calls(place: Path) -> Iterator[Callable[[], object]]:
    """Calls of public functions, each with one thing wrong."""
    return itertools.chain(bad_batches(), bad_settings(), bad_evaluations(place))


def report(title: str, answers: list[tuple[str, str]]) -> list:
    """A row of the table, and what was not answered by a sentence, printed."""
    counts = Counter("sentence" if a == "sentence" else "result" if a == "result" else "other" for _, a in answers)
    for what, said in answers:
        if said != "sentence":
            print(f"  {title}: {what[:100]}: {said[:160]}")
    return [title, len(answers), counts["sentence"], counts["result"], counts["other"]]


def bad_inputs() -> list[list]:
    """Rows: where, tried, answered by a sentence of ours, a result all the same, anything else (a traceback)."""
    logging.disable(logging.WARNING)
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        (place / "file").touch()
        (place / "flat").mkdir()
        Image.new("L", (8, 8)).save(place / "flat" / "a.png")
        Image.new("L", (8, 8), 9).save(place / "flat" / "b.png")
        before = os.getcwd()
        os.chdir(place)
        try:
            rows = [
                report("command line", [(json.dumps(a[-3:]), run_command(a)) for a in bad_commands(place)]),
                report(
                    "image folders",
                    [
                        (str(options), answer(lambda f=folder, o=options: load_images(f, **o)))
                        for folder, options in bad_folders(place)
                    ],
                ),
                report(
                    "API",
                    [(f"{call.__code__.co_names} {call.__defaults__}", answer(call)) for call in bad_calls(place)],
                ),
            ]
        finally:
            os.chdir(before)
            logging.disable(logging.NOTSET)
    return rows


HEADER = ("bad inputs", "tried", "a sentence of ours", "a result all the same", "tracebacks")

if __name__ == "__main__":
    found = bad_inputs()
    print(markdown_table(HEADER, found))
    sys.exit(any(results or other for *_, results, other in found))

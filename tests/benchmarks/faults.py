"""Break runs and checkpoints on purpose, and count what is lost, what is noticed and what is not.

``make faults`` prints the table; ``python -m tests.benchmarks.faults --kills 20 --corruptions 50`` is a quick look.
Every child is a fork of this process, so that a kill costs milliseconds and not the import of PyTorch.
"""

import argparse
import contextlib
import mmap
import os
import random
import shutil
import signal
import struct
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch

import ddpm_lesson.run
from ddpm_lesson import checkpoint, load_images
from ddpm_lesson.checkpoint import disk
from ddpm_lesson.checkpoint.training import state_tensors
from ddpm_lesson.train import TrainConfig, TrainState, train
from tests.tiny import TINY

INTERVAL = 3  # steps between checkpoints
LENGTH = 100  # steps of a run; one that is nearly there begins anew
AIMS = ("write", "half a write", "move", "after a move")
NAMES = ("settings.json", "model.safetensors", "training.safetensors")

Child = Callable[["Progress"], object]


class Progress:
    """The step that a child has reached, in memory that outlives it."""

    def __init__(self):
        self.memory = mmap.mmap(-1, 8)

    def put(self, step: int) -> None:
        self.memory[:] = struct.pack("q", step)

    def get(self) -> int:
        return struct.unpack("q", self.memory[:])[0]


def fork(child: Child, progress: Progress) -> int:
    """Run ``child`` in a process of its own: it ends with 0, or with 1 for a sentence and 2 for a traceback."""
    number = os.fork()
    if number:
        return number
    status = 2
    with contextlib.suppress(BaseException), open(os.devnull, "w", encoding="utf-8") as nowhere:
        sys.stdout = sys.stderr = nowhere
        status = ended(child, progress)
    os._exit(status)


def ended(child: Child, progress: Progress) -> int:
    try:
        child(progress)
    except (checkpoint.CheckpointError, FileExistsError, KeyboardInterrupt):
        return 1
    return 0


def wait(number: int) -> int:
    """How a child ended: its status, or minus the signal that killed it."""
    return os.waitstatus_to_exitcode(os.waitpid(number, 0)[1])


def trainer(config: TrainConfig, folder: Path) -> Child:
    """A child that trains and tells its steps."""

    def child(progress: Progress) -> None:
        def told(state, dataset):
            for step in train(state, dataset):
                progress.put(step.step)
                yield step

        ddpm_lesson.run.train = told
        ddpm_lesson.run.run(config, folder, "cpu", resume=True)

    return child


# Kills


def aimed(child: Child, aim: str, at: int) -> Child:
    """The same child, which kills itself at its ``at``-th write or move."""

    def die() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def armed(progress: Progress) -> None:
        count, write, move = iter(range(at, -1, -1)), disk.write_safely, os.replace

        def deadly_write(file: Path, contents: bytes) -> None:
            if aim in ("write", "half a write") and next(count) == 0:
                if aim == "half a write":
                    file.write_bytes(contents[: len(contents) // 2])
                die()
            write(file, contents)

        def deadly_move(source: Path, target: Path) -> None:
            last = "move" in aim and next(count) == 0
            if last and aim == "move":
                die()
            move(source, target)
            if last:
                die()

        disk.write_safely, disk.os.replace = deadly_write, deadly_move
        child(progress)

    return armed


def trajectory(config: TrainConfig) -> list[str]:
    """The checksum of weights, average and moments at every step of a run that nothing disturbs."""
    dataset = load_images(config.data)
    state = TrainState(config, dataset.shape, "cpu")
    return [state_sum(state), *(state_sum(state) for _ in train(state, dataset))]


def state_sum(state: TrainState) -> str:
    return disk.tensor_sum({name: t.detach() for name, t in state_tensors(state).items()}, {})


def kill(config: TrainConfig, folder: Path, aim: str | None, rng: random.Random) -> Progress:
    """Let a run go on until it is killed, somewhere or at its aim; returns what it had reached."""
    progress, child = Progress(), trainer(config, folder)
    if aim:
        wait(fork(aimed(child, aim, rng.randrange(16)), progress))
        return progress
    number = fork(child, progress)
    time.sleep(rng.uniform(0, 0.4))
    os.kill(number, signal.SIGKILL)
    wait(number)
    return progress


def kills(n: int, place: Path, rng: random.Random) -> list[tuple[str, str]]:
    """Kill runs again and again, and resume each from what is left."""
    config = replace(TINY, train_steps=LENGTH, save_every=INTERVAL, sample_every=10**6, n_samples=1, sample_steps=1)
    truth, count, lost, folder = trajectory(config), Counter(), [], place / "killed"
    for i in range(n):
        aim = AIMS[i // 2 % len(AIMS)] if i % 2 else None
        before = checkpoint.open_run(folder).step if checkpoint.holds_run(folder) else 0
        reached = max(before, kill(config, folder, aim, rng).get())
        if not checkpoint.holds_run(folder):
            lost.append(reached)
            count["survived"] += reached == 0
            continue
        saved = checkpoint.open_run(folder)
        lost.append(reached - saved.step)
        count["survived"] += lost[-1] <= INTERVAL
        count["exact"] += disk.tensor_sum(saved.tensors, {}) == truth[saved.step]
        count["resumed"] += 1
        count["loads"] += loads(folder)
        if saved.step > LENGTH - 20 and i < n - 1:
            shutil.rmtree(folder)
    whole = state_sum(ddpm_lesson.run.run(config, folder, "cpu", resume=True)) == truth[LENGTH]
    return [
        (f"SIGKILL, {n // 2} of {n} aimed at a write or a move: survived", f"{count['survived']} / {n}"),
        (f"steps lost at most, of {INTERVAL} between checkpoints", str(max(lost))),
        ("checkpoints after a kill equal to the bit to an undisturbed run", f"{count['exact']} / {count['resumed']}"),
        ("folders after a kill whose model loads", f"{count['loads']} / {count['resumed']}"),
        (f"step {LENGTH} after all kills equal to the bit", str(whole)),
    ]


def loads(folder: Path) -> bool:
    try:
        checkpoint.load(folder, "cpu")
    except checkpoint.CheckpointError:
        return False
    return True


# Signals, disks, company


def signalled(config: TrainConfig, folder: Path, number: int) -> bool:
    """Whether a signal ends a run in good order, with its last step saved."""
    progress = Progress()
    child = fork(trainer(replace(config, train_steps=10**6), folder), progress)
    while progress.get() < 2:
        time.sleep(0.01)
    os.kill(child, number)
    return wait(child) == 0 and checkpoint.open_run(folder).step == progress.get()


def disk_full(config: TrainConfig, folder: Path) -> bool:
    """Whether a run on a full disk ends in a sentence and keeps what it had."""
    import resource

    def child(progress: Progress) -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1_000, resource.RLIM_INFINITY))
        trainer(replace(config, train_steps=40), folder)(progress)

    ddpm_lesson.run.run(config, folder, "cpu")
    return wait(fork(child, Progress())) == 1 and checkpoint.open_run(folder).step == config.train_steps


def folder_gone(config: TrainConfig, folder: Path) -> bool:
    """Whether a run whose folder is deleted meanwhile ends well, in a whole folder."""
    progress = Progress()
    child = fork(trainer(replace(config, train_steps=200), folder), progress)
    while progress.get() < 5:
        time.sleep(0.01)
    shutil.rmtree(folder, ignore_errors=True)
    return wait(child) == 0 and checkpoint.open_run(folder).step == 200


def two_at_once(config: TrainConfig, folder: Path) -> bool:
    """Whether of two runs on one folder one goes to its end, and the other one hears of it in a sentence."""
    both = [fork(trainer(replace(config, train_steps=150), folder), Progress()) for _ in range(2)]
    return sorted(map(wait, both)) == [0, 1] and checkpoint.open_run(folder).step == 150


def others(place: Path) -> list[tuple[str, str]]:
    """What else happens to a run."""
    config = replace(TINY, n_samples=1, sample_steps=1)
    tried: dict[str, Callable[[Path], bool]] = {
        signal.Signals(n).name: lambda folder, n=n: signalled(config, folder, n)
        for n in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    }
    tried |= {
        "full disk": lambda folder: disk_full(config, folder),
        "folder deleted": lambda folder: folder_gone(config, folder),
        "two runs on one folder": lambda folder: two_at_once(config, folder),
    }
    return [(name, "held" if test(place / name.replace(" ", "-")) else "FAILED") for name, test in tried.items()]


# Corruptions


def damage(data: bytes, rng: random.Random) -> bytes:
    """The same bytes with one thing wrong."""
    size, changed = len(data), bytearray(data)
    at, length = rng.randrange(size), rng.randrange(1, 200)
    kind = rng.randrange(7)
    if kind <= 1:
        changed[at] ^= 1 << rng.randrange(8)
    elif kind == 2:
        changed[at : at + length] = bytes(len(changed[at : at + length]))
    elif kind == 3:
        changed[at : at + length] = rng.randbytes(len(changed[at : at + length]))
    elif kind == 4:
        del changed[at:]
    elif kind == 5:
        del changed[at : at + length]
    else:
        changed = changed.replace(b"F32", rng.choice((b"I32", b"U32")), 1).replace(b"0.02", b"0.03", 1)
    return bytes(changed)


def read(folder: Path, name: str) -> tuple[dict, str]:
    """What is read of a folder when the file of that name counts: settings, and the checksum of tensors."""
    if name == "training.safetensors":
        saved = checkpoint.open_run(folder)
        return saved.settings, disk.tensor_sum(saved.tensors, {})
    model = checkpoint.load(folder, "cpu")
    return checkpoint.read_settings(folder), disk.tensor_sum(model.state_dict(), {})


def corruptions(n: int, place: Path, rng: random.Random) -> list[tuple[str, str]]:
    """Spoil one file at a time and see whether it is noticed."""
    folder, count = place / "spoilt", Counter()
    ddpm_lesson.run.run(replace(TINY, train_steps=2, n_samples=1, sample_steps=1), folder, "cpu")
    (folder / checkpoint.PREVIOUS).unlink()
    for i in range(n):
        name = NAMES[i % len(NAMES)]
        right, whole = read(folder, name), (folder / name).read_bytes()
        spoilt = damage(whole, rng)
        (folder / name).write_bytes(spoilt)
        try:
            count["harmless" if read(folder, name) == right else "wrong"] += 1
        except checkpoint.CheckpointError:
            count["detected"] += 1
        except Exception as error:
            print(f"{name}: {error!r}", file=sys.__stdout__)
            count["traceback"] += 1
        (folder / name).write_bytes(whole)
    return [
        ("files spoilt that change a value: detected", f"{count['detected']} / {n - count['harmless']}"),
        ("files spoilt that change no value: loaded, with the right values", str(count["harmless"])),
        ("wrong loads", str(count["wrong"])),
        ("tracebacks", str(count["traceback"])),
    ]


def main(arguments: list[str] | None = None) -> int:
    """Print the table; the status is 1 if anything was lost."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=120)
    parser.add_argument("--corruptions", type=int, default=600)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    ddpm_lesson.run.LOG_EVERY = 10**6  # no loss curve: most of the time would go into drawing it
    rng = random.Random(options.seed)
    with (
        tempfile.TemporaryDirectory() as name,
        open(os.devnull, "w", encoding="utf-8") as nowhere,
        contextlib.ExitStack() as stack,
    ):
        stack.enter_context(contextlib.redirect_stdout(nowhere))
        stack.enter_context(contextlib.redirect_stderr(nowhere))
        place = Path(name)
        rows = [*kills(options.kills, place, rng), *others(place), *corruptions(options.corruptions, place, rng)]
    for row in rows:
        print(f"{row[0]:<75} {row[1]}")
    return int(failed(rows))


def failed(rows: list[tuple[str, str]]) -> bool:
    """Whether any row tells of a loss."""
    shares = [value.split(" / ") for _, value in rows if " / " in value]
    words = {value for _, value in rows}
    counts = dict(rows)
    zero = counts["wrong loads"] == counts["tracebacks"] == "0"
    return not zero or any(a != b for a, b in shares) or bool(words & {"FAILED", "False"})


if __name__ == "__main__":
    sys.exit(main())

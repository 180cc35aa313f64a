"""What a computation costs: memory at its peak, and time beside that of others."""

import contextlib
import itertools
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import torch
from torch.profiler import ProfilerActivity, profile


class MemoryUse(NamedTuple):
    """Bytes that a computation on the CPU asked for, beyond what was there before."""

    peak: int  # the most that was held at one time
    largest: int  # the largest single piece


def memory(function: Callable[..., Any], *args: Any) -> MemoryUse:
    """Call a function and add up every piece of memory that PyTorch takes and gives back on the CPU, in order.

    PyTorch's profiler sees the pieces that an operation uses only inside, too. Its trace tells them one by one; the
    events it sums up for each operation do not. There is one cycle only: without ``acc_events``, some versions of
    PyTorch warn that they would forget earlier ones.
    """
    with quiet(), profile(activities=[ProfilerActivity.CPU], profile_memory=True, acc_events=True) as watched:
        result = function(*args)  # alive until the profiler stops
    del result
    pieces = pieces_of(watched)
    return MemoryUse(max(itertools.accumulate(pieces), default=0), max(pieces, default=0))


def pieces_of(watched: profile) -> list[int]:
    """Bytes of every piece of memory on the CPU in order; negative where one is given back."""
    with quiet(), tempfile.TemporaryDirectory() as folder:
        trace = Path(folder) / "trace.json"
        watched.export_chrome_trace(str(trace))
        events = json.loads(trace.read_text(encoding="utf-8"))["traceEvents"]
    found = [event for event in events if event.get("name") == "[memory]" and event["args"]["Device Type"] == 0]
    return [event["args"]["Bytes"] for event in sorted(found, key=lambda event: event["ts"])]


def seconds(functions: Mapping[str, Callable[..., Any]], *args: Any, repeats: int = 5) -> dict[str, float]:
    """The median time of each function, measured in turns, so that a busy moment of the machine hits all alike.

    Args:
        functions: by name; each is called once more before, to warm up.
        args: what each is called with.
        repeats: how many times each is measured.

    Raises:
        ValueError: if ``repeats`` is below 1.
    """
    if repeats < 1:
        raise ValueError(f"repeats must be at least 1; got {repeats}")
    times: dict[str, list[float]] = {name: [] for name in functions}
    for function in functions.values():
        function(*args)
    for _ in range(repeats):
        for name, function in functions.items():
            start = time.perf_counter()
            function(*args)
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            times[name].append(time.perf_counter() - start)
    return {name: median(each) for name, each in times.items()}


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep what the profiler's C++ writes to the error stream off the page."""
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)

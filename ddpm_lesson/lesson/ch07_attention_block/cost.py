"""What attention costs: multiply-adds, memory at its peak, and time beside that of others."""

import contextlib
import itertools
import json
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from statistics import median
from timeit import timeit
from typing import Any, NamedTuple

from torch.profiler import ProfilerActivity, profile


def attention_macs(side: int, n_channels: int, n_heads: int = 1, d_k: int | None = None) -> tuple[int, int]:
    """Multiply-adds of an attention block for one image: of the two products over all pairs, and of the linear layers.

    Args:
        side: height and width of the feature map in pixels.
        n_channels, n_heads, d_k: as in ``AttentionBlock``.
    """
    width = n_heads * (d_k or n_channels // n_heads)
    return 2 * side**4 * width, 4 * side**2 * n_channels * width


def map_bytes(side: int, n_heads: int = 1, bytes_a_number: int = 4) -> int:
    """Memory of the attention map of one image, if it is written out."""
    return n_heads * side**4 * bytes_a_number


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
    with quiet(), tempfile.TemporaryDirectory() as folder:
        trace = Path(folder) / "trace.json"
        watched.export_chrome_trace(str(trace))
        events = json.loads(trace.read_text(encoding="utf-8"))["traceEvents"]
    found = [event for event in events if event.get("name") == "[memory]" and event["args"]["Device Type"] == 0]
    pieces = [event["args"]["Bytes"] for event in sorted(found, key=lambda event: event["ts"])]  # negative: given back
    return MemoryUse(max(itertools.accumulate(pieces), default=0), max(pieces, default=0))


def seconds(functions: Mapping[str, Callable[..., Any]], *args: Any, repeats: int = 5) -> dict[str, float]:
    """By name, the median time of ``repeats`` calls of each function with ``args``, after one to warm up.

    They are measured in turns, so that a busy moment of the machine hits all alike. ValueError if ``repeats`` < 1.
    """
    if repeats < 1:
        raise ValueError(f"repeats must be at least 1; got {repeats}")
    calls = {name: partial(function, *args) for name, function in functions.items()}
    times = [{name: timeit(call, number=1) for name, call in calls.items()} for _ in range(1 + repeats)]
    return {name: median(each[name] for each in times[1:]) for name in calls}


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

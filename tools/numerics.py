"""Run the tests that compute under several instruction sets and numbers of threads: ``make test-numerics``.

Sums in another order end in other last digits. PyTorch, oneDNN, MKL and OpenBLAS choose their code by the processor;
the variables here have them choose as on an older one. A tolerance that holds in every row follows from the arithmetic.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import click
import torch

ROOT = Path(__file__).parents[1]
SETS = {  # ATEN_CPU_CAPABILITY, ONEDNN_MAX_CPU_ISA, MKL_ENABLE_INSTRUCTIONS, OPENBLAS_CORETYPE, what a processor needs
    "sse4.1": ("default", "SSE41", "SSE4_2", "Nehalem", "sse4_1"),
    "avx2": ("avx2", "AVX2", "AVX2", "Haswell", "avx2"),
    "avx512": ("avx512", "AVX512_CORE", "AVX512", "SkylakeX", "avx512_vl"),
    "amx": ("avx512", "AVX512_CORE_AMX", "AVX512", "SapphireRapids", "amx_tile"),
}
VARIABLES = ("ATEN_CPU_CAPABILITY", "ONEDNN_MAX_CPU_ISA", "MKL_ENABLE_INSTRUCTIONS", "OPENBLAS_CORETYPE")
THREADS = (1, 2, 4)
WITHOUT_NUMBERS = ("checkpoint", "cli", "data", "panel", "panels", "pictures", "plots", "run", "runtime")
IGNORED = [f"--ignore-glob=*/test_{name}.py" for name in WITHOUT_NUMBERS]
UNITS = ("tests/core", "tests/lesson", "-m", "not slow", *IGNORED)
NOTEBOOKS = ("--nbval", "notebooks")


def environment(instructions: str, threads: int) -> dict[str, str]:
    """The variables of one row; threads that wait do not spin, because there may be more of them than cores."""
    chosen = dict(zip(VARIABLES, SETS[instructions], strict=False))
    return {**os.environ, **chosen, "OMP_NUM_THREADS": str(threads), "OMP_WAIT_POLICY": "PASSIVE"}


def run(tests: tuple[str, ...], variables: dict[str, str], processes: int) -> tuple[int, list[str]]:
    """How many tests ran, and the names of those that failed.

    Raises:
        ClickException: if pytest itself cannot run.
    """
    command = [sys.executable, "-m", "pytest", "-q", "-rfE", "-n", str(processes), "--dist", "loadfile", *tests]
    done = subprocess.run(command, cwd=ROOT, env=variables, capture_output=True, text=True)
    if done.returncode not in (0, 1):
        raise click.ClickException(f"{' '.join(command)} ended with status {done.returncode}:\n{done.stdout[-2000:]}")
    failed = re.findall(r"^(?:FAILED|ERROR) (.*?)(?: - .*)?$", done.stdout, re.MULTILINE)
    counts = re.findall(r"(\d+) (?:passed|failed|error)", done.stdout.splitlines()[-1])
    return sum(map(int, counts)), failed


@click.command()
@click.option("--set", "sets", multiple=True, type=click.Choice(list(SETS)), help="Only these instruction sets.")
@click.option("--threads", multiple=True, type=click.IntRange(1), default=THREADS, show_default=True)
@click.option("--units/--no-units", default=True, help="The tests that compute.")
@click.option("--notebooks/--no-notebooks", default=True, help="All notebooks, their texts compared.")
@click.option("--processes", type=click.IntRange(1), default=2, show_default=True, help="That share the tests.")
def main(sets: tuple[str, ...], threads: tuple[int, ...], units: bool, notebooks: bool, processes: int) -> None:
    """Print instruction set, threads, tests and failures, row by row; the exit status is 1 if anything failed."""
    found = torch.cpu.get_capabilities()
    chosen = [tests for tests, wanted in ((UNITS, units), (NOTEBOOKS, notebooks)) if wanted]
    wrong = 0
    click.echo(f"{'set':8}{'threads':>8}{'tests':>8}{'failures':>10}")
    for instructions in sets or SETS:
        if not found.get(SETS[instructions][-1]):
            click.echo(f"{instructions:8}   skipped: this processor lacks it")
            continue
        for n in threads:
            results = [run(tests, environment(instructions, n), processes) for tests in chosen]
            failed = [name for _, failures in results for name in failures]
            click.echo(f"{instructions:8}{n:8}{sum(count for count, _ in results):8}{len(failed):10}")
            for name in failed:
                click.echo(f"    {name}")
            wrong += len(failed)
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()

"""Run every notebook as Colab would, in an environment with Colab's versions: ``make colab-test``.

A stand-in for ``google.colab`` is there at start-up, as in Colab. The last commit is cloned, tagged, and installed by
the cell that ``make colab`` writes. Then the notebook must run without errors, nothing but what that cell names may
have been installed, and every control of every panel must change its picture and its alternative text.
"""

import json
import os
import subprocess
import sys
import sysconfig
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

import colab
import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellControlSignal, DeadKernelError

ROOT = Path(__file__).parents[1]
DRIVE_PANELS = ROOT / "tools" / "drive_panels.py"
TAG = "colab-lane"
BROUGHT = ("ddpm-lesson", *(requirement.split(">")[0] for requirement in colab.LACKING))  # by the installing cell
WIDGET = "application/vnd.jupyter.widget-view+json"
STAND_IN = '''\
"""Stands in for Colab's own package; IPython loads it at start-up, as there."""


def load_ipython_extension(shell):
    pass
'''


def pretend_to_be_colab() -> None:
    """Put a stand-in for ``google.colab`` into this environment, and have IPython import it at start-up."""
    package = Path(sysconfig.get_path("purelib"), "google", "colab", "__init__.py")
    settings = Path(sys.prefix, "etc", "ipython", "ipython_config.py")
    for file, text in {package: STAND_IN, settings: "c.InteractiveShellApp.extensions = ['google.colab']\n"}.items():
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")


def git(*arguments: str, folder: Path = ROOT) -> str:
    """What a git command prints."""
    command = ["git", "-C", str(folder), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def pip(*arguments: str) -> str:
    """What a pip command prints."""
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def installed() -> dict[str, str]:
    """The version of every installed package."""
    return {package["name"]: package["version"] for package in json.loads(pip("list", "--format=json"))}


def run(notebook: nbformat.NotebookNode, folder: Path) -> dict:
    """Execute a notebook and then, as its last cell, drive_panels.py; what the latter found.

    Raises:
        CellControlSignal: if a cell fails or takes ten minutes.
        DeadKernelError: if the kernel dies.
    """
    drive = nbformat.v4.new_code_cell(DRIVE_PANELS.read_text(encoding="utf-8"))
    notebook.cells.append(drive)
    place = {"metadata": {"path": str(folder)}}
    NotebookClient(notebook, timeout=600, kernel_name="python3", resources=place).execute()
    return json.loads(next(output.text for output in drive.outputs if output.get("name") == "stdout"))


def complaints(notebook: nbformat.NotebookNode, found: dict, before: dict[str, str]) -> list[str]:
    """What is wrong after a notebook has run, a sentence each."""
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    views = [output.data[WIDGET]["model_id"] for output in outputs if WIDGET in output.get("data", {})]
    after = installed()
    changed = sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))
    wrong = [f"a control changes nothing: {control}" for control in found["dead"]]
    wrong += [f"it writes to stderr: {output.text}" for output in outputs if output.get("name") == "stderr"]
    if changed != sorted(BROUGHT):
        wrong.append(f"the cell for Colab must change {', '.join(BROUGHT)} and nothing else; it changed {changed}")
    if not set(found["panels"]) <= set(views):
        wrong.append(f"of {len(found['panels'])} panels only {len(set(found['panels']) & set(views))} are shown")
    if not Path(found["package"]).is_relative_to(sys.prefix):
        wrong.append(f"ddpm_lesson must come from the installation, and came from {found['package']}")
    return wrong


def check(path: Path, source: str, work: Path) -> bool:
    """Run one notebook in a fresh state and print a line about it; whether all is well."""
    start = time.perf_counter()
    pip("uninstall", "--yes", *BROUGHT)
    before = installed()
    notebook = nbformat.read(path, as_version=4)
    colab.set_up(notebook, path.name, "local/clone", TAG, source=source)
    try:
        found = run(notebook, work)
    except (CellControlSignal, DeadKernelError) as error:
        wrong, found = [str(error)], {"panels": [], "controls": 0}
    else:
        wrong = complaints(notebook, found, before)
    verdict = "FAILED" if wrong else "ok"
    size = f"{len(found['panels'])} panels, {found['controls']} controls"
    print(f"{path.stem}: {verdict}, {size}, {time.perf_counter() - start:.0f} s", *wrong, sep="\n  ", flush=True)
    return not wrong


def main() -> None:
    """Check every notebook of the last commit; the exit status is 1 if anything is wrong."""
    try:
        git("rev-parse", "HEAD")
    except (OSError, subprocess.CalledProcessError):
        sys.exit("make colab-test installs the last commit, and there is none here, or no git: it needs a clone")
    names = ("ipython", "ipywidgets", "ipykernel", "numpy", "matplotlib", "torch", "torchvision")
    print(f"Python {sys.version.split()[0]},", ", ".join(f"{name} {version(name)}" for name in names))
    if git("status", "--porcelain", "--untracked-files=no"):
        print("Changes that are not committed are not part of this run.")
    pretend_to_be_colab()
    with tempfile.TemporaryDirectory() as scratch:
        clone, work = Path(scratch, "clone"), Path(scratch, "content")
        work.mkdir()
        git("clone", "--quiet", "--no-local", str(ROOT), str(clone))  # packed once, and not for every notebook
        git("tag", TAG, folder=clone)
        os.environ["IPYTHONDIR"] = str(Path(scratch, "ipython"))  # not the settings of whoever runs this
        os.environ["PYDEVD_DISABLE_FILE_VALIDATION"] = "1"  # nobody debugs here
        os.environ.setdefault("OMP_NUM_THREADS", "1")  # small networks are much slower on several, beside other work
        notebooks = sorted((clone / "notebooks").glob("*.ipynb"))
        well = [check(path, f"git+file://{clone}@{TAG}", work) for path in notebooks]
    print(f"{sum(well)} of {len(well)} notebooks pass.")
    sys.exit(not (well and all(well)))


if __name__ == "__main__":
    main()

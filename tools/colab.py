"""Make the notebooks open in Google Colab: ``make colab REPO=owner/name TAG=v1.0``, and ``REMOVE=1`` to undo it.

After its title every notebook gets a badge and a cell that installs the package, pinned to the tag; outside Colab that
cell does nothing. Dependencies stay out, but for two small ones that Colab lacks: everything else that the notebooks
import is there (tests/notebooks/test_colab.py compares pyproject.toml with colab_versions.txt), and a new torch or
ipywidgets would break it.
"""

import argparse
import json
import re
import sys
from pathlib import Path

import nbformat
from nbformat.v4 import new_code_cell, new_markdown_cell

NOTEBOOKS = Path(__file__).parents[1] / "notebooks"
MARK = "colab-setup"  # the tag of the cells that this tool writes, and the only ones that it takes out
LACKING = ("torchmetrics>=1.5", "lightning-utilities>=0.10")  # all that they need in turn, Colab has
COLAB = "https://colab.research.google.com"

BADGE = """\
[![Open in Colab]({colab}/assets/colab-badge.svg)]({colab}/github/{repo}/blob/{tag}/notebooks/{name})

**In Colab**, run the next cell first: it installs the lesson as of `{tag}` and takes about half a minute. Anywhere else
it does nothing."""

INSTALL = """\
import subprocess
import sys

if "google.colab" in sys.modules:  # anywhere else this cell does nothing
    source = "{source}"
    lacking = {lacking}
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--force-reinstall"]
    done = subprocess.run([*pip, *lacking, source], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(done.stderr)
    print(f"Installed {{source}} and torchmetrics; everything else in this runtime stays as it is.")"""


def check_repo_and_tag(repo: str, tag: str) -> None:
    """Raise ValueError unless ``repo`` and ``tag`` can stand in an address on GitHub."""
    if not repo or not tag:
        raise ValueError(
            "REPO and TAG must say what Colab shall open, as in: make colab REPO=owner/name TAG=v1.0 "
            "(and make colab REMOVE=1 takes badge and cell out again)"
        )
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9-]*/[A-Za-z0-9._-]+", repo):
        raise ValueError(f"REPO must be owner/name, as in the address of a repository on GitHub; got {repo!r}")
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._/-]*", tag) or ".." in tag or tag.endswith(("/", ".lock")):
        raise ValueError(f"TAG must be the name of a tag, such as v1.0, in letters, digits and . _ - /; got {tag!r}")


def set_up(notebook: nbformat.NotebookNode, name: str, repo: str, tag: str, *, source: str | None = None) -> None:
    """Put badge and installing cell after the title of a notebook, in place of those that may be there.

    Args:
        notebook: changed in place.
        name: its file name, such as ``00_start_here.ipynb``.
        repo: owner/name on GitHub.
        tag: what badge and installation are pinned to.
        source: what pip installs; the tag on GitHub unless given.

    Raises:
        ValueError: if ``repo`` or ``tag`` is malformed, or the notebook does not begin with two text cells.
    """
    check_repo_and_tag(repo, tag)
    take_out(notebook)
    if [cell.cell_type for cell in notebook.cells[:2]] != ["markdown", "markdown"]:
        raise ValueError(f"{name} must begin with a title and another text cell: badge and cell stand between them")
    was_run = any(cell.get("execution_count") for cell in notebook.cells)
    shift_counts(notebook, 1)
    badge = BADGE.format(colab=COLAB, repo=repo, tag=tag, name=name)
    install = INSTALL.format(source=source or f"git+https://github.com/{repo}@{tag}", lacking=json.dumps(LACKING))
    mark = {"tags": [MARK]}
    notebook.cells[1:1] = [
        new_markdown_cell(badge, id="colab-badge", metadata=mark),
        new_code_cell(install, id="colab-install", metadata=mark, execution_count=1 if was_run else None),
    ]


def take_out(notebook: nbformat.NotebookNode) -> None:
    """Take badge and installing cell out of a notebook, in place; nothing happens if it has none."""
    marked = [cell for cell in notebook.cells if MARK in cell.metadata.get("tags", [])]
    notebook.cells = [cell for cell in notebook.cells if cell not in marked]
    if any(cell.get("execution_count") for cell in marked):
        shift_counts(notebook, -1)


def shift_counts(notebook: nbformat.NotebookNode, by: int) -> None:
    """Count the stored run of the code cells on from another start; cells that never ran stay uncounted."""
    for cell in notebook.cells:
        for part in (cell, *cell.get("outputs", [])):
            if part.get("execution_count"):
                part.execution_count += by


def main(arguments: list[str] | None = None) -> None:
    """Write into every notebook of the folder, or into none if anything is wrong."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repo", default="", help="owner/name on GitHub")
    parser.add_argument("--tag", default="", help="the tag to open and to install")
    parser.add_argument("--remove", action="store_true", help="take badge and cell out again")
    parser.add_argument("--notebooks", type=Path, default=NOTEBOOKS, help="the folder of the notebooks")
    options = parser.parse_args(arguments)
    notebooks = {path: nbformat.read(path, as_version=4) for path in sorted(options.notebooks.glob("*.ipynb"))}
    try:
        for path, notebook in notebooks.items():
            if options.remove:
                take_out(notebook)
            else:
                set_up(notebook, path.name, options.repo, options.tag)
    except ValueError as error:
        sys.exit(str(error))
    for path, notebook in notebooks.items():
        nbformat.write(notebook, path)
    if options.remove:
        print(f"Notebooks without badge and Colab cell: {len(notebooks)}.")
    else:
        print(f"Notebooks for Colab: {len(notebooks)}. Commit them, tag that commit {options.tag} and push both.")


if __name__ == "__main__":
    main()

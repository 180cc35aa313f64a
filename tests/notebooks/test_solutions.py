"""Every printed solution runs where it stands, with what the cells above it leave, and passes its check."""

import ast
import re

import nbformat
import pytest

from tests.lesson.chapters import NOTEBOOKS, builds, exercises

CHECKS = {**exercises(), **builds()}
SERIES = {"torch", "nn", "F", "np"}  # what a notebook gives to whoever writes in it
PLACES = [pytest.param(path, id=path.stem) for path in NOTEBOOKS]


def printed(cell):
    """The Python blocks of a Markdown cell, each with the names that it defines."""
    for block in re.findall(r"^```python\n(.*?)^```", cell.source, re.DOTALL | re.MULTILINE):
        yield block, [node.name for node in ast.parse(block).body if isinstance(node, ast.FunctionDef | ast.ClassDef)]


def brought_in(source, kinds):
    """The statements of some kinds that stand at the left margin of a cell, as code to run."""
    kept = [node for node in ast.parse(source).body if isinstance(node, kinds)]
    return compile(ast.Module(kept, []), "<notebook>", "exec")


def solutions(path):
    """Of a notebook: check, name, solution, and what imports and definitions above it leave, solutions among them."""
    notebook = nbformat.read(path, as_version=4)
    code = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "code")
    named = {name.split("_", 1)[1]: check for name, check in CHECKS.items() if f"{name}(" in code}
    namespace = {}
    for cell in notebook.cells:
        if cell.cell_type == "code":
            exec(brought_in(cell.source, (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.ClassDef)), namespace)
        for block, names in printed(cell) if cell.cell_type == "markdown" else ():
            for name in set(names) & set(named):
                yield named[name], name, block, dict(namespace)
                exec(brought_in(block, (ast.FunctionDef, ast.ClassDef)), namespace)


@pytest.mark.parametrize("path", PLACES)
def test_every_printed_solution_passes_where_it_stands(path):
    for check, name, block, above in solutions(path):
        exec(compile(block, f"<{name}>", "exec"), above)
        assert check.judge(above[name]).passed, check.judge(above[name]).message


@pytest.mark.parametrize("path", PLACES)
def test_what_a_solution_takes_from_pytorch_is_there_for_the_reader_too(path):
    for _, name, block, above in solutions(path):
        used = {node.id for node in ast.walk(ast.parse(block)) if isinstance(node, ast.Name)} & SERIES
        assert used <= set(above), f"{name} needs {used - set(above)}: import it in a cell above"

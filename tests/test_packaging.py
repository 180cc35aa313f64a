"""What is installed and published: the wheel, its metadata, what a light installation says, workflows, citation."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

import ddpm_lesson
from ddpm_lesson.runtime import needs
from tools import metadata

ROOT = Path(__file__).parents[1]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
BASE = {
    *("torch", "torchvision", "numpy", "pillow", "accelerate", "safetensors", "scikit-learn", "filelock"),
    *("tqdm", "click"),
}
LESSON = {"matplotlib", "torchmetrics", "ipywidgets", "jupyterlab", "sympy"}
MISSING = (  # modules that a base installation lacks
    *("matplotlib", "ipywidgets", "torchmetrics", "jupyterlab", "IPython", "diffusers", "labml_nn", "torch_fidelity"),
    *("onnx", "onnxscript", "onnxruntime"),
)


def script(name: str) -> str:
    """A program of the environment that the tests run in."""
    return shutil.which(name, path=Path(sys.executable).parent)


def python(*arguments: object, folder: Path = ROOT, **environment: str) -> subprocess.CompletedProcess:
    """What a Python process of its own answers."""
    command, own = [sys.executable, *map(str, arguments)], os.environ | environment
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, env=own)


# The wheel


@pytest.fixture(scope="session")
def wheel(tmp_path_factory):
    """The wheel of a copy of the project that holds what a build reads, and nothing of git."""
    project, out = tmp_path_factory.mktemp("project"), tmp_path_factory.mktemp("wheel")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, project)
    for name in ("ddpm_lesson", "assets", "notebooks", "tools"):
        shutil.copytree(ROOT / name, project / name, ignore=shutil.ignore_patterns("__pycache__"))
    done = python(*["-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir"], out, project)
    assert done.returncode == 0, done.stderr
    [path] = out.glob("*.whl")
    return path


@pytest.fixture(scope="session")
def unpacked(wheel, tmp_path_factory):
    """What is installed from it, without the repository."""
    folder = tmp_path_factory.mktemp("installed")
    zipfile.ZipFile(wheel).extractall(folder)
    return folder


@pytest.fixture(scope="session")
def published(unpacked):
    """The metadata that a package index shows."""
    return Parser().parsestr(next(unpacked.glob("*.dist-info/METADATA")).read_text(encoding="utf-8"))


def test_the_wheel_holds_every_module_every_asset_but_the_animation_and_nothing_else(unpacked):
    places = [(ROOT, "ddpm_lesson"), (ROOT, "assets")]
    real = {path.relative_to(root) for root, name in places for path in (root / name).rglob("*") if path.is_file()}
    real = {path for path in real if "__pycache__" not in path.parts} - {Path("assets/reverse.gif")}
    wanted = {Path("ddpm_lesson") / path if path.parts[0] == "assets" else path for path in real}
    found = {path.relative_to(unpacked) for path in unpacked.rglob("*") if path.is_file()}
    assert {path for path in found if not path.parts[0].endswith(".dist-info")} == wanted


def test_the_wheel_is_little_more_than_its_weights(wheel):
    weights = sum(path.stat().st_size for path in (ROOT / "assets").rglob("*.safetensors"))
    assert wheel.stat().st_size < weights + 1e6


def test_the_version_stands_in_one_place(published):
    assert published["Version"] == ddpm_lesson.__version__
    assert f"\nversion: {ddpm_lesson.__version__}\n" in (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert f"## {ddpm_lesson.__version__} " in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def required(published, extra=None):
    """Names of the packages that the base, or an extra, brings."""
    found = list(map(Requirement, published.get_all("Requires-Dist")))
    if extra is None:
        return {one.name for one in found if one.marker is None}
    return {one.name for one in found if one.marker and one.marker.evaluate({"extra": extra})}


def test_the_base_is_what_training_and_sampling_need_and_the_lesson_adds_the_rest(published):
    assert required(published) == BASE
    assert required(published, "lesson") == LESSON
    assert required(published, "test") > LESSON | {"diffusers", "pytest"}


def test_the_wheel_names_nobody_and_no_place_that_does_not_exist(published):
    assert published["Author"] == "the ddpm_lesson contributors"
    known = metadata.home((ROOT / metadata.FIRST).read_text(encoding="utf-8"))
    assert published.get_all("Project-URL") == ([f"Source, https://github.com/{known[0]}"] if known else None)


def test_an_installed_wheel_draws_from_its_weights_without_the_repository(unpacked, tmp_path):
    options = f"-m ddpm_lesson sample digits --n 1 --steps 1 --device cpu --out {tmp_path / 'out'}".split()
    done = python(*options, folder=tmp_path, PYTHONPATH=str(unpacked), PYTHONSAFEPATH="1")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / "grid.png").is_file()


def test_without_the_weights_a_sentence_says_so(unpacked, tmp_path):
    shutil.copytree(unpacked / "ddpm_lesson", tmp_path / "ddpm_lesson", ignore=shutil.ignore_patterns("assets"))
    done = python("-m", "ddpm_lesson", "sample", "digits", folder=tmp_path, PYTHONPATH=str(tmp_path))
    assert done.returncode == 1
    [line] = done.stderr.splitlines()
    assert line.startswith("Error: no checkpoint at 'digits'")
    assert line.endswith("the name of shipped weights: none here")


# The README on a package index

BADGE = "https://colab.research.google.com/github/{}/blob/{}/notebooks/00_start_here.ipynb"


def test_the_home_is_the_one_that_make_colab_writes():
    assert metadata.home(f"[badge]({BADGE.format('someone/ddpm_lesson', 'v1.0')})") == ("someone/ddpm_lesson", "v1.0")
    assert metadata.home("no badge") is None


def test_relative_links_and_pictures_become_absolute_and_others_stay():
    text = '<img src="assets/a.gif"> [b](c.md) [d](https://e.org) [f](#g) <img src="https://h.org/i.png">'
    blob, raw = "https://github.com/some/one/blob/v1", "https://raw.githubusercontent.com/some/one/v1"
    wanted = (
        f'<img src="{raw}/assets/a.gif"> [b]({blob}/c.md) [d](https://e.org) [f](#g) <img src="https://h.org/i.png">'
    )
    assert metadata.absolute(text, "some/one", "v1") == wanted


def test_every_relative_address_of_the_readme_is_found():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    absolute = metadata.absolute(readme, "some/one", "v1")
    places = re.findall(r'(?:\]\(|(?:src|href)=")([^)"]+)', absolute)
    assert len(places) > 10
    assert [place for place in places if not place.startswith(("https://", "#"))] == []


# A light installation


@pytest.fixture(scope="session")
def light(tmp_path_factory):
    """A folder for PYTHONPATH that hides everything that an extra brings."""
    folder = tmp_path_factory.mktemp("light")
    (folder / "sitecustomize.py").write_text(
        f"import sys\nsys.modules.update(dict.fromkeys({MISSING}))\n", encoding="utf-8"
    )
    return str(folder)


@pytest.mark.slow
def test_a_base_installation_trains_says_once_that_it_draws_no_curve_and_samples(light, tmp_path):
    run = tmp_path / "run"
    tiny = "--train-steps 20 --save-every 10 --n-samples 1 --sample-steps 1 --n-channels 8 --n-groups 4"
    train = python(*f"-m ddpm_lesson train digits --out {run} {tiny}".split(), PYTHONPATH=light)
    assert train.returncode == 0, train.stderr
    assert (train.stdout + train.stderr).count('this needs matplotlib: pip install "ddpm-lesson[plots]"') == 1
    assert (run / "loss.csv").read_text(encoding="utf-8").startswith("step,loss\n10,")
    assert not (run / "loss.png").exists()
    sample = python(*f"-m ddpm_lesson sample {run} --n 1 --steps 1 --out {tmp_path}".split(), PYTHONPATH=light)
    assert sample.returncode == 0, sample.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "missing", "extra"),
    [
        (["-m", "ddpm_lesson", "evaluate", "digits"], "torchmetrics", "evaluate"),
        (["-m", "ddpm_lesson", "export", "digits", "pipeline"], "diffusers", "diffusers"),
        (["-m", "ddpm_lesson", "export", "digits", "digits.onnx"], "onnxscript", "onnx"),
        (["-c", "import ddpm_lesson.lesson.ch07_attention_block.exercises"], "ipywidgets and .*torchmetrics", "lesson"),
    ],
)
def test_what_needs_an_extra_names_it_in_one_sentence(light, tmp_path, arguments, missing, extra):
    done = python(*arguments, folder=tmp_path, PYTHONPATH=os.pathsep.join([light, str(ROOT)]))
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert re.fullmatch(rf'(Error|ImportError): this needs {missing}: pip install "ddpm-lesson\[{extra}\]"', last)
    assert ("Traceback" in done.stderr) == (arguments[0] == "-c")


def test_what_is_there_is_not_missed():
    needs("torch", "numpy", extra="lesson")


def test_every_extra_that_a_sentence_names_exists(published):
    code = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "ddpm_lesson").rglob("*.py"))
    named = set(re.findall(r'needs\([^)]*extra="(\w+)"\)', code))
    assert {"lesson", "plots", "evaluate", "diffusers"} <= named
    assert named <= set(published.get_all("Provides-Extra"))


@pytest.mark.skipif(os.name == "nt" or not shutil.which("make"), reason="there is no make")
def test_make_says_which_python_it_needs(tmp_path):
    shutil.copy(ROOT / "Makefile", tmp_path)
    old = tmp_path / "old-python"
    old.write_text("#!/bin/sh\nexit 1\n", encoding="utf-8")  # what an older one answers when make asks for its version
    old.chmod(0o755)
    done = subprocess.run(["make", f"PYTHON={old}", "lab"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2
    assert f"Python 3.11 or newer is needed, and {old} is older or missing." in done.stdout
    assert not (tmp_path / ".venv").exists()


def test_the_colab_lane_without_git_history_says_what_it_needs(tmp_path):
    for name in ("colab.py", "colab_lane.py"):
        shutil.copy(ROOT / "tools" / name, tmp_path)
    done = python(tmp_path / "colab_lane.py", folder=tmp_path)
    assert done.returncode == 1
    assert re.fullmatch(r"make colab-test installs the last commit, .* it needs a clone\n", done.stderr)


# Workflows and citation


SCHEMAS = ("vendor.github-workflows", "custom.github-workflows-require-timeout")
LINTERS = {"zizmor": ["zizmor", "--offline", "--no-progress", "--quiet"]} | {
    schema: ["check-jsonschema", "--builtin-schema", schema] for schema in SCHEMAS
}


@pytest.mark.parametrize("command", LINTERS.values(), ids=LINTERS)
def test_workflows_are_safe_and_well_formed(command):
    done = subprocess.run([script(command[0]), *command[1:], *WORKFLOWS], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("schema", "file"), [("citation-file-format", "CITATION.cff"), ("dependabot", ".github/dependabot.yml")]
)
def test_citation_and_updates_are_well_formed(schema, file):
    command = [script("check-jsonschema"), "--builtin-schema", f"vendor.{schema}", ROOT / file]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def steps(name):
    """The commands of a workflow, one text a step."""
    jobs = yaml.safe_load((ROOT / ".github" / "workflows" / name).read_text(encoding="utf-8"))["jobs"]
    return [step["run"] for job in jobs.values() for step in job["steps"] if "run" in step]


def test_workflows_run_what_the_readme_says():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    with_make, without = steps("tests.yml")
    assert with_make == "make test PYTHON=python"
    assert "\nmake test " in readme
    assert [line for line in without.splitlines() if line not in readme.splitlines()] == []


def test_the_weekly_lanes_are_in_the_makefile():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    jobs = yaml.safe_load((ROOT / ".github" / "workflows" / "weekly.yml").read_text(encoding="utf-8"))["jobs"]
    for lane in jobs["lane"]["strategy"]["matrix"]["include"]:
        assert re.search(rf"^{lane['lane']}:", makefile, re.MULTILINE)
        assert re.search(rf"^{lane['variable']} \?=", makefile, re.MULTILINE)


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.stem)
def test_every_action_is_pinned_to_a_commit(workflow):
    used = re.findall(r"uses: (\S+)", workflow.read_text(encoding="utf-8"))
    assert used
    assert [action for action in used if not re.fullmatch(r"[\w.-]+/[\w.-]+@[0-9a-f]{40}", action)] == []


def test_the_requirements_are_those_of_the_lesson():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = [project["optional-dependencies"][name] for name in ("plots", "evaluate", "lesson")]
    wanted = {text for texts in (project["dependencies"], *extras) for text in texts if "[" not in text}
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    assert {line for line in lines if not line.startswith("#")} == wanted

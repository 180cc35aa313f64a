"""The session on a GPU, rehearsed on the CPU in miniature: it does everything, goes on, and brings back what it has."""

import io
import json
import lzma
import tarfile

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image

from ddpm_lesson import checkpoint
from tests.benchmarks import gpu

pytestmark = [pytest.mark.usefixtures("one_thread"), pytest.mark.slow]
RNG = np.random.default_rng(0)


@pytest.fixture(scope="module")
def packed(tmp_path_factory):
    """What ``--pack`` makes, of data made up: 400 images of each kind."""
    source, data = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("packed")
    raw = source / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for prefix in ("train", "t10k"):
        pixels = RNG.integers(0, 256, 400 * 28 * 28, dtype=np.uint8).tobytes()
        (raw / f"{prefix}-images-idx3-ubyte").write_bytes(bytes(16) + pixels)
    with tarfile.open(source / "cifar10-jpeg.tar.xz", "w:xz") as archive:
        for i in range(800):
            file = io.BytesIO()
            Image.fromarray(RNG.integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(file, "jpeg")
            entry = tarfile.TarInfo(f"{'train' if i % 2 else 'test'}/cat/{i:04d}.jpg")
            entry.size = file.tell()
            file.seek(0)
            archive.addfile(entry, file)
    assert CliRunner().invoke(gpu.main, ["--pack", str(source), "--data", str(data)]).exit_code == 0
    return data


def session(packed, folder, *options):
    """One call of the command, and the results that it leaves."""
    arguments = [
        "--small",
        "--device=cpu",
        f"--data={packed}",
        f"--work={folder}/work",
        f"--out={folder}/out",
        *options,
    ]
    done = CliRunner().invoke(gpu.main, arguments)
    assert done.exit_code == 0, done.output
    return json.loads((folder / "out" / "results.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def rehearsed(packed, tmp_path_factory):
    """A session of half a minute, and where it is."""
    folder = tmp_path_factory.mktemp("rehearsal")
    return folder, session(packed, folder, "--minutes=0.5")


def test_every_stage_is_done_and_every_check_passes(rehearsed):
    _, results = rehearsed
    assert {name: results[name].get("error") for name in gpu.STAGES} == dict.fromkeys(gpu.STAGES)
    assert all(results[name]["done"] for name in gpu.STAGES)
    failed = {name: found for name, found in results["checks"].items() if "FAILED" in str(found)}
    assert failed == {}
    verdicts = [found for found in results["checks"].values() if isinstance(found, dict)]
    assert verdicts
    assert all(found["passed"] for found in verdicts)


def test_it_measures_itself_and_how_good_its_samples_are(rehearsed):
    _, results = rehearsed
    speed = results["speed"]["ours, bf16, batch 4"]
    assert speed["share of peak"] * results["speed"]["peak_flops"] > 1e6  # operations a second, whatever the chip
    for name in ("mnist", "cifar"):
        assert results[name]["samples"] == 160
        assert results[name]["frechet"]["value"] > results[name]["frechet"]["floor"] > 0
        assert 0 < results[name]["step"] <= results[name]["of"]


def test_what_comes_back_fits_and_becomes_a_checkpoint(rehearsed, tmp_path):
    folder, results = rehearsed
    files = list((folder / "out").iterdir())
    assert {file.name for file in files} == {
        *("results.json", "samples-mnist.png", "samples-cifar.png", "mnist.weights.0", "cifar.weights.0")
    }
    for name in ("mnist", "cifar"):
        arguments = ["--join", str(folder / "out"), name, str(tmp_path / name)]
        assert CliRunner().invoke(gpu.main, arguments).exit_code == 0
        trained = checkpoint.load(folder / "work" / name, "cpu").eps_model.state_dict()
        joined = checkpoint.load(tmp_path / name, "cpu").eps_model.state_dict()
        assert all(torch.equal(joined[key], trained[key].bfloat16().float()) for key in trained)
        assert checkpoint.load_config(tmp_path / name).data == results[name]["settings"]["data"]


def test_real_sizes_fit_into_eight_files_below_sixteen_mebibytes():
    sizes = []
    for config, channels in ((gpu.MNIST, 1), (gpu.CIFAR, 3)):
        network = gpu.build_diffusion(config, channels).eps_model
        sizes.append(2 * sum(p.numel() for p in network.parameters()) + 100_000)  # and its names
    assert gpu.PIECE < 16 * 2**20
    assert sum(sizes) < 60 * 2**20
    assert 3 + sum(-(-size // gpu.PIECE) for size in sizes) <= 8


def test_pieces_are_the_whole(monkeypatch):
    monkeypatch.setattr(gpu, "PIECE", 10)
    assert [len(piece) for piece in gpu.pieces(bytes(range(25)))] == [10, 10, 5]
    assert b"".join(gpu.pieces(bytes(range(25)))) == bytes(range(25))


def test_a_session_that_was_stopped_goes_on_and_has_brought_back_what_it_had(packed, tmp_path, monkeypatch):
    real = gpu.measure

    def killed(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(gpu, "measure", killed)
    monkeypatch.setattr(gpu, "STAGES", {"mnist": gpu.train_mnist})
    arguments = ["--small", "--device=cpu", f"--data={packed}", f"--work={tmp_path}/work", f"--out={tmp_path}/out"]
    assert CliRunner().invoke(gpu.main, [*arguments, "--minutes=0.1"]).exit_code == 1
    before = json.loads((tmp_path / "out" / "results.json").read_text(encoding="utf-8"))["mnist"]
    assert (tmp_path / "out" / "mnist.weights.0").exists()
    assert "done" not in before
    monkeypatch.setattr(gpu, "measure", real)
    after = session(packed, tmp_path, "--minutes=0.5")["mnist"]
    assert after["done"]
    assert before["step"] < after["step"] <= after["of"] == before["of"]
    assert after["seconds_a_step"] == before["seconds_a_step"]  # not a run begun anew


def test_a_stage_that_fails_is_told_and_the_next_one_begins(packed, tmp_path, monkeypatch):
    def broken(*_):
        raise RuntimeError("no kernel image")

    monkeypatch.setattr(gpu, "STAGES", {"checks": broken, "speed": lambda s, _: s.note("speed", measured=1)})
    results = session(packed, tmp_path, "--minutes=0.1")
    assert results["checks"]["error"] == "RuntimeError: no kernel image"
    assert results["speed"]["done"]


def test_when_the_time_is_over_nothing_begins(packed, tmp_path, monkeypatch):
    monkeypatch.setattr(gpu, "STAGES", {"checks": lambda s, _: s.note("checks", begun=1)})
    assert "checks" not in session(packed, tmp_path, "--minutes=0.0000001")


def test_the_archive_of_mnist_is_read_as_torchvision_reads_it(packed):
    images = gpu.read_mnist(packed, "train")
    assert images.shape == (400, 1, 28, 28)
    assert images.tobytes() == lzma.decompress((packed / "mnist-train.xz").read_bytes())[16:]


@pytest.mark.parametrize("name", [name for name in gpu.CHECKS if "compiled" not in name])
def test_every_check_passes_where_it_can_run(name):
    found = gpu.CHECKS[name](torch.device("cpu"))
    assert found["passed"] if isinstance(found, dict) else found

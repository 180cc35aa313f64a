"""The model that runs in a page: the digits' U-Net as ONNX, and the onnxruntime that computes it in WebAssembly."""

import io
import json
import shutil
import subprocess
import tarfile
from hashlib import sha256
from pathlib import Path

from tools.book.frames import ROOT, STORE

RUNTIME = "onnxruntime-web@1.22.0"
PARTS = {  # file of the npm package -> its SHA-256
    "ort.wasm.min.js": "65e09376df69107e881b5c34d2d37aed333a366b6d941073ec518168e269b87d",
    "ort-wasm-simd-threaded.mjs": "30dd851d9c00622940500f71ddd2ff8820c5cb65270816080175b958705385a8",
    "ort-wasm-simd-threaded.wasm": "71aef04959c5c1b6de461b6538e2058e306610034a85aad2742d0c7fd4533fe4",
}


def prepare(store: Path = STORE) -> Path:
    """The folder that holds model, schedule and runtime; what is there already is used again.

    Raises:
        LookupError: if the runtime cannot be fetched from npm, or the model cannot be written.
        ValueError: if what npm sent is not what was expected.
    """
    folder = store / "living"
    folder.mkdir(parents=True, exist_ok=True)
    if not all((folder / name).exists() for name in PARTS):
        fetch_runtime(folder)
    write_model(folder)
    return folder


def fetch_runtime(folder: Path) -> None:
    """Get the files of the runtime from npm, and look whether they are the right ones."""
    try:
        command = ["npm", "pack", "--silent", "--pack-destination", str(folder), RUNTIME]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise LookupError(f"{RUNTIME} cannot be fetched from npm: {error}") from None
    package = folder / done.stdout.strip().splitlines()[-1]
    with tarfile.open(fileobj=io.BytesIO(package.read_bytes()), encoding="utf-8") as archive:
        for name, right in PARTS.items():
            content = archive.extractfile(f"package/dist/{name}").read()
            if sha256(content).hexdigest() != right:
                raise ValueError(
                    f"{name} of {RUNTIME} must have the SHA-256 {right}; got {sha256(content).hexdigest()}"
                )
            (folder / name).write_bytes(content)
    package.unlink()


def write_model(folder: Path) -> None:
    """Write the digits' network as ONNX, with its schedule, unless that was done with the same weights before."""
    from ddpm_lesson import checkpoint

    weights = sha256((ROOT / "assets" / "digits" / "model.safetensors").read_bytes()).hexdigest()
    about = folder / "digits.json"
    if about.exists() and json.loads(about.read_text(encoding="utf-8"))["weights"] == weights:
        return
    try:
        from ddpm_lesson.exchange.onnx import to_onnx
    except ImportError as error:
        raise LookupError(f"the model cannot be written as ONNX: {error}") from None
    diffusion = checkpoint.load("digits", "cpu")
    to_onnx(diffusion.eps_model.eval(), folder / "digits.onnx", 8)
    alpha_bar = [round(a, 9) for a in diffusion.alpha_bar.double().tolist()]
    about.write_text(json.dumps({"alpha_bar": alpha_bar, "weights": weights}), encoding="utf-8")


def add_living_model(folder: Path, out: Path) -> None:
    """Put model and runtime beside the pages."""
    shutil.copytree(folder, out / "living")

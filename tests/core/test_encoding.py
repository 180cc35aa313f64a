"""Text files are UTF-8 on every system, whatever its own code page."""

import os
import subprocess
import sys

import pytest

SCRIPT = """
import json, sys, warnings
warnings.filterwarnings("error", category=EncodingWarning, module=r"ddpm_lesson\\b")
from click.testing import CliRunner
from ddpm_lesson.cli import main

tiny = ["--n-channels=8", "--n-groups=4", "--is-attn=no,no", "--n-steps=10", "--train-steps=10", "--batch-size=8"]
tiny += ["--n-samples=4", "--sample-steps=2"]
for command in (
    ["train", "digits", "--out", "größe", *tiny],
    ["train", "digits", "--out", "größe", "--resume", "--train-steps=12"],
    ["sample", "größe", "--n=4", "--out", "samples"],
    ["train-classifier", "digits", "--n-channels=4", "--n-features=4", "--epochs=1", "--out", "κλάση"],
    ["evaluate", "größe", "--n=20", "--steps=2", "--bits-images=2", "--bits-times=1", "--classifier", "κλάση"],
    ["export", "größe", "数"],
    ["import", "数", "zurück"],
):
    result = CliRunner().invoke(main, [*command, *["--device=cpu"] * (command[0] not in ("export", "import"))])
    assert result.exit_code == 0, (command, result.output, result.exception)
"""


@pytest.mark.slow
def test_every_command_says_how_its_text_is_encoded(tmp_path):
    options = ["-X", "warn_default_encoding", "-X", "utf8=0"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "LC_ALL": "C.UTF-8"}
    run = [sys.executable, *options, "-c", SCRIPT]
    done = subprocess.run(run, cwd=tmp_path, env=environment, capture_output=True, text=True, encoding="utf-8")
    assert done.returncode == 0, done.stderr


def test_settings_may_begin_with_the_mark_that_windows_editors_write(tmp_path):
    from ddpm_lesson import DenoiseDiffusion, checkpoint
    from ddpm_lesson.unet import UNet

    network = UNet(1, n_channels=8, ch_mults=(1,), is_attn=(False,), n_blocks=1, n_groups=4)
    checkpoint.save(DenoiseDiffusion(network, 5), tmp_path)
    settings = tmp_path / checkpoint.SETTINGS
    settings.write_bytes(b"\xef\xbb\xbf" + settings.read_bytes())
    assert checkpoint.load(tmp_path, "cpu").n_steps == 5

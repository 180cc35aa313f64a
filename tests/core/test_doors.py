"""What people have opens: folders that diffusers wrote, with its defaults and with the settings of well-known courses
and models, at reduced width. Random weights; both libraries say the same and draw the same.

Print a table of the differences with: python -m tests.core.test_doors
"""

import json
import tempfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from ddpm_lesson import exchange
from ddpm_lesson.sample import ddim_steps, ddpm_steps, final_samples
from ddpm_lesson.unet import UNet
from tests import published

pytestmark = pytest.mark.usefixtures("one_thread")
LEVELS = {True: ("AttnDownBlock2D", "AttnUpBlock2D"), False: ("DownBlock2D", "UpBlock2D")}


def levels(*is_attn):
    """Block types of the way down and of the mirrored way up."""
    return {
        "down_block_types": tuple(LEVELS[attn][0] for attn in is_attn),
        "up_block_types": tuple(LEVELS[attn][1] for attn in reversed(is_attn)),
    }


DEFAULTS = {
    "sample_size": 16,
    "block_out_channels": (32, 64, 96, 128),
}  # an eighth of the width, a seventh of (224, ..)
COURSE = {
    **{"sample_size": 32, "in_channels": 3, "out_channels": 3, "layers_per_block": 2},
    **{"block_out_channels": (32, 64, 64, 128), **levels(False, False, True, True)},
}
SCRATCH = {
    **{"sample_size": 28, "in_channels": 1, "out_channels": 1, "layers_per_block": 2},
    **{"block_out_channels": (32, 64, 64), **levels(False, True, True)},
}
TUTORIAL = {
    **{"sample_size": 64, "in_channels": 3, "out_channels": 3, "layers_per_block": 2},
    **{"block_out_channels": (32, 32, 64, 64, 128, 128), **levels(False, False, False, False, True, False)},
}
PHOTOS = {**published.UNET, **TUTORIAL}  # google/ddpm-celebahq-256 and its siblings
N_STEPS = 10
DOORS = {  # settings of the network, class of the scheduler, its settings
    "UNet2DModel's defaults": (DEFAULTS, "DDPMScheduler", {}),
    "defaults, DDIM": (DEFAULTS, "DDIMScheduler", {}),
    "defaults, symmetric padding off, other norms": (
        {**DEFAULTS, "downsample_padding": 0, "norm_eps": 1e-3, "norm_num_groups": 16},
        *("DDPMScheduler", {}),
    ),
    "defaults, wide heads": ({**DEFAULTS, "attention_head_dim": 32}, "DDPMScheduler", {}),
    "defaults, ten classes and none": ({**DEFAULTS, "num_class_embeds": 11}, "DDPMScheduler", {}),
    "diffusion course, unit 1": (COURSE, "DDPMScheduler", {"beta_schedule": "squaredcos_cap_v2"}),
    "diffusion course, from scratch": (SCRATCH, "DDPMScheduler", {}),
    "diffusion course, fine-tuning": (PHOTOS, "DDIMScheduler", {}),
    "unconditional tutorial, training script": (TUTORIAL, "DDPMScheduler", {}),
    "training script, sample": (TUTORIAL, "DDPMScheduler", {"prediction_type": "sample"}),
    "scaled linear": (SCRATCH, "DDPMScheduler", {"beta_schedule": "scaled_linear", "beta_start": 0.00085}),
    "sigmoid": (SCRATCH, "DDPMScheduler", {"beta_schedule": "sigmoid"}),
    "laplace": (SCRATCH, "DDPMScheduler", {"beta_schedule": "laplace"}),
    "betas of their own": (SCRATCH, "DDPMScheduler", {"trained_betas": [0.01 + 0.002 * i for i in range(N_STEPS)]}),
    "fixed_large": (SCRATCH, "DDPMScheduler", {"variance_type": "fixed_large"}),
    "fixed_small_log": (SCRATCH, "DDPMScheduler", {"variance_type": "fixed_small_log"}),
    "v": (SCRATCH, "DDPMScheduler", {"prediction_type": "v_prediction"}),
    "v, zero terminal SNR": (
        SCRATCH,
        "DDPMScheduler",
        {"prediction_type": "v_prediction", "rescale_betas_zero_snr": True, "timestep_spacing": "trailing"},
    ),
    "v, cosine with zero terminal SNR": (
        SCRATCH,
        "DDPMScheduler",
        {"prediction_type": "v_prediction", "rescale_betas_zero_snr": True, "beta_schedule": "squaredcos_cap_v2"},
    ),
    "v, DDIM": (SCRATCH, "DDIMScheduler", {"prediction_type": "v_prediction"}),
    "sample, DDIM": (SCRATCH, "DDIMScheduler", {"prediction_type": "sample"}),
    "no clipping": (SCRATCH, "DDPMScheduler", {"clip_sample": False}),
    "clipping at 2": (SCRATCH, "DDPMScheduler", {"clip_sample_range": 2.0}),
    "google/ddpm-cifar10-32": (
        {**published.UNET, "block_out_channels": (32, 64, 64, 64)},
        *("DDPMScheduler", {"variance_type": "fixed_large"}),
    ),
    "google/ddpm-celebahq-256": (PHOTOS, "DDPMScheduler", {}),
    "google/ddpm-bedroom-256, cat, church": (PHOTOS, "DDPMScheduler", {"variance_type": "fixed_large"}),
}


@torch.no_grad()
def made(name, folder):
    """The network and the scheduler of diffusers, written into ``folder`` as the library, or the early hub, does."""
    import diffusers

    unet, kind, scheduler = DOORS[name]
    torch.manual_seed(0)
    network = diffusers.UNet2DModel(**unet).eval()
    for parameter in network.parameters():
        std = parameter[0].numel() ** -0.5 if parameter.ndim > 1 else 0.1
        parameter.copy_(std * torch.randn_like(parameter) + (parameter.ndim == 1) * parameter)
    scheduler = getattr(diffusers, kind)(**{"num_train_timesteps": N_STEPS, **scheduler})
    pipeline = {"DDPMScheduler": diffusers.DDPMPipeline, "DDIMScheduler": diffusers.DDIMPipeline}[kind]
    pipeline(network, scheduler).save_pretrained(folder)
    if name.startswith("google/"):
        lay_flat(Path(folder), network)
    return network, scheduler


def lay_flat(folder, network):
    """All in one folder, and attention layers by their early names."""
    for part in ("unet", "scheduler"):
        for file in (folder / part).iterdir():
            file.rename(folder / file.name)
        (folder / part).rmdir()
    weights = {}
    for key, value in network.state_dict().items():
        for new, old in published.OLD_NAMES.items():
            key = key.replace(f".{new}.", f".{old}.")
        weights[key] = value.contiguous()
    save_file(weights, folder / "diffusion_pytorch_model.safetensors")


def labels_of(network):
    """Two labels, if the network takes any."""
    return None if network.class_embedding is None else torch.tensor([3, network.class_embedding.num_embeddings - 1])


@torch.no_grad()
def drawn(network, scheduler):
    """What diffusers draws in all steps, with noise of seed 0."""
    size, generator = network.config.sample_size, torch.Generator().manual_seed(0)
    scheduler.alphas_cumprod = (1 - scheduler.betas.double()).cumprod(0)  # see the fixture exact
    if scheduler.config.rescale_betas_zero_snr:
        scheduler.alphas_cumprod[-1] = 0
    xt = torch.randn(2, network.config.in_channels, size, size, generator=generator)
    scheduler.set_timesteps(scheduler.config.num_train_timesteps)
    for t in scheduler.timesteps:
        said = network(xt, t, labels_of(network)).sample
        ddim = {"use_clipped_model_output": True} if "DDIM" in type(scheduler).__name__ else {}  # as ours does
        xt = scheduler.step(said, t, xt, generator=generator, **ddim).prev_sample.float()
    return xt


class Labelled(torch.nn.Module):
    """A network whose labels are settled."""

    def __init__(self, network, labels):
        super().__init__()
        self.network, self.labels = network, labels

    def forward(self, xt, t):
        return self.network(xt, t, self.labels)


@torch.no_grad()
def differences(name, folder):
    """How far apart outputs and samples are at most, relative to the largest value."""
    network, scheduler = made(name, folder)
    ours = exchange.from_diffusers(folder, "cpu")
    size, channels = network.config.sample_size, network.config.in_channels
    xt, t = torch.randn(2, channels, size, size), torch.tensor([0, 731])
    expected, labels = network(xt, t, labels_of(network)).sample, labels_of(network)
    apart = (ours.eps_model(xt, t, labels) - expected).abs().max() / expected.abs().max()
    if labels is not None:
        ours.eps_model = Labelled(ours.eps_model, labels)
    generator, T = torch.Generator().manual_seed(0), ours.n_steps
    steps = ddim_steps(ours, xt.shape, T, 0.0, generator) if DOORS[name][1][:4] == "DDIM" else None
    images = final_samples(steps or ddpm_steps(ours, xt.shape, generator))
    theirs = drawn(network, scheduler)
    assert theirs.std() > 0.1
    return float(apart), float((images - theirs).abs().max() / theirs.abs().max())


@pytest.mark.parametrize("name", DOORS)
def test_a_folder_opens_and_says_and_draws_the_same(diffusers, tmp_path, name):
    outputs, samples = differences(name, tmp_path)
    assert outputs < 1e-4
    assert samples < 1e-4


@pytest.mark.parametrize("name", ["UNet2DModel's defaults", "defaults, ten classes and none", "v", "clipping at 2"])
def test_what_came_in_goes_out_again(diffusers, tmp_path, name):
    network, scheduler = made(name, tmp_path / "theirs")
    exchange.to_diffusers(exchange.from_diffusers(tmp_path / "theirs", "cpu"), tmp_path / "ours", 32)
    again = diffusers.UNet2DModel.from_pretrained(tmp_path / "ours", subfolder="unet")
    xt, t = torch.randn(2, network.config.in_channels, 32, 32), torch.tensor([0, 731])
    with torch.no_grad():
        expected = network(xt, t, labels_of(network)).sample
        torch.testing.assert_close(again(xt, t, labels_of(network)).sample, expected, rtol=1e-4, atol=1e-4)
    config = json.loads((tmp_path / "ours" / "scheduler" / "scheduler_config.json").read_text(encoding="utf-8"))
    for key in ("prediction_type", "clip_sample", "clip_sample_range", "variance_type", "num_train_timesteps"):
        assert config[key] == scheduler.config[key]


def test_a_condition_that_comes_in_as_channels_is_refused(diffusers, tmp_path):
    """Unit 2 of the diffusion course lays the class over the image: 1 + 4 channels in, 1 out."""
    network = diffusers.UNet2DModel(**{**SCRATCH, "in_channels": 5})
    diffusers.DDPMPipeline(network, diffusers.DDPMScheduler()).save_pretrained(tmp_path)
    with pytest.raises(
        exchange.pipelines.CheckpointError, match=r"out_channels=1 \(here what goes in has the shape of"
    ):
        exchange.from_diffusers(tmp_path)


# ONNX


@pytest.mark.parametrize(
    "changes",
    [
        {"is_attn": (True, True), "d_k": 4, "freq_shift": 0, "downsample": "symmetric"},
        {"upsample": "transposed", "narrow": "before", "n_heads": 2, "n_classes": 3},
    ],
    ids=str,
)
def test_onnxruntime_says_what_we_say(tmp_path, randomise, changes):
    runtime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    pytest.importorskip("onnxscript", reason="onnxscript is not installed")
    unet = randomise(UNet(3, 16, (1, 2), **{"is_attn": (False, True), **changes}, n_blocks=1, n_groups=8))
    exchange.to_onnx(unet, tmp_path / "unet.onnx", (8, 12))
    session = runtime.InferenceSession(tmp_path / "unet.onnx", providers=["CPUExecutionProvider"])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["unet.onnx"]
    assert unet.training
    unet.eval()
    for size in (1, 2, 5):
        inputs = {"xt": torch.randn(size, 3, 8, 12), "t": torch.linspace(0, 999, size + 1)[1:]}
        if unet.n_classes:
            inputs["class_labels"] = torch.arange(size) % 4
        [said] = session.run(["eps_theta"], {name: value.numpy() for name, value in inputs.items()})
        with torch.no_grad():
            expected = unet(*inputs.values())
        torch.testing.assert_close(torch.from_numpy(said), expected, rtol=1e-4, atol=1e-4)


def test_onnx_refuses_what_it_cannot_write(tmp_path):
    pytest.importorskip("onnxscript", reason="onnxscript is not installed")
    unet = UNet(3, 16, (1, 2), (False, True), 1, n_groups=8)
    with pytest.raises(ValueError, match=r"image sides must be divisible by 2.*9 x 9"):
        exchange.to_onnx(unet, tmp_path / "unet.onnx", 9)
    with pytest.raises(TypeError, match="unet must be a UNet; got Linear"):
        exchange.to_onnx(torch.nn.Linear(1, 1), tmp_path / "unet.onnx", 8)
    assert not list(tmp_path.iterdir())


def test_onnx_without_its_library_says_what_to_install(tmp_path, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(ImportError, match=r'this needs onnxscript: pip install "ddpm-lesson\[onnx\]"'):
        exchange.to_onnx(UNet(3, 16, (1,), (False,), 1, n_groups=8), tmp_path / "unet.onnx", 8)


if __name__ == "__main__":
    for door in DOORS:
        with tempfile.TemporaryDirectory() as place:
            print(f"{door:45}", *(f"{number:.1e}" for number in differences(door, place)))

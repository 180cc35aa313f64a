"""Models as pipelines of diffusers on disk: written for ``DDPMPipeline.from_pretrained``, and opened here."""

import json
import os
import re
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError

from ddpm_lesson.checkpoint.disk import CheckpointError, check_ordinary, write_whole
from ddpm_lesson.checkpoint.files import save
from ddpm_lesson.diffusion import DenoiseDiffusion
from ddpm_lesson.exchange.diffusers import diffusers_unet, unet_from_diffusers
from ddpm_lesson.runtime import get_device, needs
from ddpm_lesson.schedule import NoiseSchedule
from ddpm_lesson.unet import UNet

if TYPE_CHECKING:
    from diffusers import DDIMScheduler, DDPMScheduler, UNet2DModel

INDEX = "model_index.json"
PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle")
LARGEST_JSON = 1_000_000  # bytes
PARTS = {"unet": ("UNet2DModel",), "scheduler": ("DDPMScheduler", "DDIMScheduler")}  # of a pipeline, and what they are
VARIANCE = {"beta": "fixed_large", "posterior": "fixed_small"}  # our sigma: their variance_type
LOGARITHMS = {"fixed_large_log": "fixed_large", "fixed_small_log": "fixed_small"}  # the same variances
PREDICTION = {"eps": "epsilon", "x0": "sample", "v": "v_prediction"}  # ours: their prediction_type
SCHEDULES = {"linear": "linear", "quadratic": "scaled_linear", "sigmoid": "sigmoid"}  # our kind: their beta_schedule
REFUSED = {  # settings of a scheduler that keep a pipeline out, and why
    "prediction_type": "here it is epsilon, sample or v_prediction",
    "thresholding": "here estimates are clipped at a fixed value",
    "variance_type": "here variances are not learned",
}


def to_diffusers(diffusion: DenoiseDiffusion, folder: str | Path, image_size: int | tuple[int, int] = 32) -> None:
    """Write a model as a pipeline that ``diffusers.DDPMPipeline.from_pretrained(folder)`` opens.

    It draws what ``ddpm_steps`` draws from the same noise, when told ``num_inference_steps=diffusion.n_steps``. If the
    network takes labels, a ``DDPMPipeline`` has none to give: ask its ``unet(xt, t, class_labels)`` yourself.

    Args:
        diffusion: the model; its ``eps_model`` must be a ``UNet`` that diffusers can express, see ``diffusers_unet``.
        folder: created if need be; what was there stays intact until the new files are complete.
        image_size: side, or height and width, of the images that the pipeline draws.

    Raises:
        TypeError: if the noise predictor is not a ``UNet``.
        ValueError: if diffusers cannot express it, or the image size does not fit.
        CheckpointError: if the files cannot be written.
        ImportError: if diffusers is not installed.
    """
    needs("diffusers", extra="diffusers")
    import diffusers

    if not isinstance(diffusion.eps_model, UNet):
        raise TypeError(f"eps_model must be a UNet to be saved; got {type(diffusion.eps_model).__name__}")
    scheduler = diffusers.DDPMScheduler(**scheduler_settings(diffusion))
    pipeline = diffusers.DDPMPipeline(diffusers_unet(diffusion.eps_model, image_size), scheduler)
    try:
        with TemporaryDirectory() as place:
            pipeline.save_pretrained(place)
            written = sorted(file for file in Path(place).rglob("*") if file.is_file())
            files = {file.relative_to(place).as_posix(): file.read_bytes() for file in reversed(written)}
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"could not save {folder}: {error}. What was saved before is untouched") from error
    write_whole(Path(folder), files)


def from_diffusers(folder_or_hub_id: str | Path, device: str = "auto") -> DenoiseDiffusion:
    """Open a pipeline of diffusers as a model of ours, ready to sample from.

    Args:
        folder_or_hub_id: a folder that diffusers or ``to_diffusers`` wrote, or a model on the Hugging Face hub such as
            ``"google/ddpm-cifar10-32"``, the paper's CIFAR-10 model; it is downloaded once. Its network must be a
            ``UNet2DModel``, see ``unet_from_diffusers``, and its scheduler a ``DDPMScheduler`` or ``DDIMScheduler``,
            with any schedule, any variance that is not learned, any prediction and any range of clipping. How a
            scheduler picks fewer steps (``timestep_spacing``, ``steps_offset``) and ends (``set_alpha_to_one``) is no
            part of the model: here the sampler decides. ``ddim_steps`` draws what DDIM there draws with
            ``use_clipped_model_output=True``.
        device: where to put it, see ``get_device``.

    Raises:
        CheckpointError: if there is no such pipeline, it cannot be read, or it is of a kind that we cannot express.
        ImportError: if diffusers is not installed.
    """
    return open_pipeline(folder_or_hub_id)[0].to(get_device(device))


def import_diffusers(folder_or_hub_id: str | Path, folder: str | Path) -> None:
    """Write a pipeline of diffusers into ``folder`` as ``save`` does; arguments and errors as in ``from_diffusers``."""
    diffusion, image_shape = open_pipeline(folder_or_hub_id)
    save(diffusion, folder, image_shape=image_shape, imported_from=str(folder_or_hub_id))


def open_pipeline(source: str | Path) -> tuple[DenoiseDiffusion, tuple[int, int, int] | None]:
    """A pipeline as a model of ours, and the shape (C, H, W) of its images, if it says so."""
    model, scheduler = read_pipeline(source)
    try:
        settings = diffusion_settings(scheduler)
        diffusion = DenoiseDiffusion(unet_from_diffusers(model), **settings).eval()
    except ValueError as error:
        raise CheckpointError(f"{source} cannot be opened here: {error}") from error
    size = model.config["sample_size"]
    if not size:
        return diffusion, None
    height, width = (size, size) if isinstance(size, int) else size
    return diffusion, (model.config["in_channels"], height, width)


# Files


def read_pipeline(source: str | Path) -> tuple["UNet2DModel", "DDPMScheduler | DDIMScheduler"]:
    """The network and the scheduler of a pipeline; CheckpointError if they are missing, foreign or damaged.

    They lie in folders of their own or, in early pipelines like the paper's, all in one.
    """
    needs("diffusers", extra="diffusers")
    import diffusers

    folder = Path(source) if os.path.isdir(source) else fetch(str(source))
    check_files(folder)
    kinds = check_parts(folder / INDEX)
    unet, scheduler = (name if (folder / name).is_dir() else None for name in PARTS)
    try:
        model, found = diffusers.UNet2DModel.from_pretrained(
            str(folder), subfolder=unet, use_safetensors=True, output_loading_info=True
        )
        scheduler = getattr(diffusers, kinds["scheduler"]).from_pretrained(str(folder), subfolder=scheduler)
    except Exception as error:  # of whatever kind: the files may hold anything
        raise CheckpointError(f"cannot read the pipeline in {source}: {first_sentence(error)}") from error
    for problem in ("missing_keys", "unexpected_keys"):  # diffusers would draw what is missing at random
        if found[problem]:
            raise CheckpointError(
                f"the weights in {source} are of another architecture: {problem.replace('_', ' ')} "
                f"such as {min(found[problem])}"
            )
    return model, scheduler


def fetch(hub_id: str) -> Path:
    """The folder to which a pipeline on the hub is downloaded, unless it is there; CheckpointError if it cannot be."""
    import diffusers
    from huggingface_hub import hf_hub_download

    stored = {"local_files_only": not hub_answers()}  # else it is asked six times
    try:
        check_parts(Path(hf_hub_download(hub_id, INDEX, **stored)))  # before the large files
        return Path(diffusers.DDPMPipeline.download(hub_id, use_safetensors=True, **stored))
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"{hub_id!r} is not a folder here, and the Hugging Face hub did not deliver it: {first_sentence(error)}"
        ) from error


def hub_answers() -> bool:
    """Whether the Hugging Face hub can be reached."""
    from huggingface_hub import constants
    from huggingface_hub.utils import get_session

    try:
        get_session().head(constants.ENDPOINT, timeout=5)
    except Exception:  # of requests or of httpx: versions of the hub's library differ
        return False
    return True


def check_files(folder: Path) -> None:
    """CheckpointError naming a file that is not opened: a pickle can execute code, a pipe never ends."""
    files = [path for path in sorted(folder.rglob("*")) if not path.is_dir()]
    for file in files:
        check_ordinary(file)
        if file.name.endswith(".index.json") and file.name != INDEX:
            raise CheckpointError(f"{file} points to weights elsewhere: here they must be in one .safetensors")
        if file.suffix == ".json" and file.stat().st_size > LARGEST_JSON:
            raise CheckpointError(f"{file} is too large for settings: {file.stat().st_size:,} bytes")
    pickles = [file for file in files if file.suffix in PICKLES]
    if pickles and not any(file.suffix == ".safetensors" for file in files):
        raise CheckpointError(f"{pickles[0]} is a pickle, which can execute code: weights must be in .safetensors")


def check_parts(index: Path) -> dict[str, str]:
    """The classes of the parts of a pipeline; CheckpointError unless ``index`` lists some that we can open."""
    try:
        parts = json.loads(index.read_text(encoding="utf-8-sig"))
        classes = {name: parts[name][1] for name in PARTS}
    except FileNotFoundError as error:
        raise CheckpointError(f"{index.parent} is not a pipeline of diffusers: it lacks {INDEX}") from error
    except (OSError, ValueError, LookupError, TypeError, RecursionError) as error:
        raise CheckpointError(f"cannot read {index}: it must list a unet and a scheduler ({error!r})") from error
    for name, expected in PARTS.items():
        if classes[name] not in expected:
            wanted = " or a ".join(expected)
            raise CheckpointError(f"{index}: its {name} must be a {wanted} to be opened here; got {classes[name]}")
    return classes


def first_sentence(error: Exception) -> str:
    """What an error says, without the advice that follows."""
    return re.split(r"\.?\s*\n|\.\s+", str(error).strip())[0] or type(error).__name__


# Settings


def scheduler_settings(diffusion: DenoiseDiffusion) -> dict[str, Any]:
    """What ``DDPMScheduler`` calls the settings of a ``DenoiseDiffusion``."""
    schedule = diffusion.schedule.settings
    if schedule["kind"] in SCHEDULES:
        betas = {name: schedule[name] for name in ("beta_start", "beta_end")}
        betas["beta_schedule"] = SCHEDULES[schedule["kind"]]
    else:
        betas = {"trained_betas": diffusion.schedule.to(torch.float64).beta.tolist()}
    return {
        "num_train_timesteps": diffusion.n_steps,
        "variance_type": VARIANCE[diffusion.sigma],
        "prediction_type": PREDICTION[diffusion.prediction],
        "clip_sample": bool(diffusion.clip_x0),
        "clip_sample_range": float(diffusion.clip_x0 or 1),
        **betas,
    }


def diffusion_settings(scheduler: "DDPMScheduler | DDIMScheduler") -> dict[str, Any]:
    """What ``DenoiseDiffusion`` calls the settings of a scheduler; ValueError naming those for which it has no word."""
    config: dict[str, Any] = {"variance_type": "fixed_small", **scheduler.config}  # of DDIM with eta = 1
    variance = LOGARITHMS.get(config["variance_type"], config["variance_type"])
    sigmas, predictions, kinds = ({b: a for a, b in ours.items()} for ours in (VARIANCE, PREDICTION, SCHEDULES))
    known = {
        "prediction_type": config["prediction_type"] in predictions,
        "thresholding": not config["thresholding"],
        "variance_type": variance in sigmas,
    }
    if wrong := [f"{name}={config[name]!r} ({REFUSED[name]})" for name, good in known.items() if not good]:
        raise ValueError(f"our diffusion cannot express these settings of the scheduler: {'; '.join(wrong)}")
    if config["trained_betas"] is None and config["beta_schedule"] in kinds:
        make = getattr(NoiseSchedule, kinds[config["beta_schedule"]])
        schedule = make(config["num_train_timesteps"], config["beta_start"], config["beta_end"])
        schedule = schedule.zero_terminal_snr() if config["rescale_betas_zero_snr"] else schedule
    elif config["trained_betas"] is None or config["rescale_betas_zero_snr"]:
        schedule = NoiseSchedule.from_betas(scheduler.betas)
    else:
        schedule = NoiseSchedule.from_betas(config["trained_betas"])
    clip = config["clip_sample"] and (True if config["clip_sample_range"] == 1 else config["clip_sample_range"])
    prediction = predictions[config["prediction_type"]]
    return {"schedule": schedule, "sigma": sigmas[variance], "clip_x0": clip, "prediction": prediction}

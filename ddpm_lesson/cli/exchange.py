"""``ddpm-lesson export`` and ``import``."""

from pathlib import Path

import click

from ddpm_lesson import checkpoint, exchange
from ddpm_lesson.cli.group import main, writing
from ddpm_lesson.cli.sample import n_classes_of


@main.command("export")
@click.argument("model", metavar="FOLDER_OR_NAME")
@click.argument("folder", metavar="FOLDER_OR_FILE.onnx", type=click.Path(path_type=Path))
def export_command(model: str, folder: Path) -> None:
    """Write a trained model, or shipped weights, as a pipeline of diffusers; or its network as an ONNX file."""
    _, height, width = checkpoint.image_shape(model)
    size = height if height == width else (height, width)
    if folder.suffix == ".onnx":
        with writing(folder.parent):
            exchange.to_onnx(checkpoint.load_any(model, "cpu").eps_model, folder, size)
        click.echo(f"Open it with: onnxruntime.InferenceSession({str(folder)!r})")
        return
    diffusion = checkpoint.load(model, "cpu")
    exchange.to_diffusers(diffusion, folder, size)
    if n_classes_of(diffusion):
        network = f"diffusers.UNet2DModel.from_pretrained({str(folder)!r}, subfolder='unet')"
        click.echo(f"A pipeline has no labels to give: ask {network} for its class_labels yourself")
        return
    pipeline = f"diffusers.DDPMPipeline.from_pretrained({str(folder)!r})"
    click.echo(f"Draw from it with: {pipeline}(num_inference_steps={diffusion.n_steps})")


@main.command("import")
@click.argument("pipeline", metavar="FOLDER_OR_HUB_ID")
@click.argument("folder", type=click.Path(path_type=Path))
def import_command(pipeline: str, folder: Path) -> None:
    """Turn a pipeline of diffusers into a model of ours, for example google/ddpm-cifar10-32 from the hub."""
    checkpoint.check_free(folder)
    exchange.import_diffusers(pipeline, folder)
    click.echo(f"{folder}: draw from it with: ddpm-lesson sample {folder}")

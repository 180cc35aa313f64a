"""Pictures: arrays in, images, figures and files out."""

from ddpm_lesson.plots.core import LiveFigure, Picture, faded, markdown_table, noted, picture, source_of, stacked
from ddpm_lesson.plots.curves import loss_figure, running_average
from ddpm_lesson.plots.diagram import Box, Diagram, legend
from ddpm_lesson.plots.elbo import GapPlot, KLPlot, fits_picture, likelihood_picture, terms_picture
from ddpm_lesson.plots.forward import SchedulePlot, noise_strip, xt_picture
from ddpm_lesson.plots.images import contact_sheet, grid_image, reverse_picture, reverse_strip, save_gif
from ddpm_lesson.plots.noise import (
    BoundSummary,
    LossWeights,
    NoiseCurve,
    NoiseCurves,
    Weighting,
    algorithms_picture,
    amplification_picture,
    bound_picture,
    samples_picture,
    x0_guess_picture,
)
from ddpm_lesson.plots.posterior import Curve, curves_picture, paths_picture

__all__ = [
    "BoundSummary",
    "Box",
    "Curve",
    "Diagram",
    "GapPlot",
    "KLPlot",
    "LiveFigure",
    "LossWeights",
    "NoiseCurve",
    "NoiseCurves",
    "Picture",
    "SchedulePlot",
    "Weighting",
    "algorithms_picture",
    "amplification_picture",
    "bound_picture",
    "contact_sheet",
    "curves_picture",
    "faded",
    "fits_picture",
    "grid_image",
    "legend",
    "likelihood_picture",
    "loss_figure",
    "markdown_table",
    "noise_strip",
    "noted",
    "paths_picture",
    "picture",
    "reverse_picture",
    "reverse_strip",
    "running_average",
    "samples_picture",
    "save_gif",
    "source_of",
    "stacked",
    "terms_picture",
    "x0_guess_picture",
    "xt_picture",
]

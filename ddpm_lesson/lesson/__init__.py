"""The lesson: what the notebooks need and nobody else does, a folder for each of them and the kit that they share."""

from ddpm_lesson.runtime import needs

needs("ipywidgets", "matplotlib", "sympy", "torchmetrics", extra="lesson")

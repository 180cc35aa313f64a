"""Your own model under a slider: how many evaluations a drawing takes."""

from ddpm_lesson.lesson.ch13_your_own_ddpm.experiments import OwnDdpm
from ddpm_lesson.lesson.ch13_your_own_ddpm.plots import film_picture
from ddpm_lesson.lesson.kit.panel import Panel, choice, stops

EVALUATIONS = (1, 2, 3, 5, 10, 20, 50)
ETAS = {"none (DDIM)": 0.0, "all (DDPM)": 1.0}


def show_own_drawings(own: OwnDdpm, n: int = 10) -> Panel:
    """The same noise turned into digits in few steps or in many, with or without new noise on the way.

    Args:
        own: a trained one.
        n: drawings.
    """
    drawn = {
        (steps, name): own.draw(n, steps, eta, seed=1) for steps in EVALUATIONS for name, eta in ETAS.items()
    }  # ahead: a key press then only shows

    def draw(steps: int, noise: str):
        again = "" if noise == "none (DDIM)" else ", with new noise after every step"
        alt = f"{n} drawings from the same noise in {steps} evaluations of the network{again}"
        return film_picture({"": drawn[steps, noise]}, alt)

    return Panel(
        "How many evaluations does your network need?",
        draw,
        steps=stops("evaluations", EVALUATIONS, 10),
        noise=choice("new noise", ETAS),
    )

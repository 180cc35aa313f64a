"""Pictures of the museum: the matrix, and an exhibit behind its curtain."""

from PIL import Image, ImageDraw, ImageFont

from ddpm_lesson.lesson.ch14_bug_museum.exhibits import EXHIBITS, ROOMS, Exhibit
from ddpm_lesson.lesson.ch14_bug_museum.exhibits.exhibit import GUIDANCE
from ddpm_lesson.lesson.ch14_bug_museum.exhibits.guidance import GUIDED
from ddpm_lesson.lesson.ch14_bug_museum.matrix import found_in, sick, sweep
from ddpm_lesson.lesson.ch14_bug_museum.probes import PROBES
from ddpm_lesson.lesson.ch14_bug_museum.probes.guidance import exact_agreement
from ddpm_lesson.lesson.ch14_bug_museum.symptoms import SIDE, looks_healthy, side_by_side
from ddpm_lesson.lesson.kit.colours import BLACK, LINES
from ddpm_lesson.lesson.kit.figure import Picture, picture, subplots, wrapped

CARD = (880, 312)  # pixels of a card; the longest text ends 14 above its edge
STAGES = ("symptom", "probes", "cause and cure")


def draw_matrix() -> Picture:
    """Which probe sees which exhibit: a filled square where the probe is alarmed."""
    names = list(PROBES)
    seen = [[not found_in(exhibit)[name].ok for name in names] for exhibit in EXHIBITS]
    figure, (axes,) = subplots(9.6, grid="")
    axes.imshow(seen, cmap="cividis", aspect="auto", vmin=-0.3, vmax=1)
    for row, alarms in enumerate(seen):
        for column, alarmed in enumerate(alarms):
            if alarmed:
                axes.text(column, row, "x", ha="center", va="center", fontsize=7, weight="bold")
    axes.set_xticks(range(len(names)), names, rotation=60, ha="right", fontsize=7)
    axes.set_yticks(range(len(EXHIBITS)), [f"{e.name}  {i:2}" for i, e in enumerate(EXHIBITS, 1)], fontsize=7)
    for room in ROOMS[1:]:
        first = next(i for i, exhibit in enumerate(EXHIBITS) if exhibit.room == room)
        axes.axhline(first - 0.5, color="white", linewidth=1.5)
    count = sum(map(sum, seen))
    return picture(
        figure,
        f"Matrix of {len(EXHIBITS)} exhibits and {len(names)} probes, {count} squares marked: "
        f"each exhibit is seen by 1 to {max(map(sum, seen))} probes.",
    )


def draw_sweep() -> Picture:
    """Agreement with the label over the scale, healthy and in three exhibits; dots where it is known exactly."""
    scales = [i / 2 for i in range(9)]  # 0 .. 4
    lines = {"healthy": sweep(None, scales)} | {exhibit.name: sweep(exhibit, scales) for exhibit in GUIDED[:3]}
    figure, (axes,) = subplots(3.6)
    for (name, values), (colour, style) in zip(lines.items(), LINES, strict=False):
        axes.plot(scales, values, color=colour, linestyle=style, linewidth=2, label=name)
    axes.plot((0, 1), exact_agreement(), "o", color=BLACK, label="known exactly")
    axes.set(xlabel="scale", ylabel="agreement with the label", ylim=(0, 1.02))
    axes.legend(loc="center right", fontsize=9)
    said = "; ".join(f"{name} {values[0]:.0%}, {values[2]:.0%}, {values[6]:.0%}" for name, values in lines.items())
    return picture(figure, f"Agreement with the label at scales 0, 1 and 3: {said}.")


def draw_card(number: int, stage: str) -> Picture:
    """An exhibit, number 1 and up: its samples and its symptom first; then the probes; then cause and cure."""
    exhibit = EXHIBITS[number - 1]
    sheet = Image.new("RGB", CARD, "white")
    draw = ImageDraw.Draw(sheet)
    paste_rows(sheet, draw, exhibit)
    words = {"symptom": (), "probes": probe_lines(exhibit)}.get(stage, cause_lines(exhibit))
    lines = [f"Exhibit {number}, {stage}. {exhibit.symptom}", *words]
    font = ImageFont.load_default(size=15)
    text = "\n".join(wrapped(line, font, CARD[0] - 30) for line in lines)
    draw.multiline_text((14, 2 * SIDE + 48), text, "black", font, spacing=5)
    seen = "Samples of sick code above, healthy below."
    if error := side_by_side(exhibit)[0].error:
        seen = f"Sick code {error}; below, samples of healthy code."
    same = " They are those of healthy code." if looks_healthy(exhibit) else ""
    return picture(sheet, f"{seen}{same} {' '.join(lines)}")


def paste_rows(sheet: Image.Image, draw: ImageDraw.ImageDraw, exhibit: Exhibit) -> None:
    """Samples by DDPM on the left and by DDIM on the right: the exhibit's, or why it has none, above healthy ones."""
    font = ImageFont.load_default(size=14)
    scenes = side_by_side(exhibit)
    draw.multiline_text((14, 28), wrapped(scenes[0].error, font, CARD[0] - 30), "black", font)
    for column, kind in enumerate(("ddpm", "ddim")):
        left = 14 + column * 434
        asked = ", for 0 to 6" if exhibit.room == GUIDANCE else ""
        draw.text((left, 4), f"{kind.upper()}, 10 steps{asked}: this code above, healthy code below", "black", font)
        for row, shown in enumerate(scenes):
            for i, image in enumerate(getattr(shown, kind)):
                sheet.paste(image, (left + i * (SIDE + 3), 24 + row * (SIDE + 4)))


def probe_lines(exhibit: Exhibit) -> list[str]:
    """What the probes say that are alarmed, the first five of them."""
    found = found_in(exhibit)
    alarmed = sick(found)
    more = [f"... and {len(alarmed) - 5} more"] if len(alarmed) > 5 else []
    return [f"{name}: {found[name].sentence}" for name in alarmed[:5]] + more


def cause_lines(exhibit: Exhibit) -> list[str]:
    """Name, cause, cure and where it comes from."""
    return [f"{exhibit.name}. {exhibit.cause}", f"Cure: {exhibit.fix}", f"After {exhibit.source}.", exhibit.gone]

"""The whole U-Net: its drawing, made from the live module, its ledger, its maps, and what its routes are worth."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from matplotlib import colormaps
from torch import Tensor

from ddpm_lesson.lesson.ch09_unet.experiments import Cost, Route, costs
from ddpm_lesson.lesson.kit.colours import BLUE, GREEN, GREY, LINES, ORANGE
from ddpm_lesson.lesson.kit.diagram import COLOURS, Box, Diagram, font
from ddpm_lesson.lesson.kit.figure import Picture, picture, subplots
from ddpm_lesson.lesson.kit.images import noise_image, thumbnail
from ddpm_lesson.lesson.kit.xray import Part, bridges, parts
from ddpm_lesson.pictures import markdown_table
from ddpm_lesson.unet import Downsample, UNet, Upsample

WIDTH, FOOT = 920, 68  # of the drawing, and of its last row with the middle
LEFT, RIGHT, TOP = 80, 696, 64  # where the levels stand
LEVELS, ROW = 368, 123  # height of all levels, and the most that one may have
GAP, CENTRE, BRIDGE = 8, 34, 5  # between boxes, between the two ways, and between nested bridges


def unet_picture(unet: UNet, image_size: int) -> Picture:
    """The U, drawn from the live module: a box a module, every kept map as a bridge, and what each level costs.

    Args:
        unet: the network, with or without sensible weights (see ``xray.blank_unet``).
        image_size: height and width of the images.

    Raises:
        ValueError: if the network cannot halve such images often enough.
    """
    spent = costs(unet, image_size)
    diagram = Diagram(WIDTH, bottom_of(unet) + FOOT)
    boxes = {name: draw_part(diagram, part, box) for name, (part, box) in places(unet).items()}
    draw_flow(diagram, unet, boxes)
    draw_bridges(diagram, unet, boxes)
    draw_ends(diagram, unet, boxes)
    draw_costs(diagram, spent, boxes, image_size)
    return diagram.picture(unet_in_words(unet, spent, image_size))


def bottom_of(unet: UNet) -> int:
    """Where the lowest level ends and the middle begins."""
    return TOP + min(LEVELS, ROW * len(unet.settings["ch_mults"]))


def on_level(unet: UNet, way: str, level: int) -> list[Part]:
    """The parts of one way on one level, in the order of the forward pass."""
    return [part for part in parts(unet) if part.way == way and part.level == level]


def places(unet: UNet) -> dict[str, tuple[Part, Box]]:
    """Where the box of every module stands, by name: a row a level, down on the left and up on the right."""
    levels, n_blocks = len(unet.settings["ch_mults"]), unet.settings["n_blocks"]
    n_left, n_right = n_blocks + 1, n_blocks + 1 + (levels > 1)
    step = min((RIGHT - LEFT - CENTRE) / (n_left + n_right), 96)
    centre = (LEFT + RIGHT) / 2 + step * (n_left - n_right) / 2
    row = (bottom_of(unet) - TOP) / levels
    h = min(row - BRIDGE * (n_blocks + 1) - 14, 46)
    found = {}
    for level in range(levels):
        y = TOP + row * (level + 1) - h - 8
        down, up = on_level(unet, "down", level), on_level(unet, "up", level)
        starts = centre - CENTRE / 2 - step * n_left, centre + CENTRE / 2 + step * (n_right - len(up))
        for x, row_parts in zip(starts, (down, up), strict=True):
            for i, part in enumerate(row_parts):
                found[part.name] = part, Box(x + step * i + GAP / 2, y, step - GAP, h)
    middle = next(part for part in parts(unet) if part.way == "middle")
    left, right = (found[name][1].bottom[0] for name in (f"down.{len(unet.down) - 1}", "up.0"))
    found["middle"] = middle, Box((left + right) / 2 - 54, bottom_of(unet) + 12, 108, 40)
    return found


def draw_part(diagram: Diagram, part: Part, box: Box) -> Box:
    """A box with the module's name and channels; a star and another colour tell that it ends in attention."""
    resamples = isinstance(part.module, Downsample | Upsample)
    kind = "attention" if part.has_attn else "resample" if resamples else "conv"
    name = {"image_proj": "conv", "middle": "Middle"}.get(part.name, "Down" if part.way == "down" else "Up")
    name = ("↓ half" if part.way == "down" else "↑ twice") if resamples else name
    diagram.box(kind, *box)
    diagram.text(box.centre[0], box.centre[1] - 8, name + " ★" * part.has_attn)
    notes = "{}→{}".format(*part.channels), f"→{part.channels[1]}"
    note, size = next((n, s) for n in notes for s in (12, 11, 10) if wide(diagram, n, s) <= box.w - 8 or n == notes[1])
    diagram.text(box.centre[0], box.centre[1] + 8, note, size, GREY)
    return box


def wide(diagram: Diagram, text: str, size: float) -> float:
    """How wide a text is on a diagram, in CSS pixels."""
    return font(size * diagram.unit).getlength(text) / diagram.unit


def draw_flow(diagram: Diagram, unet: UNet, boxes: Mapping[str, Box]) -> None:
    """The black way through the network: along each row, and from row to row."""
    way = [boxes[part.name] for part in parts(unet) if part.name in boxes]
    for one, other in pairwise(way):
        if other is boxes["middle"]:
            diagram.arrow(one.bottom, (one.bottom[0], other.left[1]), other.left)
        elif one is boxes["middle"]:
            diagram.arrow(one.right, (other.bottom[0], one.right[1]), other.bottom)
        elif one.y == other.y:
            diagram.arrow(one.right, other.left)
        elif one.y < other.y:  # a level down: below the row, and in from the left
            y, x = one.y + one.h + 5, other.x - 9
            diagram.arrow(one.bottom, (one.bottom[0], y), (x, y), (x, other.left[1]), other.left)
        else:  # a level up: out to the right, and in from below
            y, x = other.y + other.h + 6, one.x + one.w + 9
            diagram.arrow(one.right, (x, one.right[1]), (x, y), (other.bottom[0], y), other.bottom)


def draw_bridges(diagram: Diagram, unet: UNet, boxes: Mapping[str, Box]) -> None:
    """The kept maps, nested as the stack nests them: last kept, first taken."""
    order = dict.fromkeys(range(len(unet.settings["ch_mults"])), 0)
    for kept, taker in bridges(unet):
        order[kept.level] += 1
        (x, y), (end, _) = boxes[kept.name].top, boxes[taker.name].top
        above = y - 3 - BRIDGE * order[kept.level]
        diagram.line([(x, y), (x, above), (end, above), (end, y - 6)], BLUE, (5, 3), 1)
        tip = [(end, y), (end - 3, y - 6), (end + 3, y - 6)]
        diagram.draw.polygon([(a * diagram.unit, b * diagram.unit) for a, b in tip], BLUE)


def draw_ends(diagram: Diagram, unet: UNet, boxes: Mapping[str, Box]) -> None:
    """What comes in, what goes out, and the time."""
    settings, first, last = unet.settings, boxes["image_proj"], boxes[f"up.{len(unet.up) - 1}"]
    x = first.x - 12
    xt = diagram.box("data", max(x - 24, 8), 10, 76, 34, "x_t", plural(settings["image_channels"], "channel"))
    diagram.arrow((x, xt.y + xt.h), (x, first.left[1]), first.left)
    diagram.box("time", (first.x + last.x + last.w) / 2 - 90, 10, 180, 34, "t → time embedding", "to every block")
    channels = f"{unet.final.in_channels}→{unet.final.out_channels}"
    out = diagram.box("conv", last.x + last.w - 102, 10, 118, 34, "norm, act, conv", channels)
    diagram.arrow(last.right, (last.x + last.w + 12, last.right[1]), (last.x + last.w + 12, out.y + out.h))


def level_costs(spent: Sequence[Cost]) -> list[tuple[int, int]]:
    """Parameters and multiply-adds of every level; the middle counts to the lowest, the time embedding to none."""
    totals = [[0, 0] for _ in range(1 + max(cost.part.level for cost in spent))]
    for part, parameters, macs in spent:
        if part.way != "time":
            totals[part.level][0] += parameters
            totals[part.level][1] += macs
    return [tuple(total) for total in totals]


def draw_costs(diagram: Diagram, spent: Sequence[Cost], boxes: Mapping[str, Box], image_size: int) -> None:
    """Sides and shares of every level, to the left and right of its row."""
    all_parameters, all_macs = (sum(cost[i] for cost in spent) for i in (1, 2))
    x, widest = RIGHT + 26, 120
    diagram.text(x, 18, f"{all_parameters:,} parameters", 13, GREEN, "lm")
    diagram.text(x, 36, f"{in_billions(all_macs)} multiply-adds", 13, ORANGE, "lm")
    diagram.text(x, 54, "and each level's share of them", 12, GREY, "lm")
    rows = {part.level: boxes[part.name] for part, *_ in spent if part.name in boxes and part.way == "down"}
    for level, shares in enumerate(level_costs(spent)):
        y = rows[level].left[1]
        side = image_size >> level
        diagram.text(LEFT - 12, y, f"{side}×{side}", 13, anchor="rm", bold=True)
        for share, total, colour, dy in zip(shares, (all_parameters, all_macs), (GREEN, ORANGE), (-9, 9), strict=True):
            bar = Box(x, y + dy - 7, max(widest * share / total, 1), 14)
            diagram.rectangle(bar, colour, colour, radius=1)
            diagram.text(bar.x + bar.w + 5, y + dy, percent(share / total), 12, colour, "lm")
    y = boxes["middle"].bottom[1] - 4
    diagram.text(x, y, "★ with attention", 12, COLOURS["attention"][1], "lm")
    diagram.text(14, y, "dashed: kept maps", 12, BLUE, "lm")


def percent(share: float) -> str:
    """A share in words: small ones with a digit behind the point."""
    return f"{100 * share:.0f} %" if share >= 0.0995 else f"{100 * share:.1f} %"


def in_billions(macs: int) -> str:
    """Multiply-adds in billions, or millions."""
    value, unit = (macs / 1e9, "billion") if macs >= 1e9 else (macs / 1e6, "million")
    return f"{value:.3g} {unit}"


def plural(number: int, thing: str) -> str:
    """A number of things."""
    return f"{number} {thing}{'s' * (number != 1)}"


def unet_in_words(unet: UNet, spent: Sequence[Cost], image_size: int) -> str:
    """The drawing in words."""
    settings = unet.settings
    widths = [settings["n_channels"] * m for m in settings["ch_mults"]]
    sides = [f"{image_size >> i}×{image_size >> i}" for i in range(len(widths))]
    attn = [side for side, has in zip(sides, settings["is_attn"], strict=True) if has]
    totals = [sum(cost[i] for cost in spent) for i in (1, 2)]
    shares = "; ".join(
        f"{side} {width} channels, {percent(p / totals[0])} of the parameters and {percent(m / totals[1])} of the "
        "multiply-adds"
        for side, width, (p, m) in zip(sides, widths, level_costs(spent), strict=True)
    )
    return (
        f"A U-Net of {plural(len(widths), 'level')} for images of {sides[0]}, {plural(settings['n_blocks'], 'block')} "
        f"a level, attention on {' and '.join(attn) or 'no level'} and in the middle: {totals[0]:,} parameters, "
        f"{in_billions(totals[1])} multiply-adds. {shares}"
    )


# The ledger


def bar(share: float, length: int = 25) -> str:
    """A share as a bar of text."""
    return "█" * round(length * share) or "▏"


def xray_table(unet: UNet, image_size: int) -> str:
    """The network by groups in Markdown: what each holds and does, with bars; the last row adds up."""
    spent = costs(unet, image_size)
    groups: dict[str, list[Cost]] = {}
    for cost in spent:
        groups.setdefault(group_of(cost.part, image_size), []).append(cost)
    totals = [sum(cost[i] for cost in spent) for i in (1, 2)]
    rows = []
    for name, members in groups.items():
        held, done = (sum(cost[i] for cost in members) for i in (1, 2))
        shares = held / totals[0], done / totals[1]
        rows.append([name, f"{held:,}", *(f"{bar(s)} {percent(s)}" for s in shares), f"{done / 1e6:,.1f}"])
    rows.append(["**all**", f"**{totals[0]:,}**", "", "", f"**{totals[1] / 1e6:,.1f}**"])
    header = ["group", "parameters", "share of parameters", "share of multiply-adds", "millions of multiply-adds"]
    return aligned(markdown_table(header, rows), ":--", "--:", ":--", ":--", "--:")


def group_of(part: Part, image_size: int) -> str:
    """The group of the ledger that a part belongs to."""
    side = image_size >> part.level
    names = {"time": "time embedding", "out": "last norm and conv", "middle": f"middle, {side}×{side}"}
    name = "first conv" if part.name == "image_proj" else names.get(part.way)
    return name or f"{part.way}, {side}×{side}"


def aligned(table: str, *columns: str) -> str:
    """A Markdown table with other alignments of its columns."""
    head, _, *rows = table.splitlines()
    return "\n".join([head, f"| {' | '.join(columns)} |", *rows])


def walk_table(unet: UNet, outputs: Mapping[str, Tensor]) -> str:
    """A forward pass in Markdown: what every module made, and which maps wait on the stack after it.

    Args:
        unet: the network.
        outputs: what its parts answered, by name (see ``xray.activations``).
    """
    stack, rows, takers = [], [], [taker.name for _, taker in bridges(unet)]
    for part in parts(unet):
        taken = f"`{stack.pop()}`" if part.name in takers else ""
        if part.way == "down":
            stack.append(part.name)
        shape = " × ".join(map(str, outputs[part.name].shape[1:]))
        waiting = ", ".join(stack) if part.way in ("down", "up") else ""
        rows.append([f"`{part.name}`", type(part.module).__name__, taken, shape, waiting])
    return aligned(markdown_table(["module", "kind", "takes", "makes", "waiting"], rows), *[":--"] * 5)


def settings_table(networks: Mapping[str, tuple[UNet, int]]) -> str:
    """Networks side by side in Markdown: name -> (network, image size)."""
    rows = []
    for name, (unet, side) in networks.items():
        spent, settings = costs(unet, side), unet.settings
        widths = ", ".join(str(settings["n_channels"] * m) for m in settings["ch_mults"])
        attn = ", ".join(f"{side >> i}×{side >> i}" for i, has in enumerate(settings["is_attn"]) if has)
        held, done = (sum(cost[i] for cost in spent) for i in (1, 2))
        numbers = [f"{held:,}", in_billions(done), f"{done / held:,.0f}"]
        rows.append([name, f"{side}×{side}", widths, settings["n_blocks"], attn or "none", *numbers])
    header = ["network", "image", "width of each level", "blocks", "attention", "parameters", "multiply-adds", "ratio"]
    return markdown_table(header, rows)


# Maps and routes


class LevelMaps(NamedTuple):
    """What one place of the network made of one image: some of its channels."""

    way: str  # down, middle or up
    level: int
    channels: Sequence[int]
    maps: Tensor  # (len(channels), H, W)


MAP_SIDES = (84, 64, 60, 48, 40)  # CSS pixels of a map on each level


def levels_picture(places: Sequence[LevelMaps], ends: Mapping[str, Tensor], t: int, what: str) -> Picture:
    """Feature maps of one image laid out like the U.

    Args:
        places: the maps of the last block of every level on each way, and of the middle.
        ends: name -> (H, W); images (with an x in their name) stand on the left, noise on the right, at most three.
        t: the time.
        what: image and error in words.
    """
    levels = 1 + max(place.level for place in places)
    rows = [46 + sum(MAP_SIDES[:i]) + 34 * i for i in range(levels + 1)]
    diagram = Diagram(WIDTH, rows[-1] + MAP_SIDES[levels - 1] + 34)
    for place in places:
        side, y = MAP_SIDES[place.level], rows[place.level + (place.way == "middle")]
        width = (side + 4) * len(place.channels)
        x = {"down": 400 - width, "middle": 450 - width / 2, "up": 504}[place.way]
        for i, (channel, values) in enumerate(zip(place.channels, place.maps, strict=True)):
            diagram.image(x + (side + 4) * i, y, side, side, shaded(values))
            diagram.text(x + (side + 4) * i + side / 2, y + side + 9, str(channel), 12, GREY)
        if place.way == "down":
            size = place.maps.shape[-1]
            diagram.text(450, y + side / 2, f"{size}×{size}", 13, bold=True)
        if place.way == "middle":
            diagram.text(x - 10, y + side / 2, "middle", 13, anchor="rm", bold=True)
    diagram.text(400, 22, "way down", 13, anchor="rm", bold=True)
    diagram.text(504, 22, "way up", 13, anchor="lm", bold=True)
    diagram.text(20, 22, f"t = {t}", 15, anchor="lm", bold=True)
    images = [name for name in ends if "x" in name]
    for x, names in ((20, images), (802, [name for name in ends if name not in images])):
        for i, name in enumerate(names):
            shown = ends[name][None] if name in images else noise_image(ends[name][None, None])[0]
            diagram.image(x, rows[0] + 108 * i, 84, 84, thumbnail(shown, shown.shape[-1]))
            diagram.text(x + 42, rows[0] + 108 * i + 94, name, 12)
    diagram.text(20, diagram.size[1] / diagram.unit - 22, what, 12, GREY, "lm")
    shown = "; ".join(f"{p.way} {p.maps.shape[-1]}×{p.maps.shape[-1]}: channels {list(p.channels)}" for p in places)
    return diagram.picture(f"Maps inside the network at t = {t}, {what}. {shown}")


def shaded(values: Tensor) -> np.ndarray:
    """A feature map (H, W) in colours, from its mean minus to its mean plus two and a half standard deviations."""
    scaled = (values - values.mean()) / (5 * values.std() + 1e-6) + 0.5
    return colormaps["cividis"](scaled.numpy(), bytes=True)[..., :3]


def routes_picture(
    times: Sequence[int], own: Mapping[Route, Tensor], same_noise: Mapping[Route, Tensor], sides: Sequence[int]
) -> Picture:
    """How much worse the guess of the noise gets when one route carries the neighbour's maps.

    With the same noise, the top level exchanged is all that lies below it exchanged: it is drawn in grey.

    Args:
        times: where it was measured.
        own, same_noise: route -> (len(times),) losses, None for the network as it is; of neighbours that differ in
            image and noise, and of neighbours that share their noise.
        sides: of the levels' maps, for their names.
    """
    figure, panes = subplots(3.8, 2)
    titles = "neighbour: another image, another noise", "neighbour: another image, the same noise"
    words = []
    for axes, losses, title, shared in zip(panes, (own, same_noise), titles, (False, True), strict=True):
        extra = {route: loss - losses[None] for route, loss in losses.items() if route is not None}
        for (route, rise), (colour, line) in zip(extra.items(), LINES * 2, strict=False):
            name = "middle" if route == "middle" else f"kept {sides[route]}×{sides[route]}"
            if route == 0 and shared:
                name, colour, line = "all below at once", GREY, "-"
            axes.plot(times, rise, color=colour, linestyle=line, linewidth=2, marker="o", markersize=3, label=name)
            highest = int(rise.argmax())
            words.append(f"{title}, {name}: at most {float(rise[highest]):.3f}, at t = {times[highest]}")
        axes.set_yscale("symlog", linthresh=1e-3)
        axes.set(title=title, xlabel="t", ylim=(-4e-3, 4))
    handles, names = (
        one + other[:1] for one, other in zip(*(a.get_legend_handles_labels() for a in panes), strict=True)
    )
    figure.legend(handles, names, loc="outside upper center", ncols=len(names), frameon=False)
    panes[0].set_ylabel("loss added")
    return picture(figure, f"Loss that is added when one route carries a neighbour's maps. {'; '.join(words)}")


def first_steps_picture(runs: Mapping[str, Sequence[float]]) -> Picture:
    """The loss over the first steps of trainings that begin differently, one line a name."""
    figure, (axes,) = subplots(3.2)
    for (name, losses), (colour, line) in zip(runs.items(), LINES, strict=False):
        axes.plot(losses, color=colour, linestyle=line, linewidth=2, label=name)
    axes.axhline(1, color=GREY, linewidth=0.8)
    axes.set(xlabel="step", ylabel="loss", yscale="log", xlim=(0, None))
    axes.set_yticks([0.1, 0.2, 0.5, 1, 2, 5], ["0.1", "0.2", "0.5", "1", "2", "5"])
    axes.minorticks_off()
    axes.legend(frameon=False)
    words = "; ".join(f"{name}: {losses[0]:.2f} at first, {losses[-1]:.2f} at last" for name, losses in runs.items())
    return picture(figure, f"Loss over the first steps. {words}")

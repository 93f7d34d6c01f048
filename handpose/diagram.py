"""Figures 1 and 2 of the paper redrawn from the networks that the code makes: every size is read from a layer.

``python -m handpose.diagram`` writes the drawings as SVG into ``book/_static/diagrams``. Colours are variables of the
book's style sheet, light or dark; alone, a drawing has the light ones. ``_Sheet`` draws, the rest says what.
"""

import argparse
import html
import sys
from pathlib import Path

import torch
from torch import nn

from . import losses
from .experiments import find_row
from .records import PACKAGE, atomic_path
from .skeleton import JOINTS
from .stages import Networks

FOLDER = PACKAGE.parent / "book" / "_static" / "diagrams"
_STYLE = """
.hp text { font: 11.5px Arial, Helvetica, "Liberation Sans", Roboto, sans-serif; fill: var(--hp-ink, #1f2328); text-anchor: middle; }
.hp .small { font-size: 9.5px; }
.hp .head { font-weight: bold; font-size: 12.5px; text-anchor: start; }
.hp .start { text-anchor: start; }
.hp rect, .hp circle { stroke-width: 1.2; }
.hp .data { fill: var(--hp-data, #f1f3f5); stroke: var(--hp-data-line, #59636e); }
.hp .network { fill: var(--hp-network, #dbe9f9); stroke: var(--hp-network-line, #0b5cad); }
.hp .latent { fill: var(--hp-latent, #fdeccb); stroke: var(--hp-latent-line, #9a5b00); }
.hp .loss { fill: var(--hp-loss, #f9dfe6); stroke: var(--hp-loss-line, #b3264e); }
.hp .frozen { stroke-dasharray: 4 3; }
.hp path { fill: none; stroke: var(--hp-line, #424a53); stroke-width: 1.2; }
.hp .tip { fill: var(--hp-line, #424a53); stroke: none; }
""".strip()


class _Sheet:
    """An SVG under construction. Boxes are placed by their centre; the arrow to a box ends at its edge."""

    def __init__(self, name, width, height, alt):
        self.name, self.width, self.height, self.alt, self.parts = name, width, height, alt, []

    def text(self, x, y, words, kind=""):
        self.parts.append(f'<text x="{x:g}" y="{y:g}"{_class(kind)}>{_marked(words)}</text>')

    def box(self, kind, x, y, title, below="", width=106, height=34):
        """A box of ``kind`` (data, network, latent, loss) around (x, y); latents are round."""
        radius = height / 2 if "latent" in kind else 4
        self.parts.append(
            f'<rect class="{kind}" x="{x - width / 2:g}" y="{y - height / 2:g}" width="{width:g}" height="{height:g}" rx="{radius:g}"/>'
        )
        self.text(x, y - 3 if below else y + 4, title)
        if below:
            self.text(x, y + 11.5, below, "small")

    def arrow(self, *points, tip=True):
        """A line through ``points`` (x, y), straight from each to the next, with a tip at its end."""
        self.parts.append('<path d="M' + " L".join(f"{x:g} {y:g}" for x, y in points) + f'"{self._tip(tip)}/>')

    def plus(self, x, y):
        self.parts.append(f'<circle class="data" cx="{x:g}" cy="{y:g}" r="8"/>')
        self.arrow((x - 4, y), (x + 4, y), tip=False)
        self.arrow((x, y - 4), (x, y + 4), tip=False)

    def _tip(self, tip):
        return f' marker-end="url(#tip-{self.name})"' if tip else ""

    def svg(self):
        tip = (f'<marker id="tip-{self.name}" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
               '<path class="tip" d="M0 0.5 L8 4 L0 7.5 z"/></marker>')  # fmt: skip
        return "\n".join([
            f'<svg xmlns="http://www.w3.org/2000/svg" class="hp" viewBox="0 0 {self.width} {self.height}" role="img" '
            f'aria-label="{html.escape(self.alt, quote=True)}">',
            f"<style>{_STYLE}</style>", f"<defs>{tip}</defs>", *self.parts, "</svg>",
        ]) + "\n"  # fmt: skip


def _class(kind):
    return f' class="{kind}"' if kind else ""


def _marked(words):
    """"E_RGB" with RGB lowered; a caret raises. A letter with its index ends at a blank."""
    out = []
    for word in words.split(" "):
        base, low, index = word.partition("_")
        index, high, power = index.partition("^") if low else ("", *base.partition("^")[1:])
        base = base if low else base.partition("^")[0]
        mark = html.escape(base)
        if index:
            mark += f'<tspan dy="3" font-size="75%">{html.escape(index)}</tspan><tspan dy="-3">\u200b</tspan>'
        if power:
            mark += f'<tspan dy="-4" font-size="75%">{html.escape(power)}</tspan><tspan dy="4">\u200b</tspan>'
        out.append(mark)
    return " ".join(out)


def layers(module):
    """Sizes of the linear layers of a network in their order: [(in, out), ...]."""
    return [(layer.in_features, layer.out_features) for layer in module.modules() if isinstance(layer, nn.Linear)]


def _chain(module):
    sizes = layers(module)
    return "–".join(map(str, [sizes[0][0], *(out for _, out in sizes)]))


def _gaussian_chain(module):
    """Sizes of a network that ends in mean and log-variance: "63–512–512–512–2×64"."""
    *first, last = _chain(module).split("–")
    return "–".join([*first, f"2×{int(last) // 2}"])


class _Sizes:
    """What the drawings say of row D3's networks."""

    def __init__(self):
        torch.manual_seed(0)
        self.net = net = Networks(find_row("D3"))
        (self.features, twice), = layers(net.rgb_encoder.head)  # fmt: skip
        self.channels = net.rgb_encoder.backbone.conv1.in_channels
        self.pose, self.context = net.latent, twice // 2 - net.latent
        self.picture = f"ResNet-18, {self.features}–2×{twice // 2}"
        self.encoder, self.mapper = _gaussian_chain(net.pose_encoder), _gaussian_chain(net.rgb_mapper)
        self.true, self.aligned = layers(net.pose_encoder)[-1][1] // 2, layers(net.rgb_mapper)[-1][1] // 2
        self.discriminator = _chain(net.discriminator)
        joints = torch.zeros(1, len(JOINTS), 3)
        self.output = "×".join(map(str, net.pose_decoder(torch.zeros(2, self.true)).shape[1:]))
        self.kcs = "×".join(map(str, losses.kinematic_chain_space(joints).shape[1:]))
        self.lines = "×".join(map(str, losses.joint_line_distances(joints).shape[1:]))
        hidden = [out for _, out in layers(net.rgb_decoder.main)]
        self.decoder = f"{len(hidden)} layers of {hidden[0]}"


_LEFT, _RIGHT, _MIDDLE = 61, 189, 125
_CROP = "{}×S×S"


def disentangle(sizes=None):
    """Figure 1a: both autoencoders and the discriminator between their pose latents. Returns SVG text."""
    s = sizes or _Sizes()
    sheet = _Sheet("disentangle", 250, 346, (
        f"Stage 1, disentangle. A crop goes through E RGB, a ResNet-18, into a context latent of {s.context} and a pose latent of "
        f"{s.pose}; the decoder ID RGB makes a pose of the pose latent. A true pose goes through E pose ({s.encoder}) into a pose "
        f"latent of {s.true}, and ID pose makes a pose of it. The discriminator ({s.discriminator}) looks at both pose latents."
    ))  # fmt: skip
    sheet.text(8, 18, "1 Disentangle", "head")
    top = [46, 98, 150, 252, 304]
    split, pose = 32, 93  # centres of the two latents of a picture
    for x, first, below in ((_LEFT, "crop", _CROP.format(s.channels)), (_RIGHT, "true pose", s.output)):
        sheet.box("data", x, top[0], first, below)
        sheet.arrow((x, top[0] + 17), (x, top[1] - 17))
    sheet.box("network", _LEFT, top[1], "E_RGB", s.picture)
    sheet.box("network", _RIGHT, top[1], "E_pose", s.encoder)
    sheet.box("latent", split, top[2], "context", str(s.context), width=58)
    sheet.box("latent", pose, top[2], "pose", str(s.pose), width=46)
    sheet.box("latent", _RIGHT, top[2], "pose", str(s.true), width=46)
    for x in (split, pose, _RIGHT):
        sheet.arrow((x, top[1] + 17), (x, top[2] - 17))
    sheet.box("loss", 141, 200, "Dis, eq. 1", s.discriminator, width=84)
    sheet.arrow((pose + 23, top[2]), (130, top[2]), (130, 183))
    sheet.arrow((_RIGHT - 23, top[2]), (152, top[2]), (152, 183))
    right = _RIGHT + 8  # past the discriminator
    sheet.arrow((pose - 10, top[2] + 17), (pose - 10, top[3] - 17))
    sheet.arrow((right, top[2] + 16.5), (right, top[3] - 17))
    for x, name, equation in ((_LEFT, "ID_RGB", 2), (_RIGHT, "ID_pose", 3)):
        sheet.box("network", x, top[3], name, s.decoder)
        sheet.arrow((x, top[3] + 17), (x, top[4] - 17))
        sheet.box("data", x, top[4], "pose", s.output)
        sheet.text(x, top[4] + 31, f"MSE + KL, eq. {equation}", "small")
    return sheet.svg()


def align(sizes=None):
    """Figure 1b: two mappers and the shared decoder. Returns SVG text."""
    s = sizes or _Sizes()
    sheet = _Sheet("align", 250, 346, (
        f"Stage 2, align. The pose latents of a crop and of a true pose, {s.pose} numbers each, go through the mappers T RGB and T pose "
        f"({s.mapper}) into aligned latents of {s.aligned}. One shared decoder, ID RGB, makes a pose of each. The encoders are "
        "frozen at first."
    ))  # fmt: skip
    sheet.text(8, 18, "2 Align", "head")
    sheet.text(242, 18, "dashed: frozen at first", "small")
    sheet.parts[-1] = sheet.parts[-1].replace("<text", '<text style="text-anchor: end"')
    top = [46, 92, 137, 182, 227, 271, 315]
    for x, first, encoder, chain, mapper, latent, below in (
        (_LEFT, "crop", "E_RGB", s.picture, "T_RGB", s.pose, _CROP.format(s.channels)),
        (_RIGHT, "true pose", "E_pose", s.encoder, "T_pose", s.true, s.output),
    ):
        sheet.box("data", x, top[0], first, below)
        sheet.box("network frozen", x, top[1], encoder, chain)
        sheet.box("latent", x, top[2], f"pose {latent}", width=70, height=22)
        sheet.box("network", x, top[3], mapper, s.mapper)
        sheet.box("latent", x, top[4], f"aligned {s.aligned}", width=76, height=22)
        halves = [17, 17, 11, 17, 11, 17, 12]
        for one in range(5):
            sheet.arrow((x, top[one] + halves[one]), (x, top[one + 1] - halves[one + 1]))
        sheet.arrow((x, top[5] + 17), (x, top[6] - 12))
        sheet.box("data", x, top[6], f"pose {s.output}", height=24)
    sheet.box("network", _MIDDLE, top[5], "ID_RGB", f"shared, {s.decoder}", width=234)
    sheet.text(_LEFT, top[6] + 25, "MSE + KL, eq. 6", "small")
    sheet.text(_RIGHT, top[6] + 25, "w (MSE + KL), eq. 7", "small")
    return sheet.svg()


def refine(sizes=None):
    """Figure 1c: the path from the crop to the pose and the losses on it. Returns SVG text."""
    s = sizes or _Sizes()
    sheet = _Sheet("refine", 250, 346, (
        "Stage 3, refine. Crop, E RGB, pose latent, T RGB, aligned latent, ID RGB, pose. The pose is compared with the true pose by the "
        f"mean squared error and by the KCS loss, on {s.kcs} products of bones, or the GEO loss, on {s.lines} distances, in turn."
    ))  # fmt: skip
    sheet.text(8, 18, "3 Refine", "head")
    top, halves = [46, 92, 137, 182, 227, 271, 315], [17, 17, 11, 17, 11, 17, 12]
    sheet.box("data", _LEFT, top[0], "crop", _CROP.format(s.channels))
    sheet.box("network", _LEFT, top[1], "E_RGB", s.picture)
    sheet.box("latent", _LEFT, top[2], f"pose {s.pose}", width=70, height=22)
    sheet.box("network", _LEFT, top[3], "T_RGB", s.mapper)
    sheet.box("latent", _LEFT, top[4], f"aligned {s.aligned}", width=76, height=22)
    sheet.box("network", _LEFT, top[5], "ID_RGB", s.decoder)
    for one in range(6):
        sheet.arrow((_LEFT, top[one] + halves[one]), (_LEFT, top[one + 1] - halves[one + 1]))
    sheet.box("data", _LEFT, top[6], f"pose {s.output}", height=24)
    sheet.box("data", _RIGHT, top[0], "true pose", s.output)
    for y, name, below in ((137, "MSE", s.output), (196, "KCS, eq. 13", f"bones, {s.kcs}"), (255, "GEO, eq. 16", f"lines, {s.lines}")):
        sheet.box("loss", _RIGHT, y, name, below, width=94)
        sheet.arrow((_RIGHT + 53, top[0]), (247, top[0]), (247, y), (_RIGHT + 47, y))
        sheet.arrow((_LEFT + 53, top[6]), (130, top[6]), (130, y), (_RIGHT - 47, y))
    sheet.text(_RIGHT, 229, "in turn, eq. 17", "small")
    return sheet.svg()


def decoder(sizes=None):
    """Figure 2a: the injection decoder, layer by layer (eqs. 18, 19). Returns SVG text."""
    s = sizes or _Sizes()
    net = s.net.rgb_decoder
    main, inject, (last,) = layers(net.main), layers(net.inject), layers(net.out)
    period, first = 74, 74
    end = first + period * len(main)
    sheet = _Sheet("decoder", 340, end + 76, (
        f"The injection decoder. The latent z of {main[0][0]} goes through {len(main)} hidden layers of {main[0][1]}; after each, z is "
        f"added again through a layer of its own, {inject[0][0]} to {inject[0][1]}. A linear layer, {last[0]} to {last[1]}, "
        f"gives the pose, {s.output}."
    ))  # fmt: skip
    sheet.text(8, 18, "Injection decoder", "head")
    left, right, trunk = 100, 252, 22
    sheet.box("latent", right, 34, f"z {main[0][0]}", width=66, height=22)
    sheet.arrow((right - 33, 34), (trunk, 34), (trunk, first + period * (len(main) - 1) + 4), tip=False)
    sheet.text(left, 54, "Res: z once more", "small")
    for number, (one, other) in enumerate(zip(main, inject), 1):
        y, add = first + period * (number - 1) + 4, first + period * (number - 1) + 43
        sheet.arrow((right, 45 if number == 1 else add - period + 8), (right, y - 17))
        sheet.box("network", right, y, f"W_{number}", f"{one[0]}–{one[1]}, bn, relu", width=116)
        sheet.arrow((trunk, y), (left - 58, y))
        sheet.box("network", left, y, f"W_{number}^s", f"{other[0]}–{other[1]}, bn, relu", width=116)
        sheet.arrow((left, y + 17), (left, add), (right - 8, add))
        sheet.arrow((right, y + 17), (right, add - 8))
        sheet.plus(right, add)
        sheet.text(right + 22, add + 4, f"y_{number}")
    sheet.arrow((right, end - period + 51), (right, end - 1))
    sheet.box("network", right, end + 16, "linear", f"{last[0]}–{last[1]}", width=116)
    sheet.arrow((right, end + 33), (right, end + 48))
    sheet.box("data", right, end + 60, f"pose {s.output}", height=24)
    return sheet.svg()


def mapper(sizes=None):
    """Figure 2b: the variational mapper. Returns SVG text."""
    net = (sizes or _Sizes()).net.rgb_mapper
    *hidden, (inputs, outputs) = layers(net)
    height = 92 + 52 * (len(hidden) + 1) + 70
    sheet = _Sheet("mapper", 250, height, (
        f"The variational mapper. Of a mean and a log-variance of {hidden[0][0]} numbers each a sample is drawn. It goes through "
        f"{len(hidden)} hidden layers of {hidden[0][1]} and a linear layer, {inputs} to {outputs}: mean and log-variance of the aligned "
        f"latent, {outputs // 2} each."
    ))  # fmt: skip
    sheet.text(8, 18, "Variational mapper", "head")
    for x, words in ((_LEFT, "mean"), (_RIGHT, "log-variance")):
        sheet.box("latent", x, 44, f"{words} {hidden[0][0]}", height=24)
        end = _MIDDLE + (-14 if x < _MIDDLE else 14)
        sheet.arrow((x, 56), (x, 66), (end, 66), (end, 75))
    sheet.box("data", _MIDDLE, 92, "sample z", "z = mean + deviation × noise", width=150)
    y = 92
    for before, after in hidden:
        sheet.arrow((_MIDDLE, y + 17), (_MIDDLE, y + 35))
        y += 52
        sheet.box("network", _MIDDLE, y, "linear", f"{before}–{after}, relu")
    y += 52
    sheet.arrow((_MIDDLE, y - 35), (_MIDDLE, y - 17))
    sheet.box("network", _MIDDLE, y, "linear", f"{inputs}–{outputs}")
    for x, words in ((_LEFT, "mean"), (_RIGHT, "log-variance")):
        start = _MIDDLE + (-20 if x < _MIDDLE else 20)
        sheet.arrow((start, y + 17), (start, y + 27), (x, y + 27), (x, y + 38))
        sheet.box("latent", x, y + 50, f"{words} {outputs // 2}", height=24)
    return sheet.svg()


DRAWINGS = {drawing.__name__: drawing for drawing in (disentangle, align, refine, decoder, mapper)}


def draw_all():
    """All drawings as the code makes them now: {name: SVG text}."""
    sizes = _Sizes()
    return {name: drawing(sizes) for name, drawing in DRAWINGS.items()}


def main(arguments=None):
    """Command line: write the drawings."""
    parser = argparse.ArgumentParser(prog="python -m handpose.diagram", description=__doc__.splitlines()[0])
    parser.add_argument("folder", nargs="?", type=Path, default=FOLDER)
    folder = parser.parse_args(arguments).folder
    try:
        for name, text in draw_all().items():
            with atomic_path(folder / f"{name}.svg") as temporary:
                temporary.write_text(text, encoding="utf-8")
    except OSError as error:
        sys.exit(f"error: {folder} can't be written to ({error.strerror}): give a folder")
    print(f"{len(DRAWINGS)} drawings in {folder}")


if __name__ == "__main__":
    main()

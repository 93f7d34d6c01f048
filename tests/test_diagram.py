"""The drawings of the networks: committed as the code draws them now, and readable."""

import re
import xml.etree.ElementTree as ElementTree

import pytest
import torch

from handpose import diagram
from handpose.models import InjectionDecoder, VariationalMapper

DRAWN = diagram.draw_all()
SVG = "{http://www.w3.org/2000/svg}"


@pytest.mark.parametrize("name", DRAWN)
def test_the_committed_drawing_is_what_the_code_draws_now(name):
    """A change of a network's layers: run `python -m handpose.diagram`."""
    assert (diagram.FOLDER / f"{name}.svg").read_text(encoding="utf-8") == DRAWN[name]


def test_the_command_writes_all_drawings(tmp_path, capsys):
    diagram.main([str(tmp_path)])
    assert {path.stem: path.read_text(encoding="utf-8") for path in tmp_path.iterdir()} == DRAWN
    assert "5 drawings" in capsys.readouterr().out
    (tmp_path / "file").touch()
    with pytest.raises(SystemExit, match="^error: .*file can't be written to"):
        diagram.main([str(tmp_path / "file")])


def words(svg):
    return ["".join(text.itertext()).replace("\u200b", "") for text in ElementTree.fromstring(svg).iter(f"{SVG}text")]


def test_sizes_come_from_the_layers():
    sizes = diagram._Sizes()
    sizes.net.rgb_decoder = InjectionDecoder(latent=7, hidden=30, layers=3)
    sizes.net.rgb_mapper = VariationalMapper(inputs=7, outputs=9, hidden=20)
    drawn = words(diagram.decoder(sizes))
    assert drawn.count("7–30, bn, relu") == 4 and drawn.count("30–30, bn, relu") == 2 and "30–63" in drawn
    assert [f"y{number}" in drawn for number in (1, 2, 3, 4)] == [True, True, True, False]
    mapped = words(diagram.mapper(sizes))
    assert {"mean 7", "7–20, relu", "20–20, relu", "20–18", "mean 9", "log-variance 9"} <= set(mapped)


def test_the_whole_method_says_the_sizes_of_row_d3():
    drawn = " ".join(words(DRAWN["disentangle"]))
    assert "ResNet-18, 512–2×128" in drawn and "63–512–512–512–2×64" in drawn and "64–256–256–1" in drawn
    assert "bones, 20×20" in words(DRAWN["refine"]) and "lines, 21×190" in words(DRAWN["refine"])


def test_chains_of_layers_are_written_from_first_to_last():
    network = torch.nn.Sequential(torch.nn.Linear(3, 8), torch.nn.ReLU(), torch.nn.Linear(8, 10))
    assert diagram.layers(network) == [(3, 8), (8, 10)]
    assert diagram._chain(network) == "3–8–10" and diagram._gaussian_chain(network) == "3–8–2×5"


@pytest.mark.parametrize("name", DRAWN)
def test_a_drawing_is_one_picture_with_a_text_alternative(name):
    root = ElementTree.fromstring(DRAWN[name])
    assert root.get("role") == "img" and len(root.get("aria-label")) > 80
    _, _, width, height = map(float, root.get("viewBox").split())
    for rect in root.iter(f"{SVG}rect"):
        x, y, w, h = (float(rect.get(key)) for key in ("x", "y", "width", "height"))
        assert x >= 0 and y >= 0 and x + w <= width and y + h <= height
    for path in root.iter(f"{SVG}path"):
        points = re.findall(r"[ML]([\d.]+) ([\d.]+)", path.get("d"))
        assert all(float(x) <= width and float(y) <= height for x, y in points)
    assert f"tip-{name}" in DRAWN[name]  # names of marks are one drawing's own: several stand on a page


@pytest.mark.parametrize("name", DRAWN)
def test_text_fits_its_box(name):
    """In a sans serif face a letter is about half its size wide; what is written in a box stays in it."""
    root = ElementTree.fromstring(DRAWN[name])
    boxes = [tuple(float(rect.get(key)) for key in ("x", "y", "width", "height")) for rect in root.iter(f"{SVG}rect")]
    for text in root.iter(f"{SVG}text"):
        x, y = float(text.get("x")), float(text.get("y"))
        size = 9.5 if "small" in (text.get("class") or "") else 11.5
        length = 0.52 * size * len("".join(text.itertext()).replace("\u200b", ""))
        for left, top, width, height in boxes:
            if left < x < left + width and top < y < top + height:
                assert length <= width + 4, "".join(text.itertext())



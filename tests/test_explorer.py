"""The latent explorer: the decoder folded and rounded, in numpy and in JavaScript, against the network itself."""

import base64
import json
import re
import shutil
import subprocess

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from handpose import explorer
from handpose.models import InjectionDecoder
from handpose.records import PACKAGE

SCALE = 40.0
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.fixture(scope="module")
def decoder():
    """A decoder that has learnt something: to read 21 points from a latent that is wide in some directions only."""
    torch.manual_seed(0)
    net = InjectionDecoder(latent=64)
    optimiser = torch.optim.Adam(net.parameters(), 1e-3)
    wanted = torch.randn(64, 63) * 0.5
    for _ in range(60):
        z = latents(64)
        loss = (net(z).flatten(1) - torch.tanh(z @ wanted)).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return net.eval()


def latents(count):
    return torch.randn(count, 64) * torch.logspace(0.3, -1.5, 64)


@pytest.fixture(scope="module")
def seen():
    torch.manual_seed(1)
    return latents(256).numpy()


@pytest.fixture(scope="module")
def packed(decoder, seen):
    return explorer.pack(decoder, seen, SCALE)


def exact(decoder, arrays, steps):
    z = torch.from_numpy(arrays["mean"] + steps @ arrays["basis"].T.astype(np.float64))
    decoder = decoder.double()
    with torch.no_grad():
        hands = decoder(z).numpy() * SCALE
    decoder.float()
    return hands


def test_directions_are_those_of_most_variance():
    rng = np.random.default_rng(0)
    turn = np.linalg.qr(rng.normal(size=(10, 10)))[0]
    points = rng.normal(size=(4000, 10)) * [5, 3, 1, *[0.1] * 7] @ turn.T + 7
    mean, basis, share = explorer.main_directions(points, 3)
    np.testing.assert_allclose(mean, points.mean(0))
    np.testing.assert_allclose(np.linalg.norm(basis, axis=0), [5, 3, 1], rtol=0.05)
    np.testing.assert_allclose(np.abs(basis.T @ turn[:, :3]), np.diag([5, 3, 1]), atol=0.25)
    np.testing.assert_allclose(share, np.array([25, 9, 1]) / 35.07, atol=0.02)
    assert (basis[np.abs(basis).argmax(0), range(3)] > 0).all()


@pytest.mark.parametrize("points, message", [
    (np.zeros((8, 64)), "need more than 8 latents of 8 numbers at least, got \\(8, 64\\)"),
    (np.zeros((20, 7)), "got \\(20, 7\\)"),
    (np.zeros(20), "got \\(20,\\)"),
    (np.ones((20, 64)), "all latents are the same"),
])  # fmt: skip
def test_directions_of_nothing_are_refused(points, message):
    with pytest.raises(ValueError, match=message):
        explorer.main_directions(points)


def test_folding_changes_nothing(decoder):
    x = torch.randn(50, 64)
    weight, bias = explorer.fold(decoder.inject[2])
    with torch.no_grad():
        expected = decoder.inject[2](x).numpy()
    np.testing.assert_allclose(np.maximum(x.numpy() @ weight.T + bias, 0), expected, atol=1e-5)


def test_the_rounded_decoder_gives_the_networks_hands(decoder, packed, seen):
    steps = explorer.steps_of(packed, seen)
    inside = steps[np.abs(steps).max(1) <= explorer.REACH]
    far = np.random.default_rng(2).uniform(-explorer.REACH, explorer.REACH, (200, explorer.DIRECTIONS))
    for moved, most, usual in ((inside, 1.0, 0.4), (far, 2.0, 0.6)):
        wanted = exact(decoder, packed, moved)
        error = np.linalg.norm(explorer.decode(packed, moved) - wanted, axis=-1)
        assert error.max() < most and error.mean() < usual
        assert np.linalg.norm(wanted - wanted.mean(0), axis=-1).mean() > 20  # there is something to get wrong


def test_errors_of_rounding_are_made_up_for(decoder, packed):
    """Plain rounding to as many levels is several times worse: it is not the four bits alone that do it."""
    steps = np.random.default_rng(3).normal(size=(200, explorer.DIRECTIONS))
    wanted = exact(decoder, packed, steps)

    def off(arrays):
        return np.linalg.norm(explorer.decode(arrays, steps) - wanted, axis=-1).mean()

    plain = {name: array.copy() for name, array in packed.items()}
    for layer, block in enumerate(decoder.main[1:]):
        weight, bias = explorer.fold(block)
        unit = np.abs(weight).max(1) / 7
        plain["hidden"][layer] = explorer._halves(np.round(weight / unit[:, None]))
        plain["hidden_unit"][layer], plain["hidden_bias"][layer] = unit, bias
    assert off(plain) > 3 * off(packed)


def test_it_is_small_enough_for_a_page(packed):
    assert sum(array.nbytes for array in packed.values()) < 5.2e5
    assert len(explorer.explorer_html(packed)) < 7.2e5
    assert packed["hidden"].dtype == np.uint8 and packed["hidden"].shape == (3, 512, 256)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_four_bits_pack_and_unpack(seed):
    counts = np.random.default_rng(seed).integers(-8, 8, (5, 6))
    np.testing.assert_array_equal(explorer._wholes(explorer._halves(counts)), counts)


def test_steps_lead_back_to_the_latents(packed):
    steps = np.random.default_rng(4).normal(size=(20, explorer.DIRECTIONS))
    z = packed["mean"] + steps @ packed["basis"].T.astype(np.float64)
    np.testing.assert_allclose(explorer.steps_of(packed, z), steps, atol=1e-5)


def test_turning_is_told_from_bending(monkeypatch, packed):
    rng = np.random.default_rng(5)
    hand, other = rng.normal(size=(21, 3)) * 40, rng.normal(size=(21, 3)) * 5

    def turned_or_bent(arrays, steps):
        angle, bent = steps[:, 0], steps[:, 1]
        turn = np.zeros((len(steps), 3, 3))
        turn[:, 0, 0] = turn[:, 1, 1] = np.cos(angle)
        turn[:, 1, 0], turn[:, 0, 1], turn[:, 2, 2] = np.sin(angle), -np.sin(angle), 1
        return (hand + bent[:, None, None] * other) @ turn.transpose(0, 2, 1)

    monkeypatch.setattr(explorer, "decode", turned_or_bent)
    found = explorer.effect_of(packed, np.zeros((3, explorer.DIRECTIONS)))
    assert found["moves"][0] > 30 and found["bends"][0] < 1e-9
    assert found["bends"][1] == pytest.approx(found["moves"][1], rel=0.2) and found["moves"][1] > 5
    assert not found["moves"][2:].any()
    table = explorer.effect_table(packed, np.zeros((3, explorer.DIRECTIONS)))
    assert list(table["of it shape (mm)"])[0] == "0.0" and len(table) == explorer.DIRECTIONS


def test_hands_to_start_from_are_usual_ones(packed, seen):
    starts = explorer.hands_to_start_from(packed, seen, 5)
    assert starts.shape == (5, explorer.DIRECTIONS) and np.abs(starts).max() <= 2
    np.testing.assert_allclose(starts * 10, np.round(starts * 10), atol=1e-9)
    spread = [np.linalg.det(np.cov(hand[:, :2].T)) for hand in explorer.decode(packed, starts)]
    assert spread == sorted(spread, reverse=True)
    far = packed["mean"] + 9 * packed["basis"].sum(1)[None]
    assert np.abs(explorer.hands_to_start_from(packed, far)).max() == explorer.REACH


@pytest.mark.skipif(shutil.which("node") is None, reason="no node on this machine")
def test_the_browser_computes_the_same_hands(packed, tmp_path):
    steps = np.random.default_rng(6).uniform(-3, 3, (6, explorer.DIRECTIONS))
    (tmp_path / "data.json").write_text(explorer.as_json(packed))
    program = """
        const { prepare, decode } = require(process.argv[1]);
        const net = prepare(JSON.parse(require("fs").readFileSync(process.argv[2])));
        console.log(JSON.stringify(JSON.parse(process.argv[3]).map((steps) => Array.from(decode(net, steps)))));"""
    command = ["node", "-e", program, str(PACKAGE / "explorer.js"), str(tmp_path / "data.json"), json.dumps(steps.tolist())]
    result = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    hands = np.array(json.loads(result.stdout)).reshape(-1, 21, 3)
    np.testing.assert_allclose(hands, explorer.decode(packed, steps), atol=0.05)


def test_the_html_needs_nothing_else(packed):
    text = explorer.explorer_html(packed, np.zeros((2, 8)), 'a"<b')
    assert not re.search(r"(src|href)=|https?://|import\(|fetch\(", text)
    assert 'id="a&quot;&lt;b"' in text and text.count("</script>") == 2
    data = json.loads(explorer.as_json(packed, [[0.14] * 8]))
    assert data["frames"] == [[0.1] * 8] and len(data["share"]) == 8
    kept = np.frombuffer(base64.b64decode(data["arrays"]["out"]["data"]), np.int8).reshape(data["arrays"]["out"]["shape"])
    np.testing.assert_array_equal(kept, packed["out"])


_DRIVE = """
<script>
  const input = document.querySelector("#explore input"), canvas = document.querySelector("#explore canvas");
  const shows = () => [document.querySelector("#explore .moved").textContent, canvas.toDataURL()];
  const set = (value) => { input.value = value; input.dispatchEvent(new Event("input")); };
  const press = (name) => [...document.querySelectorAll("#explore button")].find((one) => one.textContent === name).click();
  const key = (name) => canvas.dispatchEvent(new KeyboardEvent("keydown", { key: name, cancelable: true }));
  const seen = [shows()];
  set(2); seen.push(shows());
  key("ArrowLeft"); seen.push(shows());
  setTimeout(() => { press("Reset"); }, 10);
  setTimeout(() => { seen.push(shows()); press("Mean latent"); }, 1500);
  setTimeout(() => {
    seen.push(shows());
    const labels = [...document.querySelectorAll("#explore input")].map((one) => one.labels.length);
    document.body.innerHTML = "<pre>" + JSON.stringify({ seen, labels, wide: document.documentElement.scrollWidth }) + "</pre>";
  }, 3000);
</script>"""


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
def test_the_hand_moves_with_the_slider(packed, tmp_path):
    page = tmp_path / "page.html"
    body = explorer.explorer_html(packed, [[0.5] * 8], "explore") + _DRIVE
    page.write_text(f'<!doctype html><meta charset="utf-8"><meta name="viewport" content="width=device-width"><body>{body}')
    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--window-size=390,900",
               "--disable-background-networking", f"--user-data-dir={tmp_path / 'profile'}", "--virtual-time-budget=8000",
               "--dump-dom", page.as_uri()]  # fmt: skip
    dom = subprocess.run(command, capture_output=True, text=True, timeout=120).stdout
    found = json.loads(re.search(r"<pre>(.*)</pre>", dom, re.S)[1])
    start, moved, turned, reset, mean = found["seen"]
    distance = np.linalg.norm(np.diff(explorer.decode(packed, np.array([[0.5] * 8, [2.0] + [0.5] * 7])), axis=0), axis=-1).mean()
    assert start[0] == "Joints are 0.0 mm away from the hand of picture 1 of 1, on average."
    assert f"Joints are {distance:.1f} mm away" in moved[0] and distance > 1
    assert len({start[1], moved[1], turned[1]}) == 3 and turned[0] == moved[0]
    assert reset == start
    assert mean[0] == "Joints are 0.0 mm away from the mean latent's hand, on average." and mean[1] != start[1]
    assert found["labels"] == [1] * 8 and found["wide"] <= 500  # headless Chromium has no window under 500 px

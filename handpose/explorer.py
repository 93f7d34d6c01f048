"""The latent explorer: the trained injection decoder (section 3.3), small enough to run in a reader's browser.

The decoder is taken in evaluation mode on a plane of k directions through its latent space: z = mean + basis s, where s
counts standard deviations of what the decoder reads. Batch normalisation is then a part of the linear layers before it,
and the five layers that read z become (512, k) matrices. The three between hidden layers are rounded to four bits: rounded
one column after another, each error made up for by the columns that follow (optimal brain quantisation), on what the layers
see when the sliders move. Numpy arrays in, numpy arrays out; the same arithmetic in JavaScript: ``explorer.js``.
"""

import base64
import html
import json

import numpy as np
import pandas as pd

from .records import PACKAGE

DIRECTIONS = 8
#: How far a slider goes, in standard deviations.
REACH = 3.0
_SAMPLES = 3072
_SCRIPT = PACKAGE / "explorer.js"


def main_directions(latents, count=DIRECTIONS):
    """Principal directions of ``latents`` (N, D): their mean (D,), basis (D, count), and shares of the variance (count,).

    A column of the basis is one standard deviation along its direction, its largest entry positive. Raises ValueError for
    fewer than ``count`` + 1 latents or dimensions under ``count``, and where they are all the same.
    """
    latents = np.asarray(latents, np.float64)
    if latents.ndim != 2 or len(latents) <= count or latents.shape[1] < count:
        raise ValueError(f"{count} directions need more than {count} latents of {count} numbers at least, got {latents.shape}")
    mean = latents.mean(0)
    _, values, vectors = np.linalg.svd(latents - mean, full_matrices=False)
    if not values[0] > 0:
        raise ValueError("all latents are the same: they have no main direction")
    vectors, values = vectors[:count], values**2
    vectors = vectors * np.sign(vectors[np.arange(count), np.abs(vectors).argmax(1)])[:, None]
    return mean, vectors.T * np.sqrt(values[:count] / len(latents)), values[:count] / values.sum()


def fold(block):
    """Weight (O, I) and bias (O,), float64, of the linear layer that a decoder's ``block`` is in evaluation mode, before relu."""
    norm = block.norm
    gain, shift, mean, variance, weight = (
        one.detach().cpu().numpy().astype(np.float64)
        for one in (norm.weight, norm.bias, norm.running_mean, norm.running_var, block.linear.weight)
    )
    gain = gain / np.sqrt(variance + norm.eps)
    return gain[:, None] * weight, shift - gain * mean


def pack(decoder, latents, scale, count=DIRECTIONS, seed=0):
    """What the explorer keeps of a trained ``InjectionDecoder``: {name: array}, half a megabyte at the paper's widths.

    latents (N, D): what the decoder reads for N frames, by which directions and their lengths are found; scale: mm of the
    hand that is drawn, the length of its middle finger's proximal phalanx. ``mean`` (D,), ``basis`` (D, k) and ``share``
    (k,) as in ``main_directions``; the rest is read by ``decode``. Raises ValueError as ``main_directions`` does.
    """
    mean, basis, share = main_directions(latents, count)
    entries = [fold(block) for block in (decoder.main[0], *decoder.inject)]
    entries = [(weight @ basis, weight @ mean + bias) for weight, bias in entries]
    hidden = [fold(block) for block in decoder.main[1:]]
    out = [one.detach().cpu().numpy().astype(np.float64) * scale for one in (decoder.out.weight, decoder.out.bias)]

    steps = np.random.default_rng(seed).normal(size=(_SAMPLES, count)) * 1.3
    steps[: _SAMPLES // 4] = np.random.default_rng(seed).uniform(-REACH, REACH, (_SAMPLES // 4, count))
    steps = steps.clip(-REACH, REACH)
    injected = [_relu(steps @ weight.T + bias) for weight, bias in entries]
    exact = kept = injected[0] + injected[1]
    arrays, layers = {"mean": mean.astype(np.float32), "basis": basis.astype(np.float32), "share": share.astype(np.float32)}, []
    for (weight, bias), more in zip(hidden, injected[2:]):
        wanted = exact @ weight.T + bias
        counts, unit, bias = _round(weight, kept, wanted, bits=4)
        kept, exact = _relu(kept @ (counts * unit[:, None]).T + bias) + more, _relu(wanted) + more
        layers.append((counts, unit, bias))
    arrays["hidden"] = np.stack([_halves(counts) for counts, _, _ in layers])
    arrays["hidden_unit"], arrays["hidden_bias"] = (np.stack(one).astype(np.float32) for one in list(zip(*layers))[1:])
    counts, unit, bias = _round(out[0], kept, exact @ out[0].T + out[1], bits=8)
    arrays |= {"out": counts.astype(np.int8), "out_unit": unit.astype(np.float32), "out_bias": bias.astype(np.float32)}
    units = np.array([np.abs(weight).max() for weight, _ in entries]) / np.iinfo(np.int16).max
    arrays["entry"] = np.stack([np.round(weight / unit) for (weight, _), unit in zip(entries, units)]).astype(np.int16)
    arrays["entry_bias"] = np.stack([bias for _, bias in entries]).astype(np.float32)
    return arrays | {"entry_unit": units.astype(np.float32)}


def _round(weight, seen, wanted, bits):
    """Whole numbers (O, I) with a unit a row, and a bias, so that they map ``seen`` (N, I) to what is ``wanted`` (N, O).

    Columns are rounded in turn, those that matter most first; what one gets wrong the later ones make up for, as far as they
    move together in ``seen`` (Hassibi and Stork 1993; Frantar et al. 2022).
    """
    low, high = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
    centre, aim = seen.mean(0), wanted.mean(0)
    centred = seen - centre
    second = centred.T @ centred / len(seen)
    second[np.diag_indices_from(second)] += 1e-3 * np.trace(second) / len(second) + 1e-12
    weight = weight + np.linalg.solve(second, centred.T @ (wanted - aim - centred @ weight.T) / len(seen)).T
    order = np.argsort(-np.diag(second))
    weight = weight[:, order]
    unit = _best_unit(weight, low, high)
    carry = np.linalg.cholesky(np.linalg.inv(second[np.ix_(order, order)])).T
    counts = np.empty_like(weight)
    for column in range(weight.shape[1]):
        counts[:, column] = np.round(weight[:, column] / unit).clip(low, high)
        error = (weight[:, column] - counts[:, column] * unit) / carry[column, column]
        weight[:, column + 1 :] -= error[:, None] * carry[column, column + 1 :]
    back = np.empty_like(counts)
    back[:, order] = counts
    return back, unit, aim - (back * unit[:, None]) @ centre


def _best_unit(weight, low, high):
    """The step of each row (O,) with which rounding its weights loses least: the largest ones may be cut off."""
    largest = np.abs(weight).max(1)
    largest[largest == 0] = 1.0
    units = np.linspace(0.5, 1.0, 11)[:, None] * largest / high
    loss = [((np.round(weight / unit[:, None]).clip(low, high) * unit[:, None] - weight) ** 2).sum(1) for unit in units]
    return units[np.argmin(loss, axis=0), np.arange(len(weight))]


def _halves(counts):
    """Whole numbers from -8 to 7, (O, I), two a byte, the first in the lower half: uint8 (O, I / 2)."""
    shifted = (counts + 8).astype(np.uint8)
    return shifted[:, ::2] | shifted[:, 1::2] << 4


def _wholes(halves):
    return np.stack([halves & 15, halves >> 4], -1).reshape(*halves.shape[:-1], -1).astype(np.float64) - 8


def decode(arrays, steps):
    """Hands (N, 21, 3), mm, of ``steps`` (N, k) along the directions, in standard deviations, by the decoder as ``pack`` kept it.

    Poses as the network gives them: relative to the palm, in the right hand's view-corrected frame.
    """
    entry = arrays["entry"] * arrays["entry_unit"].astype(np.float64)[:, None, None]
    injected = [_relu(steps @ weight.T + bias) for weight, bias in zip(entry, arrays["entry_bias"])]
    y = injected[0] + injected[1]
    for halves, unit, bias, more in zip(arrays["hidden"], arrays["hidden_unit"], arrays["hidden_bias"], injected[2:]):
        y = _relu((y @ _wholes(halves).T) * unit + bias) + more
    return ((y @ arrays["out"].T.astype(np.float64)) * arrays["out_unit"] + arrays["out_bias"]).reshape(-1, 21, 3)


def steps_of(arrays, latents):
    """Where ``latents`` (N, D) lie along the directions: (N, k), in standard deviations."""
    basis = arrays["basis"].astype(np.float64)
    return (np.asarray(latents, np.float64) - arrays["mean"]) @ (basis / (basis**2).sum(0))


def _relu(x):
    return np.maximum(x, 0.0)


def effect_of(arrays, starts, size=1.0):
    """What each direction does to the hands of ``starts`` (M, k): {"moves": (k,), "bends": (k,)}, mm, mean over hands and joints.

    A hand ``size`` standard deviations below its start is held against the one as much above. "bends" is what is left of the
    movement when the hand may be turned back as well as can be (Kabsch 1976): change of shape alone.
    """
    moves, bends = [], []
    for direction in np.eye(len(arrays["share"])):
        low, high = (decode(arrays, starts + sign * size * direction) for sign in (-1, 1))
        low, high = (pose - pose.mean(1, keepdims=True) for pose in (low, high))
        u, _, v = np.linalg.svd(np.swapaxes(low, 1, 2) @ high)
        mirror = np.ones((len(low), 1, 3))
        mirror[:, 0, 2] = np.sign(np.linalg.det(u @ v))
        moves.append(np.linalg.norm(high - low, axis=-1).mean())
        bends.append(np.linalg.norm(high - low @ ((u * mirror) @ v), axis=-1).mean())
    return {"moves": np.array(moves), "bends": np.array(bends)}


def effect_table(arrays, starts):
    """``effect_of`` and the share of the variance, a line a direction: DataFrame of texts."""
    effects = effect_of(arrays, starts)
    columns = {"variance (%)": 100 * arrays["share"], "joints move by (mm)": effects["moves"], "of it shape (mm)": effects["bends"]}
    table = pd.DataFrame(columns).map("{:.1f}".format)
    return table.set_index(pd.Index([f"direction {number}" for number in range(1, len(table) + 1)], name=""))


def hands_to_start_from(arrays, latents, count=12):
    """Steps (count, k) of at most ``count`` of the ``latents`` (N, D): hands within two standard deviations of the mean, or
    within the sliders' reach where there are none; those that spread widest across the picture first.
    """
    steps = steps_of(arrays, latents).round(1).clip(-REACH, REACH)
    usual = np.abs(steps).max(1) <= 2.0
    steps = steps[usual] if usual.any() else steps
    spread = np.array([np.linalg.det(np.cov(hand[:, :2].T)) for hand in decode(arrays, steps)])
    return steps[np.argsort(-spread)[:count]]


def as_json(arrays, frames=()):
    """The explorer's arrays and the ``frames``' steps (M, k) as the JSON that ``explorer.js`` reads; binary in base64."""
    parts = {
        name: {"type": array.dtype.name, "shape": array.shape, "data": base64.b64encode(np.ascontiguousarray(array)).decode()}
        for name, array in arrays.items() if name not in ("mean", "basis", "share")
    }  # fmt: skip
    share = [round(float(one), 4) for one in arrays["share"]]
    return json.dumps({"share": share, "frames": np.round(frames, 1).tolist(), "reach": REACH, "arrays": parts}, separators=(",", ":"))


def explorer_html(arrays, frames=(), name="latent-explorer"):
    """The explorer as a piece of HTML that needs nothing else: sliders, the hand, the decoder and the script that computes it.

    frames: steps (M, k) of hands to start from; with none, the mean latent's. ``name`` is its id on the page.
    """
    data = as_json(arrays, frames).replace("<", "\\u003c")
    return (
        f'<div class="latent-explorer" id="{html.escape(name, quote=True)}"></div>\n'
        f'<script type="application/json" id="{html.escape(name, quote=True)}-data">{data}</script>\n'
        f"<script>\n{_SCRIPT.read_text()}\nhandposeExplorer({json.dumps(name)});\n</script>"
    )


def show_explorer(arrays, frames=(), name="latent-explorer"):
    """Display the explorer in a notebook; ``explorer_html`` says of what."""
    from IPython.display import display

    display({"text/html": explorer_html(arrays, frames, name), "text/plain": f"<latent explorer {name}>"}, raw=True)


__all__ = [
    "DIRECTIONS", "REACH", "as_json", "decode", "effect_of", "effect_table", "explorer_html", "fold", "hands_to_start_from",
    "main_directions", "pack",
    "show_explorer", "steps_of",
]  # fmt: skip

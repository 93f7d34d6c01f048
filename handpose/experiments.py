"""Experiments as data: presets, the rows of Tables 1 and 2, and which stage stands on which.

The field names are the notebooks' parameters. Adding a row is one entry in ``ROWS``.
"""

import math
import numbers
import re
from dataclasses import dataclass, fields, replace

#: What a run can be on; synthetic hands lie in RHD's layout.
DATASETS = ("synthetic", "rhd", "stb")


@dataclass(frozen=True)
class Preset:
    """Sizes and settings of a run; the defaults are the paper's (section 4.2) where it prints one, but for ``discriminator_rate``.

    Lengths are in epochs over the training frames; the paper prints none. How long ours take, ``growth.table`` says.
    ``weights`` is where the backbone
    starts: "imagenet", None for from scratch, the name of a file that ``handpose.pretrained`` took in, or
    "warmup": it first learns the joints' x and y from the training pictures, for ``warmup_epochs``, once for all
    rows and seeds. That stands in for ImageNet's weights where minutes have to do. ``finetuning_rate`` is the
    learning rate of networks that a phase before has trained. ``decay`` lets the learning rate of each phase fall
    to zero along a cosine; the paper's is constant.
    ``view`` is what view correction does to the picture: "crop" or "homography". ``mapper_input`` is what a
    mapper reads of a latent, a "sample" or the "mean"; ``alternate`` False takes q = q' = 1/2 at every step
    of eq. 17. ``discriminator_rate`` is the share of the learning rate that the discriminator learns at; ``alignment_batches`` says
    whether stage 2 decodes its two latents one after the other, "own", or as one batch, "joint"; ``mapper_variance`` is a mapper's
    before any training. ``flip_probability`` is 0 where training is short: a hand mirrored top to bottom is a left hand,
    twice the shapes to learn.
    """

    training: int = 41258
    evaluation: int = 2728
    frame_size: int = 320
    size: int = 256
    view: str = "crop"
    batch: int = 64
    learning_rate: float = 1e-4
    finetuning_rate: float = 1e-4
    decay: bool = False
    warmup_epochs: int = 0
    disentangle_epochs: int = 40
    align_frozen_epochs: int = 4
    align_epochs: int = 10
    refine_epochs: int = 10
    beta: float = 1e-5
    adversarial_weight: float = 1e-2
    alignment_weight: float = 1e-2
    discriminator_rate: float = 0.2
    alignment_batches: str = "own"
    mapper_input: str = "sample"
    mapper_variance: float = 1e-4
    kcs_weight: float = 1e-2
    geo_weight: float = 1e-6
    alternate: bool = True
    max_rotation: float = 45.0
    flip_probability: float = 0.5
    weights: str | None = "imagenet"
    precision: str = "auto"
    cost: str = "one GPU"


PRESETS = {
    "smoke": Preset(
        training=96, evaluation=32, frame_size=96, size=32, batch=32, learning_rate=1e-3,
        warmup_epochs=1, disentangle_epochs=2, align_frozen_epochs=1, align_epochs=1, refine_epochs=1,
        weights="warmup", precision="32-true", cost="about a minute a row on two cores; its figures mean nothing",
    ),
    "minutes": Preset(
        training=1536, evaluation=512, frame_size=192, size=64, batch=32, learning_rate=8e-4, finetuning_rate=2e-4, decay=True,
        warmup_epochs=4, disentangle_epochs=3, align_frozen_epochs=1, align_epochs=1, refine_epochs=1,
        flip_probability=0.0, weights="warmup", cost="two minutes a row on two cores",
    ),
    "quick": Preset(
        training=4608, evaluation=512, frame_size=192, size=64, learning_rate=4e-4, finetuning_rate=2e-4, decay=True,
        warmup_epochs=8, disentangle_epochs=3, align_frozen_epochs=1, align_epochs=1, refine_epochs=1,
        flip_probability=0.0, weights="warmup", cost="40 minutes on two cores",
    ),
    "desktop": Preset(
        training=16384, evaluation=2048, frame_size=192, size=64, learning_rate=4e-4, finetuning_rate=2e-4, decay=True,
        warmup_epochs=10, disentangle_epochs=2, align_frozen_epochs=1, align_epochs=1, refine_epochs=1,
        flip_probability=0.0, weights="warmup", cost="about an hour a seed on two cores",
    ),
    "gpu": Preset(  # as many frames as RHD has, pictures of the size and in the batches of the paper
        learning_rate=4e-4, finetuning_rate=2e-4, decay=True,
        warmup_epochs=4, disentangle_epochs=1, align_frozen_epochs=1, align_epochs=1, refine_epochs=1,
        flip_probability=0.0, weights="warmup", cost="minutes on one H200-class GPU",
    ),
    "paper": Preset(),
}  # fmt: skip


@dataclass(frozen=True)
class Row:
    """One row of a table: which parts it has, the paper's MEPE for it on RHD, and the row it builds on.

    ``concat``: the decoder reads pose and context latents together, not the pose part alone (Table 2).
    ``longer``, ``longest``: controls that are not in the paper. Stage 1 goes on for as long as stage 2 would take, or stages 2 and 3;
    with ``align``, either is stage 3 without its losses.
    """

    injection: bool = False
    disentangle: bool = False
    align: bool = False
    kcs: bool = False
    geo: bool = False
    concat: bool = False
    longer: bool = False
    longest: bool = False
    paper: float | None = None
    builds_on: str | None = None

    @property
    def parts(self):
        """What the row is made of, in words."""
        names = {"disentangle": "disentangle", "align": "align", "kcs": "KCS", "geo": "GEO", "longer": "longer training"}
        names |= {"longest": "training as long as the whole method"}
        decoder = "injection" if self.injection else "plain decoder"
        reads = " on all latents" if self.concat else ""
        return " + ".join([decoder + reads] + [name for field, name in names.items() if getattr(self, field)])

    @property
    def stages(self):
        """The stages that this row goes through, in order."""
        control = self.longer or self.longest
        refined = self.kcs or self.geo or (self.align and control)
        on = () if self.align else ("further",) * control + ("onward",) * self.longest
        return ("disentangle",) + ("align",) * self.align + ("refine",) * refined + on


#: The fields of ``Row`` that say what it is made of.
PARTS = ("injection", "disentangle", "align", "kcs", "geo", "concat", "longer", "longest")

#: Table 1, then Table 2 (whose last row is row B by another name). A row of your own has no ``paper``, and may stand anywhere.
ROWS = {
    "baseline": Row(paper=15.71),
    "A": Row(injection=True, paper=15.08, builds_on="baseline"),
    "B": Row(injection=True, disentangle=True, paper=14.77, builds_on="A"),
    "C": Row(injection=True, align=True, paper=14.82, builds_on="A"),
    "D0": Row(injection=True, disentangle=True, align=True, paper=14.36, builds_on="B"),
    "D1": Row(injection=True, disentangle=True, align=True, kcs=True, paper=13.93, builds_on="D0"),
    "D2": Row(injection=True, disentangle=True, align=True, geo=True, paper=13.99, builds_on="D0"),
    "D3": Row(injection=True, disentangle=True, align=True, kcs=True, geo=True, paper=13.88, builds_on="D0"),
    "linear-concat": Row(disentangle=True, concat=True, paper=15.12, builds_on="baseline"),
    "linear-pose": Row(disentangle=True, paper=15.13, builds_on="linear-concat"),
    "injection-concat": Row(injection=True, disentangle=True, concat=True, paper=14.87, builds_on="A"),
    "injection-pose": Row(injection=True, disentangle=True, paper=14.77, builds_on="injection-concat"),
}


def by_table(rows):
    """Names of the rows of Table 1, of Table 2, and of those that are in neither, which the paper has no figure for."""
    papers = tuple(name for name, row in rows.items() if row.paper is not None)
    return papers[:8], papers[8:], tuple(name for name in rows if name not in papers)


TABLE_1, TABLE_2, OWN_ROWS = by_table(ROWS)


@dataclass(frozen=True)
class Published:
    """A line of Table 3: MEPE (mm) on RHD and on STB, and AUC 20-50 there, as the paper quotes them; None: not given.

    ``protocol``: how they were measured, as far as is known; ``comparable``: whether they can be held against the paper's.
    ``book/peers.md`` has the sources of both.
    """

    rhd: float
    stb: float | None
    auc_rhd: float | None = None
    auc_stb: float | None = None
    protocol: str = "not known"
    comparable: str = "not known"


#: Table 3; "proposed" is row D3.
TABLE_3 = {
    "Zimmermann & Brox 2017": Published(
        30.42, 8.68, protocol="run again by Spurr et al., the step from 2D to 3D; handedness and scale given",
        comparable="with care: a figure was not reproduced",
    ),
    "Moon et al. 2020": Published(
        20.89, 7.95, protocol="handedness predicted, scale not used; both roots aligned, labelled joints only",
        comparable="no: told less than the others",
    ),
    "Yang & Yao 2019": Published(19.95, 8.66),
    "Spurr et al. 2018": Published(
        19.73, 8.56, protocol="handedness and scale given; visible joints; the true pose alone is centred; on STB both BB cameras",
        comparable="nearest: but for joints, root and cameras",
    ),
    "Gu et al. 2020": Published(17.11, 7.27),
    "Iqbal et al. 2018": Published(15.77, None, protocol="predicts its depth maps; the rest is not known"),
    "Theodoridis et al. 2020": Published(15.61, 6.93, auc_stb=0.997, comparable="likely: shares authors and parts"),
    "proposed": Published(13.88, 6.71, 0.930, 0.997, "handedness, palm centre and scale given", ""),
}  # fmt: skip

@dataclass(frozen=True)
class Peer:
    """One of the seven methods of Table 3, or one of yours, trained as a row: its file in ``handpose/peers``, its line of
    ``TABLE_3``, or another name, what it is in words, its stages.
    """

    module: str
    published: str
    parts: str
    stages: tuple
    builds_on: None = None

    @property
    def paper(self):
        """The MEPE on RHD that the paper quotes; None for a method that is not in its Table 3."""
        return TABLE_3[self.published].rhd if self.published in TABLE_3 else None


#: The seven, in the order of Table 3.
PEERS = {
    "Zimmermann": Peer("zimmermann", "Zimmermann & Brox 2017", "score maps, canonical pose and viewpoint", ("scoremaps", "lifting")),
    "Moon": Peer("moon", "Moon et al. 2020", "volumetric heat maps", ("volumes",)),
    "Yang": Peer("yang", "Yang & Yao 2019", "factors for canonical pose and viewpoint", ("factors",)),
    "Spurr": Peer("spurr", "Spurr et al. 2018", "one latent space, alternating pairs", ("crossmodal",)),
    "Gu": Peer("gu", "Gu et al. 2020", "two autoencoders split by adversaries, translators", ("autoencoders", "translators")),
    "Iqbal": Peer("iqbal", "Iqbal et al. 2018", "latent 2.5D heat maps", ("latent25d",)),
    "Theodoridis": Peer("theodoridis", "Theodoridis et al. 2020", "two autoencoders, then a variational mapper", ("apart", "mapping")),
}  # fmt: skip

#: Rows of ours: the same networks trained on for as long as the next rows train more, so that a part and the
#: time it takes can be told apart.
CONTROLS = {
    "baseline-longer": Row(longest=True, builds_on="baseline"),
    "A-longer": Row(injection=True, longer=True, builds_on="A"),
    "B-longer": Row(injection=True, disentangle=True, longer=True, builds_on="B"),
    "D0-longer": Row(injection=True, disentangle=True, align=True, longer=True, builds_on="D0"),
}

#: Settings that a stage depends on beyond what all stages share. The warm-up knows neither row nor seed.
_STAGE_SETTINGS = {
    "warmup": (),
    "disentangle": ("injection", "disentangle", "concat"),
    "further": ("injection", "disentangle", "concat"),
    "onward": ("injection", "disentangle", "concat"),
    "align": ("injection", "disentangle", "concat", "align"),
    "refine": ("injection", "disentangle", "concat", "align", "kcs", "geo"),
}
_STAGE_PRESET = {
    "warmup": ("warmup_epochs",),
    "disentangle": ("disentangle_epochs", "adversarial_weight", "discriminator_rate", "weights"),
    "further": ("align_frozen_epochs", "align_epochs", "finetuning_rate", "adversarial_weight", "discriminator_rate"),
    "onward": ("refine_epochs", "finetuning_rate", "adversarial_weight", "discriminator_rate"),
    "align": (
        "align_frozen_epochs", "align_epochs", "finetuning_rate", "alignment_weight", "alignment_batches", "mapper_input", "mapper_variance",
    ),
    "refine": ("refine_epochs", "finetuning_rate", "mapper_input", "kcs_weight", "geo_weight", "alternate"),
}
#: Settings of a stage that act on rows with this part alone.
_ONLY_WITH = {"discriminator_rate": "disentangle"}
#: What settings may be where they are changed: the least of a number (batch normalisation needs two), or one of a few names.
_LEAST = {"training": 2, "evaluation": 1, "frame_size": 1, "size": 1, "batch": 2, "mapper_variance": 1e-8}
_NAMES = {
    "view": ("crop", "homography"),
    "alignment_batches": ("own", "joint"),
    "mapper_input": ("sample", "mean"),
    "precision": ("auto", "32-true", "bf16-mixed", "16-mixed"),
}
#: A peer's stages share out the epochs that row D3 has.
_PEER_PRESET = (
    "disentangle_epochs", "align_frozen_epochs", "align_epochs", "refine_epochs", "finetuning_rate", "adversarial_weight", "weights",
)  # fmt: skip
_SHARED_PRESET = (
    "size", "view", "batch", "learning_rate", "decay", "beta", "max_rotation", "flip_probability", "precision",
)  # fmt: skip


def row_stages(row, preset):
    """All stages that ``row`` stands on, in order: its own, after the warm-up of the backbone where the preset has one."""
    return ("warmup",) * (find_preset(preset).weights == "warmup") + find_row(row).stages


def stage_settings(stage, row, preset, seed):
    """All that decides what ``stage`` of ``row`` learns, but its parent and the data: a dict for hashing.

    Rows that agree on it share the stage. Raises ValueError when the row has no such stage, and for a seed that is none.
    """
    row, preset = find_row(row), find_preset(preset)
    stages = row_stages(row, preset)
    if stage not in stages:
        raise ValueError(f"this row has no stage {stage!r}; its stages: {', '.join(stages)}")
    if isinstance(seed, bool) or not isinstance(seed, numbers.Integral) or not 0 <= int(seed) < 2**63:  # it stands in a folder's name
        raise ValueError(f"seed must be an integer, 0 or more and below 2**63, got {seed!r}")
    settings = {"stage": stage, "seed": 0 if stage == "warmup" else int(seed)}  # of numpy's, too
    if isinstance(row, Peer) and stage != "warmup":
        names = _SHARED_PRESET + _PEER_PRESET
        return settings | {"peer": row.module} | {name: getattr(preset, name) for name in names}
    settings |= {name: getattr(row, name) for name in _STAGE_SETTINGS[stage]}
    acting = (name for name in _STAGE_PRESET[stage] if getattr(row, _ONLY_WITH.get(name, ""), True))
    return settings | {name: getattr(preset, name) for name in (*_SHARED_PRESET, *acting)}


def stage_owner(stage, row):
    """Name of the first row that ends with the very stage that ``row`` needs, or else of the plainest; "warmup" for the warm-up."""
    if stage == "warmup":
        return "warmup"
    if isinstance(find_row(row), Peer):
        return row_name(find_row(row))
    wanted = _parts(stage, find_row(row))
    for name, other in (ROWS | CONTROLS).items():
        if stage == other.stages[-1] and _parts(stage, other) == wanted:
            return name
    plainest = Row(**dict(zip(_STAGE_SETTINGS[stage], wanted)))
    candidates = (plainest, replace(plainest, longer=True), replace(plainest, longest=True))
    return row_name(next(row for row in candidates if stage in row.stages))


def _parts(stage, row):
    return tuple(getattr(row, name) for name in _STAGE_SETTINGS[stage])


def find_preset(preset):
    """A ``Preset`` by name (or itself). "quick+beta=1e-4+refine_epochs=2" is ``quick`` with two settings changed.

    "+weights=none" is from scratch. Raises ValueError that names the right presets and settings, and for a value of
    another type, one out of range or one that can't be part of a folder's name.
    """
    if isinstance(preset, Preset):
        return preset
    name, *changes = str(preset).split("+")
    settings = _find(PRESETS, "preset", name)
    known = {field.name: getattr(settings, field.name) for field in fields(Preset)}
    for change in changes:
        key, _, text = change.partition("=")
        kind = type(_find(known, "setting", key))
        if text != text.strip():  # it becomes part of a folder's name
            raise ValueError(f"{key}={text!r}: a value without blanks is wanted")
        if kind is str and not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", text):
            hint = ": take the file in with `python -m handpose.pretrained FILE`, then give its name" if key == "weights" else ""
            raise ValueError(f"{key}={text}: a plain name is wanted, no path{hint}")
        if kind in (int, float) and not re.fullmatch(r"[0-9A-Za-z.-]*", text):  # Python would read 1_0 as 10
            raise ValueError(f"{key}={text}: a value like {known[key]} is wanted")
        try:
            value = {"true": True, "false": False}[text.lower()] if kind is bool else text if kind is str else kind(text)
        except (KeyError, ValueError, TypeError):
            raise ValueError(f"{key}={text}: a value like {known[key]} is wanted") from None
        wanted = _wanted(key, value)
        if wanted:
            raise ValueError(f"{key}={text}: {wanted} is wanted")
        settings = replace(settings, **{key: None if (key, value) == ("weights", "none") else value})
    return settings


def _wanted(key, value):
    """What a changed setting must be, in words, where ``value`` (of the right type) is not; None where it is."""
    if key in _NAMES:
        return None if value in _NAMES[key] else f"one of {', '.join(_NAMES[key])}"
    if type(value) is int:  # epochs may be 0
        least = _LEAST.get(key, 0)
        return None if value >= least else f"a whole number, {least} or more,"
    if type(value) is float:
        least, most = _LEAST.get(key, 0), 1 if key in ("flip_probability", "discriminator_rate") else math.inf
        within = math.isfinite(value) and least <= value <= most
        return None if within else f"a number, {least} {'or more' if most > 1 else 'to 1'},"
    return None


def find_row(row):
    """A ``Row`` by name (or itself), controls too, or a ``Peer``. A row without a name is its parts: "injection+kcs".

    Raises ValueError that names the right ones.
    """
    if isinstance(row, (Row, Peer)):
        return row
    parts = str(row).split("+")
    if len(set(parts)) == len(parts) and set(parts) <= set(PARTS):
        control = {"longer", "longest"} & set(parts)
        if control and {"kcs", "geo"} & set(parts):
            raise ValueError(f"row {row!r}: a control has no new loss, so no kcs and no geo beside longer or longest")
        if "concat" in parts and "disentangle" not in parts:
            raise ValueError(f"row {row!r}: concat goes with disentangle, since without it the decoder reads all latents anyway")
        if len(control) > 1:
            raise ValueError(f"row {row!r}: longer or longest, not both")
        return Row(**dict.fromkeys(parts, True))  # type: ignore[arg-type]
    return _find(ROWS | CONTROLS | PEERS, "row", row)


def row_name(row):
    """The name of the first row with the parts of this ``Row``, or the parts themselves, joined by "+"; of a ``Peer``: its own."""
    if isinstance(row, Peer):
        return next(name for name, peer in PEERS.items() if peer is row or peer == row)
    everything = ROWS | CONTROLS
    same = [name for name, other in everything.items() if all(getattr(other, part) == getattr(row, part) for part in PARTS)]
    return same[0] if same else "+".join(part for part in PARTS if getattr(row, part))


def _find(table, kind, name):
    if name not in table:
        raise ValueError(f"no {kind} {name!r}; choose from {', '.join(table)}")
    return table[name]

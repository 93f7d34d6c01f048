"""Experiments as data: presets, the rows of Tables 1 and 2, and which stage stands on which.

The field names are the notebooks' parameters. Adding a row is one entry in ``ROWS``.
"""

from dataclasses import dataclass, fields


@dataclass(frozen=True)
class Preset:
    """Sizes and settings of a run; the defaults are the paper's (section 4.2).

    ``view`` is what view correction does to the picture: "crop" or "homography". Lengths are in epochs over
    the training frames. ``precision`` is Fabric's, or "auto": bf16 where the hardware computes in it, else
    float32. ``finetuning_rate`` is the learning rate of networks that a phase before has trained. ``decay`` lets the learning rate of each phase fall to zero along a cosine; the paper's is
    constant. ``flip_probability`` is 0 at ``quick``: a hand mirrored top to bottom is a left hand, twice the
    shapes to learn, which a training of minutes has no time for.
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
    disentangle_epochs: int = 60
    align_frozen_epochs: int = 10
    align_epochs: int = 20
    refine_epochs: int = 20
    beta: float = 1e-5
    adversarial_weight: float = 1e-2
    alignment_weight: float = 1e-2
    kcs_weight: float = 1e-2
    geo_weight: float = 1e-6
    max_rotation: float = 45.0
    flip_probability: float = 0.5
    weights: str | None = "imagenet"
    precision: str = "auto"
    cost: str = "one GPU; epochs are not printed in the paper, these are ours"


PRESETS = {
    "smoke": Preset(
        training=96, evaluation=32, frame_size=96, size=32, batch=32, learning_rate=1e-3,
        disentangle_epochs=2, align_frozen_epochs=1, align_epochs=1, refine_epochs=1,
        weights=None, precision="32-true", cost="a minute on two cores; its figures mean nothing",
    ),
    "quick": Preset(
        training=8192, evaluation=1024, frame_size=192, size=64, learning_rate=4e-4, finetuning_rate=2e-4, decay=True,
        disentangle_epochs=8, align_frozen_epochs=1, align_epochs=3, refine_epochs=4, flip_probability=0.0,
        weights=None, cost="25 minutes on two cores, set-up included",
    ),
    "desktop": Preset(
        training=16384, evaluation=2048, frame_size=192, size=64, learning_rate=4e-4, finetuning_rate=2e-4, decay=True,
        disentangle_epochs=20, align_frozen_epochs=3, align_epochs=7, refine_epochs=8,
        weights=None, cost="hours on two cores",
    ),
    "paper": Preset(),
}  # fmt: skip


@dataclass(frozen=True)
class Row:
    """One row of the ablation: which parts it has, the paper's MEPE for it on RHD, and the row it builds on."""

    injection: bool = False
    disentangle: bool = False
    align: bool = False
    kcs: bool = False
    geo: bool = False
    paper: float = float("nan")
    builds_on: str | None = None

    @property
    def parts(self):
        """What the row has beyond the plain autoencoder, in words."""
        names = {"injection": "injection", "disentangle": "disentangle", "align": "align", "kcs": "KCS", "geo": "GEO"}
        return " + ".join(name for field, name in names.items() if getattr(self, field)) or "plain decoder"

    @property
    def stages(self):
        """The stages that this row goes through, in order."""
        refined = self.kcs or self.geo
        return ("disentangle",) + ("align",) * self.align + ("refine",) * refined


ROWS = {
    "baseline": Row(paper=15.71),
    "D3": Row(injection=True, disentangle=True, align=True, kcs=True, geo=True, paper=13.88, builds_on="baseline"),
}

#: Settings that a stage depends on beyond what all stages share.
_STAGE_SETTINGS = {
    "disentangle": ("injection", "disentangle"),
    "align": ("injection", "disentangle", "align"),
    "refine": ("injection", "disentangle", "align", "kcs", "geo"),
}
_STAGE_PRESET = {
    "disentangle": ("disentangle_epochs", "adversarial_weight", "weights"),
    "align": ("align_frozen_epochs", "align_epochs", "finetuning_rate", "alignment_weight"),
    "refine": ("refine_epochs", "finetuning_rate", "kcs_weight", "geo_weight"),
}
_SHARED_PRESET = (
    "size", "view", "batch", "learning_rate", "decay", "beta", "max_rotation", "flip_probability", "precision",
)  # fmt: skip


def stage_settings(stage, row, preset, seed):
    """All that decides what ``stage`` of ``row`` learns, but its parent and the data: a dict for hashing.

    Rows that agree on it share the stage. Raises ValueError when the row has no such stage.
    """
    row, preset = find_row(row), find_preset(preset)
    if stage not in row.stages:
        raise ValueError(f"this row has no stage {stage!r}; its stages: {', '.join(row.stages)}")
    settings = {"stage": stage, "seed": seed}
    settings |= {name: getattr(row, name) for name in _STAGE_SETTINGS[stage]}
    return settings | {name: getattr(preset, name) for name in _SHARED_PRESET + _STAGE_PRESET[stage]}


def stage_owner(stage, row):
    """Name of the first row in ``ROWS`` that trains the very stage that ``row`` needs (itself, at the latest)."""
    wanted = _parts(stage, find_row(row))
    return next(name for name, other in ROWS.items() if stage in other.stages and _parts(stage, other) == wanted)


def _parts(stage, row):
    return tuple(getattr(row, name) for name in _STAGE_SETTINGS[stage])


def find_preset(preset):
    """A ``Preset`` by name (or itself). Raises ValueError that names the right ones."""
    return preset if isinstance(preset, Preset) else _find(PRESETS, "preset", preset)


def find_row(row):
    """A ``Row`` by name (or itself). Raises ValueError that names the right ones."""
    return row if isinstance(row, Row) else _find(ROWS, "row", row)


def _find(table, kind, name):
    if name not in table:
        raise ValueError(f"no {kind} {name!r}; choose from {', '.join(table)}")
    return table[name]


def preset_table():
    """The presets side by side: {setting: {preset: value}}, settings in the order of ``Preset``."""
    return {field.name: {name: getattr(preset, field.name) for name, preset in PRESETS.items()} for field in fields(Preset)}

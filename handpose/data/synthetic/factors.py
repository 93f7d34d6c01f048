"""What each frame was made of, as one row of a table."""

import numpy as np

from handpose.data.synthetic.anatomy import FINGER_ANGLES, PEOPLE, THUMB_ANGLES
from handpose.data.synthetic.picture import skin_tones
from handpose.skeleton import FINGERS

ANGLES = tuple(
    f"{finger}_{angle}".replace(" ", "_")
    for finger in FINGERS
    for angle in (THUMB_ANGLES if finger == "thumb" else FINGER_ANGLES)
)


def factors(frame):
    """One row of factors.csv: name to value. Lengths in mm, angles in degrees, colours linear."""
    subject, light = PEOPLE[frame.subject], frame.light
    view, roll = frame.view()
    row = {
        "frame": frame.index,
        "subject": frame.subject,
        "person": subject.kind,
        "scale": subject.scale,
        "action": frame.action,
        "phase": frame.phase,
        "hand": frame.hand,
    }

    def several(name, values, suffixes):
        row.update({f"{name}_{suffix}": float(value) for suffix, value in zip(suffixes, values, strict=True)})

    several("view", view, "xyz")
    row["roll"] = roll
    several("position", frame.position, "xyz")
    row["focal"] = frame.focal
    several("light", light.direction, "xyz")
    row["kelvin"] = light.kelvin
    several("key", light.key, "rgb")
    several("sky", light.sky, "rgb")
    several("ground", light.ground, "rgb")
    row["exposure"] = light.exposure
    several("balance", light.balance, "rgb")
    row.update(background=frame.background_kind, background_seed=frame.background_seed, melanin=frame.melanin)
    several("skin", skin_tones(frame.melanin)[0], "rgb")
    row["sleeve"] = frame.sleeve
    several("cloth", frame.cloth, "rgb")
    row.update(shot_noise=frame.shot_noise, read_noise=frame.read_noise, noise_seed=frame.noise_seed)
    several("wrist", frame.wrist, ("flexion", "deviation"))
    row.update(zip(ANGLES, np.asarray(frame.pose).ravel().tolist(), strict=True))
    return row


def _text(value):
    return f"{value:.6f}" if isinstance(value, float) else str(value)


def table(rows):
    """Rows (one dict of values per frame) as the text of a CSV file."""
    names = list(rows[0]) if rows else ["frame"]
    lines = [",".join(names)] + [",".join(_text(row[name]) for name in names) for row in rows]
    return "\n".join(lines) + "\n"

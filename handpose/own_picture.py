"""A pose for a picture of your own: what was given, what had to be assumed, and files to keep.

``python -m handpose predict`` and the notebook ``predict`` stand on this. The paper is given hand, root and scale of
every frame (section 4.2); of a picture of one's own often only the hand is known.
"""

import csv
import json
import os
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from . import figures_own
from .alike import code_changed
from .geometry import hand_scale, project
from .metrics import root_of
from .placement import estimate_root
from .predictor import Predictor, checked
from .records import atomic_path, expanded
from .runs import checked_card, open_run
from .skeleton import JOINTS

FORMATS = ("csv", "json")
UNITS = "millimetres; pixels from the top left corner of the upright picture"
AXES = "camera frame: x right, y down, z forward, away from the camera"
ROOTS = {"palm": "the palm's centre, midway between wrist and middle_mcp", "wrist": "joint 0, which STB labels at the palm's centre"}
#: Presets to look for a trained run in, the best first; of one kind the newest is taken.
_KINDS = ({"paper", "gpu"}, {"desktop"}, {"quick"}, {"minutes"}, {"smoke"})


@dataclass(frozen=True)
class HandPose:
    """One hand of one picture.

    image uint8 (H, W, 3); hand "left" or "right"; box (4,) px; K (3, 3); scale, mm; relative float64 (21, 3): the joints
    relative to the root, mm; root (3,), mm, camera frame, as given or as ``estimate_root`` finds it; given: names of what
    the user gave; card: the run card of the networks.
    """

    image: np.ndarray
    hand: str
    box: np.ndarray
    K: np.ndarray
    scale: float
    relative: np.ndarray
    root: np.ndarray
    given: tuple
    card: dict

    @property
    def camera(self):
        """The joints in the camera frame, (21, 3) mm. Where the root is estimated they are no better than that."""
        return self.relative + self.root

    @property
    def uv(self):
        """The joints on the picture, (21, 2) px."""
        return project(self.camera, self.K)

    @property
    def values(self):
        """What was used, {name: list of numbers or number}, whether it was given or not: box, K (fx, fy, cx, cy), scale, root."""
        camera = self.K[[0, 1, 0, 1], [0, 1, 2, 2]]
        lists = {"box": self.box, "K": camera, "root": self.root}
        return {name: [round(float(value), 2) for value in array] for name, array in lists.items()} | {"scale": round(self.scale, 2)}

    @property
    def assumed(self):
        """What was not given and stands in for it, {name: sentence}."""
        values = self.values
        sentences = {
            "box": "the whole picture, as if the hand filled it",
            "K": f"a camera as wide as the picture, focal length {values['K'][0]:g} px, its centre in the middle",
            "scale": f"{values['scale']:g} mm from middle_mcp to middle_pip, the mean of the hands of the training",
            "root": f"estimated at {_spaced(values['root'])} mm, where the hand is as large as the box",
        }
        return {name: sentence for name, sentence in sentences.items() if name not in self.given}

    @property
    def columns(self):
        """The joints as a table {column: 21 values}; names say mm or px, and "estimated" of all that an estimated root moves."""
        sure = "" if "root" in self.given else "estimated_"
        numbers = {f"{axis}_relative_mm": self.relative[:, index] for index, axis in enumerate("xyz")}
        numbers |= {f"{axis}_camera_{sure}mm": self.camera[:, index] for index, axis in enumerate("xyz")}
        numbers |= {f"{axis}_{sure}px": self.uv[:, index] for index, axis in enumerate("uv")}
        first = "palm" if self.card.get("root_joint") == "wrist" else JOINTS[0]  # STB's joint 0
        return {"joint": [first, *JOINTS[1:]]} | {name: [round(float(value), 2) for value in column] for name, column in numbers.items()}


def pose_of(predictor, image, K=None, box=None, hand="right", root=None, scale=None):
    """The ``HandPose`` of one hand by a ``Predictor``; arguments, defaults and errors are the predictor's.

    The predicted pose is moved so that its own root, ``root_joint`` of the run, lies at ``root``, as it is when it is
    measured. Where ``root`` is not given it is estimated from the box. Raises ValueError, too, for a root so near that
    joints would lie behind the camera.
    """
    given = {"K": K, "box": box, "root": root, "scale": scale}
    image, K, box, hand, root, scale = checked(image, K, box, hand, root, scale)
    if root is not None and not root.any():
        given["root"] = root = None
    pose = predictor(image, K, box, hand, root, scale)
    relative = pose - root_of(pose, predictor.card["root_joint"])
    scale = predictor.card["scale_mm"] if scale is None else scale
    root = estimate_root(relative, box, K) if root is None else root
    if not np.isfinite(root).all():
        raise ValueError("with this K and box the root can't be estimated: give K and box in pixels, or the root")
    if relative[:, 2].min() + root[2] <= 0:
        raise ValueError(f"root {_spaced(root)} is so near that part of the hand lies behind the camera: give it in millimetres")
    given = tuple(name for name, value in given.items() if value is not None)  # type: ignore[assignment]
    return HandPose(image, hand, box, K, scale, relative, root, given, predictor.card)  # type: ignore[arg-type]


def numbers(name, value, count):
    """A notebook's or command's list of numbers: "10 20 30 40", "10, 20, 30, 40", a list, or None and "" for not given.

    Returns a list of floats or None. Raises ValueError for another count and for what is no number.
    """
    if value is None or (isinstance(value, str) and not value.strip()):
        return None
    parts = value.replace(",", " ").split() if isinstance(value, str) else list(np.ravel(value))
    try:
        parsed = [float(part) for part in parts]
    except (TypeError, ValueError):
        raise ValueError(f"{name} must be {count} numbers, got {value!r}") from None
    if len(parsed) != count:
        raise ValueError(f"{name} must be {count} numbers, got {len(parsed)}")
    return parsed or None


def camera(value):
    """K (3, 3) from fx, fy, cx, cy in px, as ``numbers`` takes them; None stays None."""
    values = numbers("K, fx fy cx cy,", value, 4)
    if values is None:
        return None
    fx, fy, cx, cy = values
    return np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1.0]])


def known(frame, root_joint):
    """All that a ``Frame`` knows of its hand, as keywords for ``pose_of`` and ``kept_pose``; the box is that of the joints."""
    box = np.concatenate([frame.uv.min(0), frame.uv.max(0)])
    root, scale = root_of(frame.xyz, root_joint), float(hand_scale(frame.xyz))
    return {"image": frame.image, "K": frame.K, "box": box, "hand": frame.hand, "root": root, "scale": scale}


def kept_pose(relative, card, image, K, box, hand, root, scale):
    """The ``HandPose`` of a prediction that was kept with a result, relative to its root (21, 3), mm: all of it is known."""
    relative, box, K, root = (np.asarray(array, np.float64) for array in (relative, box, K, root))
    return HandPose(image, hand, box, K, scale, relative, root, ("K", "box", "root", "scale"), card)


def find_run(output_dir="runs", dataset=None):
    """Folder of the run that ``predict`` takes by itself: the whole method (row D3), refined, the newest; of ``dataset`` where given.

    Presets paper and desktop come before quick, quick before minutes, minutes before smoke, and of one size those with
    changed settings last. Damaged run cards are passed over. Raises FileNotFoundError when no such run has been trained.
    """
    stages, found = Path(output_dir) / "stages", []
    for card in stages.glob("D3-refine-*/run.json"):
        try:
            kept = checked_card(card, preset=str)
        except (ValueError, OSError):  # no run to take
            continue
        if dataset and kept.get("dataset") != dataset:
            continue
        size, _, changed = kept["preset"].partition("+")
        kind = next((number for number, names in enumerate(_KINDS) if size in names), len(_KINDS)), bool(changed)
        if (card.parent / "networks.safetensors").exists():
            found.append((kind, -card.stat().st_mtime, card.parent))
    if not found:
        on = f" on {dataset}" if dataset else ""
        raise FileNotFoundError(f"no trained run of row D3{on} in {stages}: `python -m handpose train D3` trains one; or name another with --run")
    return min(found)[2]


def open_predictor(run, device="cpu"):
    """``handpose.load`` for the command line: one line of FileNotFoundError or ValueError for all that can be wrong."""
    run = open_run(os.path.realpath(expanded(run)))
    if not (run.folder / "networks.safetensors").exists():
        raise FileNotFoundError(f"{run.folder} holds no networks (networks.safetensors is missing): train it again")
    return Predictor(run, device)


def run_lines(card):
    """Which run it was, in words, and what to expect of it: a list of sentences."""
    hands = "synthetic hands" if card.get("rendered", card["dataset"] == "synthetic") else f"the pictures of {card['dataset'].upper()}"
    lines = [
        f"row {card['row']}, stage {card['stage']}, preset {card['preset']}, dataset {card['dataset']}, seed {card['seed']}, "
        f"identity {card['identity']}",
        f"trained on {hands}; there its error on hands that it has not seen is {card['metrics']['mepe']:.1f} mm (MEPE)",
    ]
    if card["preset"].partition("+")[0] == "smoke":
        lines.append("the preset smoke only proves that things run: its poses mean nothing")
    elif "synthetic" in hands:
        lines.append("it has seen no photograph: expect larger errors on yours")
    if code_changed(card):
        lines.append("the code that trains has changed since")
    return lines


def notes(pose):
    """What was given and assumed, what the numbers are, and of which run, as lines of text."""
    return [*pose_lines(pose), *[f"run: {line}" for line in run_lines(pose.card)]]


def pose_lines(pose):
    """``notes`` without the run."""
    values = pose.values | {"hand": pose.hand}
    given = ", ".join(f"{name} {_spaced(values[name])}" for name in ("hand", *pose.given))
    lines = [f"given: {given}", *[f"assumed: {name}: {sentence}" for name, sentence in pose.assumed.items()]]
    root = ROOTS[pose.card["root_joint"]]
    height, width = pose.image.shape[:2]
    if not ((pose.uv >= 0) & (pose.uv <= (width, height))).all(1).any():
        lines.append("warning: no joint falls on the picture: do root, K and box belong together?")
    return [*lines, f"relative to the root: {root}; {AXES}"]


def text(pose, name):
    """What the command prints of one picture."""
    columns = pose.columns
    head = ["joint", *(key.removesuffix("_mm").removesuffix("_px").split("_")[0] for key in columns if key != "joint")]
    keep = [index for index, key in enumerate(columns) if "camera" not in key]
    where = "" if "root" in pose.given else ", estimated"
    lines = [f"{name}: {pose.hand} hand; x y z in mm relative to the root, u v in px on the picture{where}"]
    lines.append(f"{head[0]:12}" + "".join(f"{head[index]:>9}" for index in keep[1:]))
    for line in zip(*columns.values()):
        lines.append(f"{line[0]:12}" + "".join(f"{line[index]:9.1f}" for index in keep[1:]))
    return "\n".join([*lines, *notes(pose)])


def output_paths(picture, folder=None, formats=FORMATS):
    """Where the files of one picture go: {"png" | "html" | "csv" | "json": path}, beside it or in ``folder``."""
    picture = expanded(picture)
    folder = picture.parent if folder is None else expanded(folder)
    return {kind: folder / f"{picture.stem}-pose.{kind}" for kind in ("png", "html", *formats)}


def refuse_same_names(pictures, folder=None):
    """Raise ValueError when two pictures would be written to one file, or one over another picture."""
    taken = {os.path.realpath(expanded(picture)) for picture in pictures}
    for picture in pictures:
        path = os.path.realpath(output_paths(picture, folder)["png"])
        if path in taken:
            raise ValueError(f"{picture}: {Path(path).name} would be written twice, or over a picture: give them one at a time, with --out")
        taken.add(path)


def write(pose, picture, folder=None, formats=FORMATS):
    """Write the files of one picture, all of them or none: what ``output_paths`` names. Returns their paths.

    PNG: the picture with the skeleton. HTML: the hand to turn, without network. CSV: ``columns``. JSON: the same by joint,
    with all that was given and assumed, and the run. Raises ValueError when the folder can't be written to.
    """
    writers = {"png": _write_png, "html": _write_html, "csv": _write_csv, "json": _write_json}
    paths = output_paths(picture, folder, formats)
    name = Path(picture).name.encode("utf-8", "backslashreplace").decode()  # a file's name need not be text
    try:
        in_the_way = next((path for path in paths.values() if path.is_dir()), None)
        if in_the_way:
            raise ValueError(f"can't write {in_the_way}, which is a folder: name another folder with --out")
        with ExitStack() as all_or_none:
            for kind, path in paths.items():
                writers[kind](pose, name, all_or_none.enter_context(atomic_path(path)))
    except OSError as error:
        raise ValueError(f"can't write into {paths['png'].parent} ({error.strerror}): name another folder with --out") from None
    return list(paths.values())


def _write_png(pose, name, path):
    figure = figures_own.overlay(pose.image, pose.uv, pose.box, caption(pose))
    figure.savefig(path, format="png")
    plt.close(figure)


def caption(pose):
    """A line or two below the picture: what was assumed, and whose prediction it is."""
    assumed = f"; not given: {', '.join(pose.assumed)}" if pose.assumed else ""
    place = "" if "root" in pose.given else "\nplace of the hand estimated: as large as the box"
    card = pose.card
    hands = "synthetic" if card.get("rendered", True) else card["dataset"]
    run = f"row {card['row']}, preset {card['preset']}, trained on {hands} hands, identity {card['identity']}"
    return f"{pose.hand} hand{assumed}{place}\n{run}"


def _write_html(pose, name, path):
    drawing = figures_own.interactive_hand(pose.relative, f"{pose.hand} hand", pose.card["root_joint"])
    title = f"{name}: {pose.hand} hand"
    alt = f"{pose.hand} hand in 3D: 21 joints and the bones between them"
    path.write_text(figures_own.page(drawing, title, alt, notes(pose), pose.columns), encoding="utf-8")


def _write_csv(pose, name, path):
    columns = pose.columns
    with open(path, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(zip(*columns.values()))


def _write_json(pose, name, path):
    columns, card = pose.columns, pose.card
    height, width = pose.image.shape[:2]
    record = {
        "picture": name,
        "width": width,
        "height": height,
        "hand": pose.hand,
        "units": UNITS,
        "axes": AXES,
        "root_is": ROOTS[card["root_joint"]],
        "used": pose.values,
        "given": ["hand", *pose.given],
        "assumed": pose.assumed,
        "run": {key: card[key] for key in ("row", "stage", "preset", "dataset", "seed", "identity", "rendered", "metrics") if key in card},
        "joints": [dict(zip(columns, line)) for line in zip(*columns.values())],
    }
    path.write_text(json.dumps(record, indent=1, allow_nan=False) + "\n")


def _spaced(values):
    return values if isinstance(values, str) else " ".join(f"{value:g}" for value in np.ravel(values))

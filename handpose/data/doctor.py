"""The dataset doctor: which dataset a folder holds, what is missing or wrong, and what to type next.

``python -m handpose.data check PATH`` reads every picture; ``--quick`` a sample of them; ``--all`` names every broken
file and not only the first.
"""

import json
import os
import shlex
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from tqdm.auto import tqdm

from ..geometry import project
from ..records import available_cores
from . import rhd, stb
from .crops import crop_of
from .frame import read_factors, read_image
from .rhd import RHD, SPLITS
from .stb import STB
from .untrusted import one_line, read_bytes

#: Pictures that --quick reads of each split and camera.
SAMPLE = 200
_SHOWN = 3


@dataclass(frozen=True)
class Source:
    """What there is to say about a dataset before one has it."""

    title: str
    where: str
    licence: str
    layout: str


SOURCES = {
    "rhd": Source(
        "RHD, the Rendered Hand Pose dataset (Zimmermann & Brox 2017)",
        "https://lmb.informatik.uni-freiburg.de/resources/datasets/RenderedHandposeDataset.en.html",
        "research only, no commercial use; cite Zimmermann & Brox, ICCV 2017; don't pass it on",
        "RHD_published_v2/{training,evaluation}/{color,mask,depth}/00000.png ... and anno_{training,evaluation}.pickle",
    ),
    "stb": Source(
        "STB, the Stereo Hand Pose Tracking Benchmark (Zhang et al. 2017)",
        "https://github.com/zhjwustc/icip17_stereo_hand_pose_dataset (its text has the current link)",
        "none is stated; cite Zhang et al., ICIP 2017, and ask its authors before you do more than research with it",
        "images/{B1..B6}{Counting,Random}/SK_color_0.png ... and labels/B1Counting_{BB,SK}.mat ...",
    ),
    "synthetic": Source(
        "synthetic hands",
        "nothing to get: handpose.data.write_synthetic makes them",
        "that of this package: they were made by it",
        "",
    ),
}


@dataclass
class Report:
    """What the doctor found. ``usable`` {split: frames}; ``problems`` make the dataset unusable, ``notes`` don't."""

    dataset: str | None = None
    title: str = ""
    facts: list = field(default_factory=list)
    problems: list = field(default_factory=list)
    notes: list = field(default_factory=list)
    usable: dict = field(default_factory=dict)
    next: str = ""
    shown: int | None = _SHOWN

    @property
    def healthy(self):
        """True when `make book` can run on it."""
        return self.dataset is not None and not self.problems and all(self.usable.get(split) for split in SPLITS)

    def text(self):
        """The report as lines for a terminal."""
        lines = [("found", self.title)]
        lines += [("", fact) for fact in self.facts]
        lines += [("wrong", problem) for problem in self.problems]
        lines += [("note", note) for note in self.notes]
        for name in [self.dataset] if self.dataset else ["rhd", "stb"]:
            source = SOURCES["synthetic" if self.title.startswith("synthetic") else name]
            if not self.dataset:
                lines += [(name.upper(), f"unpacks to {source.layout}")]
            lines += [("get it", source.where), ("licence", source.licence)]
        lines += [("next", self.next)]
        return "\n".join(f"{label + ':' if label else '':9s}{' '.join(text.splitlines())}" for label, text in lines)


def examine(path, quick=False, progress=True, everything=False):
    """Examine the folder ``path`` and return a ``Report``; raises nothing for whatever is wrong there.

    ``quick`` reads a sample of the pictures; ``everything`` names every broken file and not only the first of a kind.
    """
    path, report = Path(path).absolute(), Report(shown=None if everything else _SHOWN)
    again = f"python -m handpose.data check {shlex.quote(str(path))}"
    report.next = f"put it right, then {again}"
    try:
        if path.is_dir():
            _examine(path, report, quick, progress)
        else:
            report.title = "nothing"
            report.problems.append(f"{path} is not a folder" if path.exists() else f"{path} is missing")
    except (OSError, ValueError) as error:  # a folder that can't be listed, say
        report.title = report.title or "nothing that can be read"
        report.problems.append(f"{path} can't be examined: {one_line(error)}")
    if report.healthy:
        report.next = f"make book DATASET={report.dataset} DATA_ROOT={shlex.quote(str(path))}"
        if not report.title.startswith("synthetic"):
            report.notes.append("the line below trains at 64 pixels, for two cores; with PRESET=paper it trains as the paper did, for a GPU")
    return report


def _examine(path, report, quick, progress):
    kind = _kind(path)
    if kind is None:
        report.title = "no dataset that is known here"
        _explain(path, report)
        return
    made = _synthetic(path, report)
    report.dataset = "synthetic" if made and kind == "rhd" else kind
    report.title = f"synthetic hands in the layout of {kind.upper()}" if made else SOURCES[kind].title
    (_examine_rhd if kind == "rhd" else _examine_stb)(path, made, report, quick, progress)
    if made and not report.healthy:
        report.notes.append("the call of write_synthetic that made it goes on where it was interrupted")


def _kind(path):
    """"rhd", "stb" or None, by what is in a folder."""
    try:
        return _known(path)
    except OSError:  # it can't be listed
        return None


def _known(path):
    names = {entry.name for entry in path.iterdir()}
    if "RHD_published_v2" in names or names & set(SPLITS):
        return "rhd"
    sequences = {sequence for sequences in stb.SEQUENCES.values() for sequence in sequences}
    inside = {entry.name for entry in (path / "images").iterdir()} if (path / "images").is_dir() else set()
    labelled = any((path / "labels").glob("B[1-6]*_??.mat"))
    if path.name == "images" and (path.parent / "labels").is_dir() and not labelled:
        return None  # a part of it
    if (names | inside) & sequences or labelled:
        return "stb"
    return None


def _explain(path, report):
    """Why a folder is not recognised, as far as one can see."""
    entries = sorted(path.iterdir())
    archives = [entry.name for entry in entries if entry.suffix.lower() in (".zip", ".rar", ".7z", ".tar", ".gz")]
    inner = [entry for entry in entries if entry.is_dir() and _kind(entry)]
    above = next((parent for parent in path.parents[:2] if _kind(parent)), None)
    if inner:
        report.problems.append(f"{path} is not the dataset's folder, but {inner[0]} looks like it: give that one")
    elif archives:
        report.problems.append(f"{path} holds {', '.join(archives[:_SHOWN])}: unpack it first")
    elif above:
        report.problems.append(f"{path} is a part of a dataset: give {above}")
    else:
        report.problems.append(f"{path} {'holds neither RHD nor STB' if entries else 'is empty'}")


def _synthetic(path, report):
    """What synthetic.json says, {} when there is none."""
    try:
        made = json.loads(read_bytes(path / "synthetic.json", 2**20))
        if not (isinstance(made, dict) and all(type(made.get(split)) is int for split in SPLITS)):
            raise ValueError("it does not say how many frames there are")
        return made
    except FileNotFoundError:
        return {}
    except (ValueError, RecursionError) as error:
        report.problems.append(f"{path / 'synthetic.json'} can't be read ({one_line(error)}): make the synthetic hands again")
        return {"layout": "?"}


def _examine_rhd(root, made, report, quick, progress):
    if (root / "RHD_published_v2").is_dir():
        root = root / "RHD_published_v2"
    for split in SPLITS:
        expected = made.get(split) if made else rhd.OFFICIAL_COUNTS[split]
        try:
            frames = RHD(root, split)
        except (OSError, ValueError) as error:
            report.problems.append(str(error))
            continue
        wrong = _pixels_apart(frames)
        if len(wrong):
            report.notes.append(f"{split}: in {len(wrong)} frames (first: {wrong[0]}) the pixels of the joints are not where K puts them")
        try:
            read_factors(frames.folder, range(len(frames)))
        except ValueError as error:
            report.problems.append(str(error))
        folders = {kind: frames.folder / kind for kind in ("color", "mask", "depth")}
        names = {kind: _names(folder) for kind, folder in folders.items()}
        pictures = [f"{index:05d}.png" for index in range(len(frames))]
        both = names["color"] & names["mask"]
        present = [index for index, name in enumerate(pictures) if name in both]
        absent = [folders[kind] / name for kind in ("color", "mask") for name in pictures if name not in names[kind]]
        report.problems += _few([f"{path} is missing: unpack the dataset again" for path in absent], report.shown)
        depths = len(set(pictures) - names["depth"])
        if depths:
            report.notes.append(f"{split}: {depths} depth pictures are missing; nothing here needs them")
        _examine_split(frames, split, expected, present, report, quick, progress, () if made else (320, 320))


def _examine_stb(root, made, report, quick, progress):
    for split in SPLITS:
        expected = made.get(split) if made else stb.OFFICIAL_COUNTS[split]
        if not _open_stb(root, split, "SK", report, report.problems, expected, quick, progress):
            continue
        for camera in ("BB_left", "BB_right"):  # nice to have: no run of the book needs them
            _open_stb(root, split, camera, report, report.notes, expected, quick, progress)


def _open_stb(root, split, camera, report, complaints, expected, quick, progress):
    """Examine one camera's part of a split; False when it can't even be opened."""
    images, labels = root / "images" if (root / "images").is_dir() else root, root / "labels"
    mats = [f"{sequence}_{stb.CAMERAS[camera][0].labels}.mat" for sequence in stb.SEQUENCES[split]]
    absent = {
        images: [sequence for sequence in stb.SEQUENCES[split] if not (images / sequence).is_dir()],
        labels: [mat for mat in mats if not (labels / mat).is_file()],
    }
    if any(absent.values()):
        complaints += [f"{split}: {folder} lacks {', '.join(names)}" for folder, names in absent.items() if names]
        return False
    try:
        frames = STB(root, split, camera)
    except (OSError, ValueError) as error:
        complaints.append(str(error))
        return False
    names = {folder: _names(folder) for folder in {path.parent for path in frames.paths}}
    present = [index for index, path in enumerate(frames.paths) if path.name in names[path.parent]]
    if not present and camera != "SK":
        complaints.append(f"{split}: no pictures of camera {camera}")
        return True
    here = set(present)
    part = Report(shown=report.shown)
    absent = [f"{path} is missing: unpack the dataset again" for index, path in enumerate(frames.paths) if index not in here]  # type: ignore[assignment]
    part.problems += _few(absent, report.shown)
    _examine_split(frames, split, expected, present, part, quick, progress, (), camera)
    complaints += part.problems
    report.notes += part.notes
    report.facts += part.facts
    if camera == "SK":
        report.usable |= part.usable
    return True


def _examine_split(frames, split, expected, present, report, quick, progress, size, camera=""):
    """Read the pictures of one split, count what is usable, and write it all into the report."""
    skipped = set(frames.skipped)
    looked = present
    if quick and len(present) > SAMPLE:
        looked = [present[place] for place in np.linspace(0, len(present) - 1, SAMPLE).astype(int)]
    name = f"{split}{', ' + camera if camera else ''}"
    broken, oddities, left_out = [], Counter(), 0
    bar = tqdm(total=len(looked), desc=f"reading {name}", unit="frame", disable=not progress)
    with ThreadPoolExecutor(available_cores()) as pool, bar:
        for start in range(0, len(looked), 256):
            chunk = looked[start : start + 256]
            looks = pool.map(lambda index: _look(frames, index, size), chunk)
            for index, (problem, odd, usable) in zip(chunk, looks, strict=True):
                if problem:
                    broken.append(problem)
                elif index not in skipped:
                    oddities[odd] += odd is not None
                    left_out += not usable
            bar.update(len(chunk))
    report.problems += _few(broken, report.shown)
    usable = len(present) - len(skipped & set(present)) - len(broken) - left_out
    report.usable[split] = usable
    official = "" if expected is None else f" of {expected}" if len(frames) != expected else ", all of them"
    sample = f" ({len(looked)} pictures read)" if len(looked) < len(present) else ""
    report.facts.append(f"{name}: {len(frames)} frames{official}; {usable} usable{sample}")
    if not usable and left_out:
        why = "; ".join(f"{count} {odd}" for odd, count in oddities.items() if count)
        report.problems.append(f"{name}: no frame can be used ({why}): are the lengths of its labels in their own unit?")
    if expected is not None and len(frames) != expected:
        report.notes.append(f"{name}: {len(frames)} frames are labelled, {expected} are expected; figures will not compare")
    if skipped:
        report.notes.append(f"{name}: frames {', '.join(map(str, sorted(skipped)))} are left out, as the field's loaders do")
    report.notes += [f"{name}: {count} frames {odd}" for odd, count in oddities.items() if count]


def _look(frames, index, size):
    """(what is wrong with a frame's files or None, what is odd about it or None, whether ``write_shards`` takes it)."""
    try:
        frame = frames[index]
    except (OSError, ValueError) as error:
        return str(error), None, False
    height, width = frame.image.shape[:2]
    if size and (width, height) != size:
        path = frames.folder / "color" / f"{index:05d}.png"
        return f"{path} is {width} x {height} pixels, expected {size[0]} x {size[1]}", None, False
    usable, odd = True, None
    try:
        crop_of(frame)
    except ValueError as error:
        reason = next((words for words in ("without size", "behind the camera") if words in str(error)), "that can't be cropped")
        usable, odd = False, f"have a hand {reason}: left out"
    if usable and not frame.visible.any():
        odd = "show no joint of their hand"
    if isinstance(frames, RHD) and read_image(frames.folder / "mask" / f"{index:05d}.png", "L").max() < 2:
        odd = f"have a mask without a hand: {'taken as a right one' if usable else 'left out'}"
    return None, odd, usable


def _pixels_apart(frames):
    """Frames of RHD whose uv is more than a pixel from K xyz, among the joints in front of the camera."""
    front = frames.xyz[..., 2] > 1.0
    xyz = np.where(front[..., None], frames.xyz, 1.0)
    apart = np.abs(project(xyz, frames.K) - frames.uv).max(-1)
    return np.flatnonzero((front & (apart > 1.0) & frames.visible).any(1))


def _names(folder):
    return set(os.listdir(folder)) if folder.is_dir() else set()


def _few(problems, shown):
    more = 0 if shown is None else len(problems) - shown
    return problems[:shown] + ([f"... and {more} more files like these (--all names them)"] if more > 0 else [])

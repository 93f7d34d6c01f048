"""What the work costs as it grows: time, memory and disk from ``quick`` to ten times RHD, on two cores and on one GPU.

Measured are the seconds of each training of a run on a processor, kept in ``book/checks/seconds.json``, and those of the results
that are recorded at the paper's size of picture on a GPU, where there are some. Everything else is extrapolated: in proportion to
the pictures and pixels, and to a GPU as ``estimate.speed`` has it. ``table`` says which is which; ``python -m handpose.growth`` prints
it, and ``--keep RESULTS`` keeps the seconds of a folder of results made on a processor, those in float32 in a file of their own.
"""

import argparse
import statistics
import sys
from collections import Counter
from dataclasses import dataclass, replace
from math import ceil
from pathlib import Path

from .budget import about, choose
from .data.crops import ROTATION_MARGIN
from .estimate import (
    RESNET18_PER_PIXEL,
    SECONDS,
    SECONDS_IN_FLOAT32,
    Device,
    chip,
    frames_of,
    gpu_runs,
    gpu_speeds,
    images_of,
    memory_bytes,
    precision_on,
    processor_name,
    rendering_seconds,
    speed,
    step_overhead,
)
from .experiments import CONTROLS, PEERS, ROWS, find_preset, row_stages, stage_owner
from .records import read_check, read_json, write_check

T4, H200 = Device("T4", "cuda", int(15e9)), Device("H200", "cuda", int(141e9), half=True)
_CORES = 2


@dataclass(frozen=True)
class Work:
    """``rows`` trained at ``preset`` with so many ``seeds``; ``recorded`` where that is the run on a processor that was kept.

    Of a run that was recorded on a GPU: ``gpu``, its chip; ``gpu_seconds``, of its trainings one after the other; and ``times``, how
    often each was trained: {(owner, stage): count}.
    """

    name: str
    rows: tuple
    preset: str
    dataset: str = "synthetic"
    seeds: int = 1
    recorded: bool = False
    gpu: str = ""
    gpu_seconds: float = 0.0
    times: dict | None = None

    def measured_on(self, device):
        """Whether the time on ``device`` was measured."""
        return self.recorded if device.kind == "cpu" else bool(self.gpu) and chip(device.name) == self.gpu


_OURS, _PEERS = tuple(ROWS), tuple(PEERS)
_TEN_TIMES = "paper+training={}+evaluation={}".format(*(10 * count for count in frames_of("paper", "rhd")))
WORKS = (
    Work("`quick`, Tables 1 and 2", _OURS, "quick"),
    Work("`quick`, the seven of Table 3", _PEERS, "quick"),
    Work("`desktop`, Tables 1 and 2, three seeds", _OURS, "desktop", seeds=3, recorded=True),
    Work("`desktop`, the seven of Table 3, one seed", _PEERS, "desktop", recorded=True),
    Work("STB, Tables 1 and 2", _OURS, "paper", "stb"),
    Work("RHD, Tables 1 and 2", _OURS, "paper", "rhd"),
    Work("RHD, the seven of Table 3", _PEERS, "paper", "rhd"),
    Work("ten times RHD, Tables 1 and 2", _OURS, _TEN_TIMES),
)


def trainings(rows, preset):
    """The trainings that ``rows`` need at ``preset``, each once: a set of (owner, stage)."""
    return {(stage_owner(stage, row), stage) for row in rows for stage in row_stages(row, preset)}


def seconds_of(folder):
    """What is kept of a folder of results that were made on one processor: a dict for JSON.

    ``trainings``: owner, stage, seed, seconds, threads and images (``images_of``) of each, once; ``preset``, ``size`` in pixels,
    ``device``, ``precision``, ``commits``, the most frequent first, and ``peak_memory_mib``, the median of our rows' cards. Raises
    ValueError for results of a GPU, or of more than one kind.
    """
    rows = (*ROWS, *PEERS, *CONTROLS)
    cards = [read_json(path) for row in rows for path in sorted(Path(folder).glob(f"{row}-seed*/run.json"))]
    kinds = {(card["preset"], card["settings"]["size"], card["device"], card["precision"]) for card in cards}
    if len(kinds) != 1 or any(not card["device"].startswith("CPU") for card in cards):
        raise ValueError(f"{folder} does not hold the results of one preset on one processor, alone: {sorted(kinds)}")
    trainings = {}
    for card in cards:
        for stage, part in card["stages"].items():
            about_it = {"owner": stage_owner(stage, card["of_row"]), "stage": stage, "seed": part["settings"]["seed"]}
            images = images_of(stage, part.get("preset", card["preset"]), card["dataset"])
            cost = {"seconds": part["seconds"], "threads": part["threads"], "images": round(images, 1)}
            trainings.setdefault(tuple(about_it.values()), about_it | cost)
    commits = [commit for commit, _ in Counter(card["commit"] for card in cards).most_common() if commit]
    memory = statistics.median(card["peak_memory_mib"] for card in cards if card["row"] in ROWS)
    names = ("preset", "size", "device", "precision")
    return dict(zip(names, *kinds)) | {"commits": commits, "peak_memory_mib": memory, "trainings": list(trainings.values())}


def measured_seconds(kept=None):
    """Seconds of each training of the run that was kept, times its threads: {(owner, stage): {seed: seconds}}.

    Raises FileNotFoundError when none was.
    """
    found = {}
    for part in (kept or read_check(SECONDS))["trainings"]:
        found.setdefault((part["owner"], part["stage"]), {})[part["seed"]] = part["seconds"] * part["threads"]
    return found


def measured_speed(measured):
    """Multiply-adds of forward passes a second and thread in the trainings of ``measured``, in whatever precision they had.

    The median over those of our own rows; None where there are none.
    """
    pixels, ours = find_preset("desktop").size ** 2, trainings(ROWS, "desktop")
    speeds = [
        images_of(stage, "desktop") * pixels * RESNET18_PER_PIXEL / statistics.mean(seconds.values())
        for (owner, stage), seconds in measured.items() if (owner, stage) in ours
    ]  # fmt: skip
    return statistics.median(speeds) if speeds else None


def training_time(work, device, measured):
    """Seconds that the trainings of ``work`` take on ``device``, one after the other on a GPU, ``_CORES`` at a time on a processor.

    None where ``measured`` lacks what that would come from.
    """
    if device.kind != "cpu" and work.measured_on(device):
        return work.gpu_seconds
    processor, needed = measured_speed(measured), set(work.times or trainings(work.rows, work.preset))
    if processor is None or not needed <= set(measured):
        return None
    settings, total = find_preset(work.preset), 0.0
    size, basis = settings.size, find_preset("desktop")
    for owner, stage in needed:
        seconds = measured[owner, stage]
        again = work.times[owner, stage] if work.times else 1 if stage == "warmup" else work.seeds
        if work.recorded and device.kind == "cpu":
            total += sum(list(seconds.values())[:again]) / _CORES
            continue
        images = images_of(stage, work.preset, work.dataset)
        pixels = images * size**2 / (images_of(stage, "desktop") * basis.size**2)
        here = again * pixels * sum(seconds.values()) / len(seconds)
        if device.kind == "cpu":
            total += here / _CORES
        else:
            precision = precision_on(device, _fitted(work, device))
            gpu, _ = speed(device, precision)
            total += here * processor / gpu
            total += again * step_overhead(device, precision, size) * images / settings.batch
    return total


def _fitted(work, device):
    return choose(work.preset, device, chosen=True)[0] if device.kind == "cuda" else work.preset


def large_gpu():
    """The GPU of the last column: the one that was measured, in mixed precision, else an H200."""
    measured = [name for name, mixed in gpu_speeds() if mixed]
    return H200 if not measured or H200.name in measured else replace(H200, name=measured[0])


def gpu_works(runs=None):
    """The runs that were recorded on a GPU at the paper's size of picture, the rows of each table a ``Work``. ``runs`` as from ``gpu_runs``.

    A training that several rows need counts once, for the first of the tables.
    """
    works = []
    for cards in (gpu_runs() if runs is None else runs).values():
        counted = set()
        for title, table in (("Tables 1 and 2", ROWS), ("the controls", CONTROLS), ("the seven of Table 3", PEERS)):
            ours = [card for card in cards if card["row"] in table or (card["row"] == "warmup" and table is ROWS)]
            parts = {part["folder"]: (stage_owner(stage, card["of_row"]), stage, part["seconds"])
                     for card in ours for stage, part in card["stages"].items() if part["folder"] not in counted}  # fmt: skip
            counted.update(parts)
            rows = Counter(card["row"] for card in ours if card["row"] != "warmup")
            if not rows:
                continue
            seeds = max(rows.values())
            which = title if set(rows) == set(table) else f"rows {', '.join(rows)}"
            uneven = "up to " * (len(set(rows.values())) > 1)
            name = f"`{cards[0]['preset']}`, {which}, {uneven}{'one seed' if seeds == 1 else f'{seeds} seeds'}"
            times = Counter((owner, stage) for owner, stage, _ in parts.values())
            work = Work(name, tuple(rows), cards[0]["preset"], cards[0]["dataset"], seeds, gpu=chip(cards[0]["device"]),
                        gpu_seconds=sum(seconds for *_, seconds in parts.values()), times=dict(times))  # fmt: skip
            works.append(work)
    return works


def table(works=None, kept=None):
    """One line for each of ``works``, by default ``WORKS`` and ``gpu_works``: dicts of texts.

    What is not marked as measured is estimated. What can't be, since the run that was kept lacks a training, is "not known".
    """
    measured, lines, large = measured_seconds(kept), [], large_gpu()
    for work in (*WORKS, *gpu_works()) if works is None else works:
        settings = find_preset(work.preset)
        frames = sum(frames_of(work.preset, work.dataset))
        edge = ceil(settings.size * ROTATION_MARGIN)
        rendering = rendering_seconds(work.preset, _CORES) if work.dataset == "synthetic" and settings.size < 256 else 0
        devices = {"Two cores": Device("CPU", half=True), "T4": T4, large.name: large}
        told = {name: _told(training_time(work, device, measured), rendering, work.measured_on(device))
                for name, device in devices.items()}  # fmt: skip
        lines.append({
            "Work": work.name, "Frames": f"{frames:,}".replace(",", "\u202f"), "Crops on disk": _gigabytes(frames * edge**2 * 3), **told,
            "Memory of the process": _gigabytes(memory_bytes(work.preset, "cpu")),
            "Of the GPU": _gigabytes(memory_bytes(_fitted(work, T4), "cuda")),
        })  # fmt: skip
    return lines


def _told(training, rendering, recorded):
    return "not known" if training is None else about(training + rendering) + " (measured)" * recorded


def _gigabytes(count):
    return f"{count / 1e9:.1f} GB"


def markdown(lines):
    """``table`` as a Markdown table."""
    rows = [list(lines[0]), ["---"] * len(lines[0]), *(list(line.values()) for line in lines)]
    return ["| " + " | ".join(row) + " |" for row in rows]


def named_commit(commit):
    """A commit as pages name it; None, of files that were made without git, is "not in git"."""
    return f"commit `{commit[:7]}`" if commit else "not in git"


def _commits(commits):
    return named_commit(commits[0] if commits else None) + " and others" * (len(commits) > 1)


def source(kept=None):
    """What the table comes from, in words: a list of paragraphs of Markdown."""
    kept, runs, large = kept or read_check(SECONDS), gpu_runs(), large_gpu()
    processor = (
        f"Two cores: marked as measured are the seconds of every training of a run at preset {kept['preset']}, in {kept['precision']}, "
        f"measured on {processor_name(kept['device'])} at {_commits(kept['commits'])}, kept in `book/checks/seconds.json`. The rest is "
        "extrapolated from them, in proportion to the pictures trained on and to their pixels. Rendering small synthetic frames, added "
        "to them in every column, is estimated."
    )
    nvidia = "by what NVIDIA measured with a ResNet-50{}, with some time a batch for everything else, which is assumed."
    if not any(mixed for _, mixed in gpu_speeds()):
        h200 = " (for the H200, an A100's figure by the bandwidth of its memory)"
        return [processor, "To a GPU it is extrapolated " + nvidia.format(h200)]
    cards = [card for cards in runs.values() for card in cards]
    commits = [commit for commit, _ in Counter(card["commit"] for card in cards).most_common() if commit]
    size = find_preset("paper").size
    rhd = next(work for work in WORKS if work.dataset == "rhd" and work.rows == _OURS)
    time = training_time(rhd, large, measured_seconds(kept))
    one = "not known" if time is None else about(time)
    return [
        processor,
        f"{large.name}: marked as measured are the seconds of the trainings at {size} px that are recorded here, added up, on "
        f"{' and '.join(dict.fromkeys(card['device'] for card in cards))}, at {_commits(commits)}. The rest of this column is extrapolated "
        f"by the highest of their speeds, since several that run side by side on one GPU slow each other down, at smaller pictures with an "
        f"assumed time a batch on top. One seed of all rows of Tables 1 and 2 "
        f"on RHD takes {one}.",
        "To a GPU that was not measured here it is extrapolated " + nvidia.format(""),
    ]


def _keep(folder):
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} is missing: give a folder of results, runs/results/synthetic-desktop say")
    seconds = seconds_of(folder)
    slow = seconds["precision"] == "32-true"
    if not slow and seconds["preset"] != "desktop":
        raise ValueError(f"{folder} is of preset {seconds['preset']}: the table is made from the seconds of desktop")
    write_check(SECONDS_IN_FLOAT32 if slow else SECONDS, seconds)


def main(arguments=None):
    """Command line: print the table and what it comes from, or keep the seconds of a folder of results."""
    parser = argparse.ArgumentParser(prog="python -m handpose.growth", description="What the work costs as it grows.")
    parser.add_argument("--keep", type=Path, metavar="RESULTS", help="a folder of results made on a processor: keep their seconds")
    options = parser.parse_args(arguments)
    if options.keep:
        try:
            _keep(options.keep)
        except (ValueError, OSError) as error:
            sys.exit(f"error: {error}")
        return
    print("\n".join([*markdown(table()), "", "\n\n".join(source())]))


if __name__ == "__main__":
    main()

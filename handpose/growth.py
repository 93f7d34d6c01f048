"""What the work costs as it grows: time, memory and disk from ``quick`` to ten times RHD, on two cores and on one GPU.

Measured is the recorded run alone, on the processor that it names: the seconds of each of its trainings. Everything else is
extrapolated from them: in proportion to the pictures and pixels, and to a GPU as ``budget.speed`` has it. ``table`` says which
is which; ``python -m handpose.growth`` prints it.
"""

import statistics
from dataclasses import dataclass
from math import ceil

from .budget import (
    RESNET18_PER_PIXEL,
    STEP,
    Device,
    about,
    choose,
    frames_of,
    images_of,
    memory_bytes,
    precision_on,
    rendering_seconds,
    speed,
)
from .data.crops import ROTATION_MARGIN
from .experiments import PEERS, ROWS, find_preset, row_stages, stage_owner
from .results import RECORDED, Results

T4, H200 = Device("T4", "cuda", int(15e9)), Device("H200", "cuda", int(141e9), half=True)
_CORES = 2


@dataclass(frozen=True)
class Work:
    """``rows`` trained at ``preset`` with so many ``seeds``; ``recorded`` where that is the recorded run itself."""

    name: str
    rows: tuple
    preset: str
    dataset: str = "synthetic"
    seeds: int = 1
    recorded: bool = False


_OURS, _PEERS = tuple(ROWS), tuple(PEERS)
_TEN_TIMES = "paper+training={}+evaluation={}".format(*(10 * count for count in frames_of("paper", "rhd")))
WORKS = (
    Work("`quick`, Tables 1 and 2", _OURS, "quick"),
    Work("`quick`, the seven of Table 3", _PEERS, "quick"),
    Work("`desktop`, Tables 1 and 2, three seeds", _OURS, "desktop", seeds=3, recorded=True),
    Work("`desktop`, the seven of Table 3", _PEERS, "desktop", recorded=True),
    Work("STB, Tables 1 and 2", _OURS, "paper", "stb"),
    Work("RHD, Tables 1 and 2", _OURS, "paper", "rhd"),
    Work("RHD, the seven of Table 3", _PEERS, "paper", "rhd"),
    Work("ten times RHD, Tables 1 and 2", _OURS, _TEN_TIMES),
)


def trainings(rows, preset):
    """The trainings that ``rows`` need at ``preset``, each once: a set of (owner, stage)."""
    return {(stage_owner(stage, row), stage) for row in rows for stage in row_stages(row, preset)}


def measured_seconds(results=None):
    """Seconds of each training of the recorded run, times its threads: {(owner, stage): {seed: seconds}}.

    Raises FileNotFoundError when there is no recorded run.
    """
    results, found = results or Results(RECORDED / "synthetic-desktop"), {}
    for row in (*ROWS, *PEERS):
        for seed in results.seeds(row):
            card = results[row, seed].card
            for stage, part in card["stages"].items():
                kept = found.setdefault((stage_owner(stage, row), stage), {})
                kept.setdefault(0 if stage == "warmup" else seed, part["seconds"] * part["threads"])
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
    processor, needed = measured_speed(measured), trainings(work.rows, work.preset)
    if processor is None or not needed <= set(measured):
        return None
    settings, total = find_preset(work.preset), 0.0
    size, basis = settings.size, find_preset("desktop")
    for owner, stage in needed:
        seconds = measured[owner, stage]
        again = 1 if stage == "warmup" else work.seeds
        if work.recorded and device.kind == "cpu":
            total += sum(list(seconds.values())[:again]) / _CORES
            continue
        images = images_of(stage, work.preset, work.dataset)
        pixels = images * size**2 / (images_of(stage, "desktop") * basis.size**2)
        here = again * pixels * sum(seconds.values()) / len(seconds)
        if device.kind == "cpu":
            total += here / _CORES
        else:
            gpu, _ = speed(device, precision_on(device, _fitted(work, device)))
            total += here * processor / gpu + again * STEP * images / settings.batch
    return total


def _fitted(work, device):
    return choose(work.preset, device, chosen=True)[0] if device.kind == "cuda" else work.preset


def table(works=WORKS, results=None):
    """One line for each of ``works``: dicts of texts. Times of what is recorded, on the processor, are measured; all else is estimated.

    What can't be, since the recorded run lacks a training, is "not known".
    """
    measured, lines = measured_seconds(results), []
    for work in works:
        settings = find_preset(work.preset)
        frames = sum(frames_of(work.preset, work.dataset))
        edge = ceil(settings.size * ROTATION_MARGIN)
        rendering = rendering_seconds(work.preset, _CORES) if work.dataset == "synthetic" and settings.size < 256 else 0
        devices = {"Two cores": Device("CPU", half=True), "T4": T4, "H200": H200}
        told = {name: _told(training_time(work, device, measured), rendering, work.recorded and device.kind == "cpu")
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


def source(results=None):
    """Which run the table comes from, in words."""
    card = (results or Results(RECORDED / "synthetic-desktop"))["D3", 0].card
    commit = named_commit(card["commit"]) + " and others" * bool(card["commit"])
    return f"From the seconds of the recorded run: preset {card['preset']}, {card['device']}, {commit}."


def main():
    """Command line: print the table and where it comes from."""
    print("\n".join([*markdown(table()), "", source()]))


if __name__ == "__main__":
    main()

"""What a page costs here, and what fits on Google Colab.

One line in a notebook: ``preset, threads, recorded = fit(globals())``. It prints where the page runs, how long it will take
and what memory it needs, as ``estimate`` has it. Outside of Colab it gives back what it was given; on Colab, see ``choose``.
"""

import re
from pathlib import Path

from . import drive
from .colab import on_colab
from .estimate import Device, find_device, memory_bytes, precision_on, rendering_seconds, speed, training_seconds
from .experiments import find_preset, row_stages, stage_owner, stage_settings
from .records import available_cores, read_json

_WANT_A_GPU = ("gpu", "paper")
_DEFAULT = "smoke"  # what a source notebook says when nobody has chosen


def left_to_train(rows, preset, dataset="synthetic", seeds=(0,), output_dir="runs", until=None):
    """Stages, each as often as seeds and rows need it, that ``output_dir`` (None: an empty one) does not hold yet.

    ``rows``: one or several, which share stages. Up to the stage ``until``, by default all of a row.
    """
    wanted = {}
    for row in (rows,) if isinstance(rows, str) else rows:
        stages = row_stages(row, preset)
        if until:
            stages = stages[: stages.index(until) + 1] if until in stages else stages[:1]
        for stage in stages:
            for seed in seeds if stage != "warmup" else seeds[:1]:
                wanted.setdefault((stage_owner(stage, row), stage, seed), row)
    place = output_dir and Path(output_dir)
    return [stage for (_, stage, seed), row in wanted.items() if not (place and _is_trained(stage, row, preset, dataset, seed, place))]


def _is_trained(stage, row, preset, dataset, seed, output_dir):
    """Judged by the settings alone: whether the data are the very same, training itself looks."""
    settings = stage_settings(stage, row, preset, seed)
    name = f"{stage_owner(stage, row)}-{stage}-{str(preset).partition('+')[0]}-seed{settings['seed']}-*"
    cards = [read_json(path) for path in (output_dir / "stages").glob(f"{name}/run.json")]
    return any(card["settings"] == settings and card["dataset"] == dataset for card in cards)


def choose(preset, device, chosen=False, insist=False):
    """What Google Colab runs in place of ``preset``, and why: (preset, reasons).

    ``chosen``: whether somebody chose it; the source notebooks' own default only proves that they run, and becomes ``quick``.
    A preset that wants a GPU becomes ``quick`` where there is none, unless the reader insists (``device`` "cpu"). On a GPU
    without bfloat16, as the T4, training is in float16 mixed precision; the batch is halved until it fits.
    """
    reasons = []
    if preset == _DEFAULT and not chosen:
        preset = "quick"
    if device.kind == "cpu" and insist:
        return preset, reasons
    if device.kind == "cpu":
        reasons.append("no GPU in this runtime (Runtime > Change runtime type > T4 GPU gives one)")
        if preset.partition("+")[0] in _WANT_A_GPU:
            reasons.append(f"{preset} wants a GPU, and would take days: quick instead")
            preset = "quick"
        return preset, reasons
    if find_preset(preset).precision == "auto" and not device.half:
        preset += "+precision=16-mixed"
        reasons.append("float16, since this GPU has no bfloat16")
    batch = find_preset(preset).batch
    while memory_bytes(f"{preset}+batch={batch}") > 0.85 * device.memory and batch > 2:
        batch //= 2
    if batch < find_preset(preset).batch:
        preset += f"+batch={batch}"
        reasons.append(f"batch {batch}, which fits its memory")
    return preset, reasons


def fit(namespace, until=None, rows=()):
    """Say what this page costs here; returns (preset, threads, recorded) to go on with.

    ``namespace`` is the notebook's ``globals()`` after its parameters, ``until`` the stage that it ends with where that is not
    the row's last, ``rows`` what it trains where that is not its parameter ``row``. Outside of Colab the three are the
    parameters as they are. On Colab ``choose`` may change the preset, all cores are used, what is trained is kept in
    the Drive where one is connected, and a page that only reads results shows the recorded ones where there are no
    others. Raises ValueError where seed, seeds or threads is no number that can be.
    """
    from .notebook import project_path, whole_number

    preset, recorded = namespace["preset"], namespace.get("recorded", False)
    threads, asked = whole_number("threads", namespace.get("threads", 1), 1), namespace.get("device", "auto")
    output_dir, dataset = project_path(namespace["output_dir"]), namespace["dataset"]
    device, reasons, folder = find_device(asked), [], None
    has_row = "row" in (namespace.get("_parameters_checked") or namespace)  # a page's own loops leave names behind
    if on_colab() and not recorded:
        preset, reasons = choose(preset, device, "preset" in _injected(namespace), asked == "cpu")
        threads = threads if "threads" in _injected(namespace) else available_cores()
        if drive.connected():
            folder, _ = drive.keep(output_dir)
        if not has_row and not rows:
            preset, recorded = _results_for(preset, dataset, output_dir)
    rows = rows or ((namespace["row"],) if has_row else ())
    if not rows:
        kind = "the recorded results" if recorded else f"the results in {namespace['output_dir']}"
        print(f"{_where(device, threads)}; shows {kind} of preset {preset}, trains nothing")
        return preset, threads, recorded
    what = f"preset {preset}, precision {precision_on(device, preset)}"
    if recorded:
        what = f"recorded results of preset {preset}: nothing is trained"
    print("; ".join([_where(device, threads), what, *reasons]))
    seed, count = whole_number("seed", namespace["seed"]), whole_number("seeds", namespace.get("seeds", 1), 1)
    seeds = tuple(range(seed, seed + count))
    place = None if recorded else output_dir  # what training all of it would cost
    left = left_to_train(rows, preset, dataset, seeds, place, until or namespace.get("stage"))
    rendered = dataset != "synthetic" or namespace["data_root"] or (place and _has_frames(preset, place))
    print(_cost(left, preset, device, threads, dataset, 0 if rendered else rendering_seconds(preset, threads), recorded))
    if folder:
        _prepare(namespace, preset, dataset, output_dir, threads, folder)
    elif on_colab() and left and not recorded:
        print("what is trained is lost when this runtime ends: connect your Drive (folder icon at the left) to keep it, and run again")
    return preset, threads, recorded


def fit_frames(namespace):
    """``fit`` for the page that shows frames and trains nothing: says where it runs and what rendering costs; (preset, threads).

    Raises ValueError where threads is no number that can be.
    """
    from .notebook import project_path, whole_number

    preset, threads, dataset = namespace["preset"], whole_number("threads", namespace["threads"], 1), namespace["dataset"]
    device, reasons = find_device(), []
    if on_colab():
        preset, reasons = choose(preset, device, "preset" in _injected(namespace))
        threads = threads if "threads" in _injected(namespace) else available_cores()
    print("; ".join([_where(device, threads), f"preset {preset}", *reasons]))
    there = dataset != "synthetic" or namespace["data_root"] or _has_frames(preset, project_path(namespace["output_dir"]))
    first = "the frames are there" if there else f"frames to render first: {about(rendering_seconds(preset, threads))}"
    print(f"{first}; nothing is trained")
    return preset, threads


def _prepare(namespace, preset, dataset, output_dir, threads, folder):
    from .notebook import project_path
    from .runs import prepare_data

    print(f"kept in your Drive, in {folder}: copied every ten minutes, and back when a new runtime starts")
    prepare_data(preset, dataset, project_path(namespace["data_root"]), output_dir, workers=threads)
    if drive.carry_fingerprint(output_dir, folder):
        print("the frames were rendered on another processor than the first time, and may differ by a grey level: training goes on")


def _injected(namespace):
    """Names of the parameters that papermill put in: the cell that it adds begins with this line."""
    cells = [cell for cell in namespace.get("In", []) if cell.startswith("# Parameters\n")]
    return {name for cell in cells for name in re.findall(r"(?m)^(\w+) =", cell)}


def _results_for(preset, dataset, output_dir):
    """Preset and whether the recorded results are shown, for a page that only reads."""
    from .results import RECORDED, results_folder

    if any(results_folder(preset, dataset, output_dir).glob("*/run.json")):
        return preset, False
    names = [path.name for path in sorted(RECORDED.glob(f"{dataset}-*")) if "+" not in path.name]
    return (names[0].partition("-")[2], True) if names else (preset, False)


def _has_frames(preset, output_dir):
    settings = find_preset(preset)
    return any((output_dir / "data").glob(f"synthetic-v*-{settings.training}-{settings.evaluation}-{settings.frame_size}px"))


def _where(device, threads):
    if device.kind == "cuda":
        return f"runs on {device.name} ({device.memory / 1e9:.0f} GB)"
    return f"runs on {device.name}, {threads} thread" + ("s" if threads > 1 else "")


def _cost(left, preset, device, threads, dataset, rendering, recorded):
    """The lines on time and memory."""
    if not left:
        return "everything is trained already: this page only opens it"
    first = "to train this here" if recorded else "left to train"
    memory = f"{memory_bytes(preset, device.kind) / 1e9:.1f} GB of {'GPU ' * (device.kind == 'cuda')}memory"
    seconds = [training_seconds(stage, preset, device, threads, dataset) for stage in left]
    if None in seconds:
        return f"{first}: {memory}; how long is not known, since no run on a processor was kept to go by"
    _, source = speed(device, precision_on(device, preset), threads)
    line = f"{first}: {about(sum(seconds) + rendering)}"
    if rendering > 60:
        line += f" ({about(rendering)} of it to render)"
    if device.kind == "cpu" and sum(seconds) > 60:
        t4 = Device("T4", "cuda", int(15e9))
        there = choose(preset, t4, chosen=True)[0]
        elsewhere = sum(training_seconds(stage, there, t4, dataset=dataset) for stage in left) + rendering
        _, other = speed(t4, precision_on(t4, there))
        return f"{line}; {memory}\non a T4: {about(elsewhere)}; estimated from {source} and {other}"
    return f"{line}; {memory}\nestimated from {source}"


def about(seconds):
    """A duration for people: minutes below two hours, then hours, then days."""
    if seconds < 60:
        return "less than a minute"
    if seconds < 90:
        return "about a minute"
    if seconds < 7200:
        return f"about {seconds / 60:.0f} minutes"
    hours = seconds / 3600
    return f"about {hours:.1f} hours" if hours < 10 else f"about {hours:.0f} hours" if hours < 72 else f"about {hours / 24:.0f} days"

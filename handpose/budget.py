"""What a page costs here, and what fits on Google Colab.

One line in a notebook: ``preset, threads, recorded = fit(globals())``. It prints where the page runs, how long it will take
and what memory it needs. Outside of Colab it gives back what it was given; on Colab, see ``choose``.

The estimate is simple. Training costs multiply-adds in proportion to the pixels of the picture, since nearly all of them are
the backbone's (for the methods of Table 3, too); a pass through a frozen encoder costs a third of a training pass, evaluation
after each epoch too. How many multiply-adds a second a processor makes comes from a run on one with bfloat16 and from one
without, whose seconds are kept; how many a GPU makes, from the results recorded at the paper's size of picture where they come
from such a GPU, else from what NVIDIA measured with a ResNet-50. ``RESNET50`` has these figures.
"""

import re
import statistics
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from . import drive, peers
from .colab import on_colab
from .experiments import PEERS, ROWS, find_preset, row_stages, stage_owner, stage_settings
from .records import PACKAGE, available_cores, device_name, read_check, read_json

#: Multiply-adds of one forward pass for each pixel: ResNet-18 (counted by PyTorch's flop counter), ResNet-50 (4.09e9 at 224 px).
RESNET18_PER_PIXEL, RESNET50_PER_PIXEL = 36_150, 4.09e9 / 224**2
#: Images a second in training ResNet-50 at 224 px: (float32 or TF32, mixed precision). NVIDIA DeepLearningExamples, PyTorch,
#: ResNet-50 v1.5, README, one GPU. For the T4 it has the forward pass alone, 428 and 1165: a third of that.
RESNET50 = {"T4": (143, 388), "V100": (367, 1200), "A100": (938, 2470)}
#: The H200 has no figure there: the A100's, by the bandwidth of their memories, 4.8 against 2.039 TB/s (NVIDIA's data sheets).
RESNET50["H200"] = (round(4.8 / 2.039 * RESNET50["A100"][0]), round(4.8 / 2.039 * RESNET50["A100"][1]))
#: What ``python -m handpose.growth --keep`` keeps: the seconds of a run's trainings on a processor, and on one without bfloat16.
SECONDS = PACKAGE.parent / "book" / "checks" / "seconds.json"
SECONDS_IN_FLOAT32 = SECONDS.with_name("seconds-float32.json")
#: Seconds a batch on a GPU for reading crops and starting kernels: assumed where nothing was measured.
STEP = 0.03
#: Pixels rendered, and made into shards, a second and core: measured on the machine of ``SECONDS``.
_PIXELS = 2.5e6
#: Bytes that autograd keeps for each pixel of a batch (ResNet-18, float32), with half as much again for what it works with.
_BYTES_PER_PIXEL = 450 * 1.5
_WEIGHTS = 14.8e6 * 16  # float32 weights, their gradients and Adam's two moments
_PYTORCH = {"cpu": 1.5e9, "cuda": 0.6e9}
_FRAMES = {"rhd": (41258, 2728), "stb": (15000, 3000)}
_PEER_STAGES = {stage: peer.module for peer in PEERS.values() for stage in peer.stages}
_DEFAULT = "smoke"  # what a source notebook says when nobody has chosen


@dataclass(frozen=True)
class Device:
    """Where training runs: ``kind`` "cpu" or "cuda", ``memory`` in bytes (of the GPU; None for a processor).

    ``half``: whether it computes in bfloat16 by itself.
    """

    name: str
    kind: str = "cpu"
    memory: int | None = None
    half: bool = False


def find_device(device="auto"):
    """The ``Device`` that the notebooks' parameter ``device`` means on this machine."""
    import torch

    from .train import choose_precision

    kind = "cuda" if device != "cpu" and torch.cuda.is_available() else "cpu"
    memory = torch.cuda.get_device_properties(0).total_memory if kind == "cuda" else None
    torch_device = torch.device(kind)
    return Device(device_name(torch_device), kind, memory, choose_precision("auto", torch_device) == "bf16-mixed")


def precision_on(device, preset):
    """The precision that training with ``preset`` has on ``device``."""
    precision = find_preset(preset).precision
    return precision if precision != "auto" else "bf16-mixed" if device.half else "32-true"


def training_passes(stage, preset):
    """How often ``stage`` goes through the training frames, in passes that train the encoder; and its epochs."""
    settings = find_preset(preset)
    frozen, free = settings.align_frozen_epochs, settings.align_epochs
    if stage in _PEER_STAGES:
        epochs = peers.epochs(_PEER_STAGES[stage], stage, settings)
        return epochs, epochs
    passes = {
        "warmup": settings.warmup_epochs,
        "disentangle": settings.disentangle_epochs,
        "further": frozen + free,
        "align": frozen / 3 + free,
        "refine": settings.refine_epochs,
    }[stage]
    return passes, frozen + free if stage == "align" else passes


def frames_of(preset, dataset="synthetic"):
    """Number of training and of evaluation frames."""
    settings = find_preset(preset)
    return _FRAMES.get(dataset, (settings.training, settings.evaluation))


def images_of(stage, preset, dataset="synthetic"):
    """Pictures that ``stage`` trains on, over all epochs; evaluation counts a third."""
    training, evaluation = frames_of(preset, dataset)
    passes, epochs = training_passes(stage, preset)
    return passes * training + epochs * evaluation / 3


@cache
def recorded_speed(path=SECONDS):
    """Multiply-adds of forward passes a second and thread that the run kept in ``path`` trained at, in its precision.

    The median over its stages of one thread, those of Tables 1 and 2; None where there is no such run.
    """
    kept = read_check(path) if Path(path).exists() else None
    if kept is None:
        return None
    work = RESNET18_PER_PIXEL * kept["size"] ** 2
    ours = (part for part in kept["trainings"] if part["threads"] == 1 and part["owner"] in ROWS)
    speeds = [part["images"] * work / part["seconds"] for part in ours]
    return statistics.median(speeds) if speeds else None


def processor_name(device):
    """A processor as sentences name it, of a run card's ``device``: "Intel Xeon" of "CPU: Intel(R) Xeon(R) Processor"."""
    return re.sub(r"^CPU: |\((R|TM)\)| Processor\b", "", device)


def chip(name):
    """What tells GPUs apart in their names: "H100" of "NVIDIA H100 80GB HBM3"; all of it where nothing looks like that."""
    found = re.search(r"\b[A-Z]+\d+\b", name)
    return found[0] if found else name


@cache
def gpu_runs(results=None):
    """Run cards of the results that were recorded on a GPU at the paper's size of picture: {folder's name: list of cards}."""
    from .results import RECORDED

    found = {}
    for path in sorted(Path(results or RECORDED).glob("*/*/run.json")):
        card = read_json(path)
        if card["settings"]["size"] == find_preset("paper").size and not card["device"].startswith("CPU"):
            found.setdefault(path.parents[1].name, []).append(card)
    return found


@cache
def gpu_speeds(results=None):
    """Multiply-adds of forward passes a second of each GPU of ``gpu_runs``: {(chip, whether in mixed precision): their median}.

    Over the trainings of our own rows, each counted once.
    """
    found = {}
    for cards in gpu_runs(results).values():
        for card in cards:
            for stage, part in card["stages"].items():
                if stage not in _PEER_STAGES:
                    images = images_of(stage, part.get("preset", card["preset"]), card["dataset"])
                    made = images * RESNET18_PER_PIXEL * part["settings"]["size"] ** 2 / part["seconds"]
                    found.setdefault((chip(card["device"]), card["precision"] != "32-true"), {})[part["folder"]] = made
    return {key: statistics.median(speeds.values()) for key, speeds in found.items()}


def speed(device, precision, threads=1):
    """Multiply-adds of forward passes a second that ``device`` trains at, and where the figure comes from.

    A GPU that neither was measured here nor is in NVIDIA's table counts as a T4.
    """
    mixed = precision != "32-true"
    if device.kind == "cuda":
        key = chip(device.name), mixed
        if key in gpu_speeds():
            return gpu_speeds()[key], f"the trainings recorded on the {key[0]}"
        known = next((name for name in RESNET50 if name in device.name), "T4")
        source = f"NVIDIA's ResNet-50 on a {known}"
        return RESNET50[known][mixed] * RESNET50_PER_PIXEL * 224**2, source
    kept = SECONDS if mixed else SECONDS_IN_FLOAT32
    recorded = recorded_speed(kept)
    source = f"{processor_name(read_check(kept)['device'])}'s speed" if recorded else ""
    return recorded and recorded * threads, source


def step_overhead(device, precision, size):
    """Seconds a batch that come on top of ``speed``: none where that was measured here, which has them in it.

    A GPU is measured at the paper's size of picture, in pixels; at a smaller ``size`` they would be more of the time.
    """
    measured = (chip(device.name), precision != "32-true") in gpu_speeds() and size >= find_preset("paper").size
    return 0.0 if device.kind == "cpu" or measured else STEP


def training_seconds(stage, preset, device, threads=1, dataset="synthetic"):
    """Estimated seconds that ``stage`` trains; None where nothing is known of the device."""
    settings = find_preset(preset)
    images = images_of(stage, preset, dataset)
    precision = precision_on(device, preset)
    made, _ = speed(device, precision, threads)
    step = step_overhead(device, precision, settings.size) * images / settings.batch
    return made and images * RESNET18_PER_PIXEL * settings.size**2 / made + step


def rendering_seconds(preset, cores=1):
    """Estimated seconds until the synthetic frames of ``preset`` are rendered and cut."""
    settings = find_preset(preset)
    return (settings.training + settings.evaluation) * settings.frame_size**2 / _PIXELS / cores


def memory_bytes(preset, kind="cuda"):
    """Estimated memory that training with ``preset`` needs: of the GPU, or of the process."""
    settings = find_preset(preset)
    return _PYTORCH[kind] + _WEIGHTS + min(settings.batch, settings.training) * settings.size**2 * _BYTES_PER_PIXEL


def left_to_train(row, preset, dataset="synthetic", seeds=(0,), output_dir="runs", until=None):
    """Stages, each as often as seeds need it, that ``output_dir`` (None: an empty one) does not hold yet.

    Up to the stage ``until``, by default all of ``row``.
    """
    stages = row_stages(row, preset)
    if until:
        stages = stages[: stages.index(until) + 1] if until in stages else stages[:1]
    wanted = [(stage, seed) for stage in stages for seed in (seeds if stage != "warmup" else seeds[:1])]
    return [stage for stage, seed in wanted if not (output_dir and _is_trained(stage, row, preset, dataset, seed, Path(output_dir)))]


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
    if device.kind == "cpu":
        reasons.append("no GPU in this runtime (Runtime > Change runtime type > T4 GPU gives one)")
        if find_preset(preset).cost == "one GPU" and not insist:
            reasons.append(f"{preset} would take days: quick instead")
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
    the row's last, ``rows`` what it trains where it has no parameter ``row``. Outside of Colab the three are the
    parameters as they are. On Colab ``choose`` may change the preset, all cores are used, what is trained is kept in
    the Drive where one is connected, and a page that only reads results shows the recorded ones where there are no
    others. Raises ValueError where seed, seeds or threads is no number that can be.
    """
    from .notebook import project_path, whole_number

    preset, recorded = namespace["preset"], namespace.get("recorded", False)
    threads, asked = whole_number("threads", namespace.get("threads", 1), 1), namespace.get("device", "auto")
    output_dir, dataset = project_path(namespace["output_dir"]), namespace["dataset"]
    device, reasons, folder = find_device(asked), [], None
    if on_colab() and not recorded:
        preset, reasons = choose(preset, device, "preset" in _injected(namespace), asked == "cpu")
        threads = threads if "threads" in _injected(namespace) else available_cores()
        if drive.connected():
            folder, _ = drive.keep(output_dir)
        if "row" not in namespace and not rows:
            preset, recorded = _results_for(preset, dataset, output_dir)
    rows = (namespace["row"],) if "row" in namespace else rows
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
    left = []
    for row in rows:  # the warm-up is shared
        wanted = left_to_train(row, preset, dataset, seeds, place, until or namespace.get("stage"))
        left += [stage for stage in wanted if not (stage == "warmup" and stage in left)]
    rendered = dataset != "synthetic" or namespace["data_root"] or (place and _has_frames(preset, place))
    print(_cost(left, preset, device, threads, dataset, 0 if rendered else rendering_seconds(preset, threads), recorded))
    if folder:
        _prepare(namespace, preset, dataset, output_dir, threads, folder)
    elif on_colab() and left and not recorded:
        print("what is trained is lost when this runtime ends: connect your Drive (folder icon at the left) to keep it, and run again")
    return preset, threads, recorded


def fit_frames(namespace):
    """``fit`` for the page that shows frames and trains nothing: says where it runs and what rendering costs; (preset, threads)."""
    from .notebook import project_path

    preset, threads, dataset = namespace["preset"], namespace["threads"], namespace["dataset"]
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
    if drive.same_frames(output_dir, folder):
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
    first = "to train them here" if recorded else "left to train"
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

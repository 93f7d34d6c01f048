"""What training costs on a device, in time and memory: an estimate.

Training costs multiply-adds in proportion to the pixels of the picture, since nearly all of them are the backbone's. A method of
Table 3 may have as many elsewhere: on a processor each of its trainings goes by its own kept seconds. A pass through a frozen encoder
costs a third of a training pass, evaluation after each epoch too. How many multiply-adds a second a processor makes comes from a run
on one with bfloat16 and from one without, whose seconds are kept; how many a GPU makes, from the results recorded at the paper's size
of picture where they come from such a GPU, else from what NVIDIA measured with a ResNet-50. ``RESNET50`` has these figures.
"""

import re
import statistics
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from . import peers
from .experiments import PEERS, ROWS, find_preset
from .records import PACKAGE, device_name, read_check, read_json

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
        "onward": settings.refine_epochs,
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
def recorded_speed(path=SECONDS, stage=None):
    """Multiply-adds of forward passes a second and thread that the run kept in ``path`` trained at, in its precision.

    The median over its stages of one thread, those of Tables 1 and 2, or the ``stage`` that is named; the multiply-adds are those of
    the backbone. None where there is no such run.
    """
    kept = read_check(path) if Path(path).exists() else None
    if kept is None:
        return None
    work = RESNET18_PER_PIXEL * kept["size"] ** 2
    ours = (part for part in kept["trainings"] if part["threads"] == 1 and (part["owner"] in ROWS if stage is None else part["stage"] == stage))
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
    """Multiply-adds of forward passes a second of each GPU of ``gpu_runs``: {(chip, whether in mixed precision): the most of them}.

    Over the trainings of our own rows, each counted once; not their median, since several may have shared the GPU.
    """
    found = {}
    for cards in gpu_runs(results).values():
        for card in cards:
            for stage, part in card["stages"].items():
                if stage not in _PEER_STAGES:
                    images = images_of(stage, part.get("preset", card["preset"]), card["dataset"])
                    made = images * RESNET18_PER_PIXEL * part["settings"]["size"] ** 2 / part["seconds"]
                    found.setdefault((chip(card["device"]), card["precision"] != "32-true"), {})[part["folder"]] = made
    return {key: max(speeds.values()) for key, speeds in found.items()}


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
    if device.kind == "cpu" and stage in _PEER_STAGES:
        own = recorded_speed(SECONDS if precision != "32-true" else SECONDS_IN_FLOAT32, stage)
        made = own * threads if own else made
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

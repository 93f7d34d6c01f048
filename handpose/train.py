"""The one training loop. A stage says what a batch costs; the loop never asks which stage it is."""

import itertools
import json
import math
import time
import warnings
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from tqdm.auto import tqdm

from . import processes
from .data.augment import draw_augmentation, warp
from .geometry import restore_pose
from .metrics import mepe
from .records import atomic_path
from .replay import PAYS, ReplayedStep, Step

#: Threads that read batches ahead for a GPU, and batches from which it pays to let cuDNN try its algorithms out first.
_READERS, _TRYING_PAYS = 2, 10_000


def choose_precision(precision, device):
    """Fabric's precision for a preset's: "auto" is bf16 where the hardware computes in it, else float32."""
    if precision != "auto":
        return precision
    if device.type == "cuda":
        native = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        native = getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)()
    return "bf16-mixed" if native else "32-true"


def make_fabric(precision="32-true", device="auto"):
    """Lightning Fabric on one device: "cpu", "cuda", or "auto", which is a GPU where there is one. Under torchrun: one a process.

    Raises ValueError for another device, and when the one asked for is not there.
    """
    from lightning_fabric import Fabric  # a second that only what trains need wait
    from lightning_fabric.strategies import DDPStrategy

    if device not in ("auto", "cpu", "cuda"):
        raise ValueError(f'device must be "auto", "cpu" or "cuda", got {device!r}')
    if device == "cuda" and not torch.cuda.is_available():
        raise ValueError('no GPU was found: use device="cpu", or a machine with one')
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    precision = choose_precision(precision, torch.device(device))
    here, machines = processes.started()
    if here * machines == 1:
        return Fabric(accelerator=device, devices=1, precision=precision)
    if device == "cuda" and here > torch.cuda.device_count():
        raise ValueError(f"torchrun started {here} processes here, and {torch.cuda.device_count()} GPUs were found: one each is needed")
    strategy = DDPStrategy(find_unused_parameters=True, timeout=processes.PATIENCE)
    fabric = Fabric(accelerator=device, devices=here, num_nodes=machines, strategy=strategy, precision=precision)
    fabric.launch()
    return fabric


def train(stage, training, evaluation, folder, seed, fabric, progress=True, root="palm"):
    """Train ``stage`` on ``training`` shards; returns the history, one dict an epoch. ``root`` is the metrics'.

    Writes ``folder/last.safetensors`` after every epoch and goes on from it when called again: an
    interrupted run ends as an undisturbed one. "gradients" in the history: mean norm of the watched weights' gradients,
    but in 16-mixed, which scales them.
    Every epoch draws its order, augmentation and latent samples from (seed, phase, epoch) alone; of several processes each
    takes its share of every batch (``processes``), and the first writes. Raises FloatingPointError when the loss or a
    prediction is no longer finite; the last good epoch stays on disk. Raises ValueError for fewer than two hands.
    """
    networks, preset = stage.networks, stage.preset
    if len(training) < 2:
        raise ValueError(f"{len(training)} hand to learn from: batch normalisation needs two at least")
    folder = Path(folder)
    batch = min(preset.batch, len(training))
    steps = len(training) // batch
    processes.synchronise(fabric.to_device(stage))
    start, history, saved_optimizer = _resume(folder / "last.safetensors", networks, fabric.strategy.precision)

    phases = stage.phases()
    watched = {} if getattr(fabric.strategy.precision, "scaler", None) else networks.watched
    torch.backends.cudnn.benchmark = steps * sum(phase.epochs for phase in phases) >= _TRYING_PAYS
    bar = tqdm(total=sum(phase.epochs for phase in phases) * steps, unit="batch", disable=not progress)
    bar.update(sum(record["steps"] for record in history))
    for number, phase in enumerate(phases):
        for name, module in networks.named_children():
            module.requires_grad_(name in phase.learns)
        model = fabric.setup_module(stage)
        learning = [weight for weight in networks.parameters() if weight.requires_grad]
        replayed = _can_replay(fabric) and phase.epochs * steps >= PAYS * stage.cycle
        groups = _groups(networks, learning, phase)
        if replayed:
            for group in groups:
                group["lr"] = torch.tensor(group["lr"], device=fabric.device)
        optimizer = fabric.setup_optimizers(torch.optim.Adam(groups, fused=True, capturable=replayed))
        if saved_optimizer and start[0] == number:
            _load_optimizer(optimizer, saved_optimizer)
        take = Step(model, optimizer, fabric.backward, watched)
        take = ReplayedStep(take, stage.cycle) if replayed else take  # type: ignore[assignment]
        for epoch in range(phase.epochs):
            if (number, epoch) < start:
                continue
            bar.set_description(f"{phase.name}, epoch {epoch + 1} of {phase.epochs}")
            draws = torch.Generator().manual_seed(epoch_seed(seed, number, epoch))
            torch.manual_seed(epoch_seed(seed, number, epoch))
            for name, module in networks.named_children():
                module.train(name in phase.learns)
            order = torch.randperm(len(training), generator=draws)
            totals, gradients, began = {}, {}, time.perf_counter()
            for step, (crops, pose, rows) in enumerate(_batches(training, order[: steps * batch].view(steps, batch), fabric)):
                angle, flip = map(processes.share, draw_augmentation(batch, draws, preset.max_rotation, preset.flip_probability))
                if preset.decay:
                    done = (epoch * steps + step) / (phase.epochs * steps)
                    for group in optimizer.param_groups:
                        _set_rate(group, phase.learning_rate * group["share"] * 0.5 * (1 + math.cos(math.pi * done)))
                seen = warp(crops, pose, preset.size, angle, flip, rows)
                terms, norms = take(seen, epoch * steps + step, watching=step % 8 == 0)
                for found, kept in ((terms, totals), (norms, gradients)):
                    for name, value in found.items():
                        kept.setdefault(name, []).append(value)
                bar.update()
            losses = {name: processes.mean(torch.stack(values).mean()).item() for name, values in totals.items()}
            seconds = time.perf_counter() - began
            finite = all(map(math.isfinite, losses.values())) and all(weight.isfinite().all() for weight in learning)
            error = _mean_error(networks, evaluation, preset, fabric, root) if finite else math.nan
            if not math.isfinite(error):
                raise FloatingPointError(
                    f"loss, weights or predictions are no longer finite in {phase.name}, epoch {epoch + 1} ({losses}); the last good "
                    f"epoch is in {folder}: lower the learning rate, or use precision 32-true"
                )
            history.append({"phase": phase.name, "epoch": epoch, "steps": steps, "seconds": round(seconds, 2),
                            "images_per_second": round(steps * batch / seconds, 1), "mepe": error,
                            "gradients": {name: torch.stack(norms).mean().item() for name, norms in gradients.items()}} | losses)  # fmt: skip
            with processes.first():
                if processes.rank() == 0:
                    _save(folder / "last.safetensors", networks, optimizer, (number, epoch + 1), history, fabric.strategy.precision)
    bar.close()
    networks.requires_grad_(True)
    return history


def _can_replay(fabric):
    """Whether steps can be recorded: on one GPU, and not where float16's scale decides, step by step, if weights move."""
    return fabric.device.type == "cuda" and processes.count() == 1 and not getattr(fabric.strategy.precision, "scaler", None)


def _set_rate(group, rate):
    """Set the learning rate of one of the optimiser's groups; a recorded step reads it from a tensor."""
    if isinstance(group["lr"], torch.Tensor):
        group["lr"].fill_(rate)
    else:
        group["lr"] = rate


def _groups(networks, learning, phase):
    """The optimiser's groups: weights that learn at the same share of the phase's learning rate, the whole of it first."""
    shares = {weight: share for name, share in phase.shares.items() for weight in networks.get_submodule(name).parameters()}
    groups = {1.0: []}
    for weight in learning:
        groups.setdefault(shares.get(weight, 1.0), []).append(weight)
    return [{"params": weights, "lr": phase.learning_rate * share, "share": share} for share, weights in groups.items() if weights]


def _batches(training, orders, fabric):
    """Of one batch after the other, this process's share of the rows in ``orders``, (steps, B): crops and poses on the device,
    and which of the crops are meant (None: all). Batches for a GPU are read and sent ahead by threads, while one is trained on,
    on a stream of their own, so that the network need not wait for them.
    """
    chosen = (processes.share(np.sort(order.numpy())) for order in orders)
    if fabric.device.type == "cpu":
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # PyTorch warns of a file that can't be written
            crops = torch.from_numpy(training.crops)
        yield from ((crops, torch.from_numpy(training.pose[rows]), rows) for rows in chosen)
        return

    sending = torch.cuda.Stream(fabric.device)

    def read(rows):
        crops = torch.empty((len(rows), *training.crops.shape[1:]), dtype=torch.uint8, pin_memory=True)
        np.take(training.crops, rows, axis=0, out=crops.numpy(), mode="clip")  # others than "clip" go through a buffer
        with torch.cuda.stream(sending):
            pose = torch.from_numpy(training.pose[rows]).pin_memory()
            sent = [part.to(fabric.device, non_blocking=True) for part in (crops, pose)]
            return sent, sending.record_event()

    with ThreadPoolExecutor(_READERS) as pool:
        ahead = deque(pool.submit(read, rows) for rows in itertools.islice(chosen, _READERS))
        while ahead:
            sent, arrived = ahead.popleft().result()
            ahead.extend(pool.submit(read, rows) for rows in itertools.islice(chosen, 1))
            training_on = torch.cuda.current_stream(fabric.device)
            training_on.wait_event(arrived)
            for part in sent:
                part.record_stream(training_on)  # its memory is not for the next batch before this one is done
            yield *sent, None


def epoch_seed(seed, phase, epoch):
    """Seed of one epoch's random draws, well apart for neighbouring epochs and phases."""
    return int(np.random.SeedSequence([seed, phase, epoch]).generate_state(1, np.uint64)[0] >> 1)


def predict(networks, shards, size, fabric, batch=256):
    """Poses of all hands in ``shards`` from the mean latent, in the camera frame: float32 (N, 21, 3), mm."""
    networks.eval()
    poses = outputs(networks, shards, size, fabric, batch)
    return restore_pose(poses, shards.rotation, shards.left, shards.root, shards.scale).astype(np.float32)


@torch.no_grad()
def outputs(networks, shards, size, fabric, batch=256):
    """What ``networks``, a function of images, give for each hand in ``shards``: float32 (N, 21, 3). Several processes share out the
    hands, and each gets what all have found.
    """
    found, part = [], processes.piece(len(shards))
    for start in range(part.start, part.stop, batch):
        rows = slice(start, min(start + batch, part.stop))
        crops, pose = torch.from_numpy(np.array(shards.crops[rows])), torch.from_numpy(shards.pose[rows])
        images = warp(*fabric.to_device((crops, pose)), size).images  # type: ignore[call-arg]
        found.append(networks(images).float().cpu().numpy())
    return processes.gather(np.concatenate(found) if found else np.zeros((0, 21, 3), np.float32))


def _mean_error(networks, evaluation, preset, fabric, root):
    """MEPE for the training curve, in the training's precision; a run card's figure is measured in float32. NaN where a pose is."""
    with fabric.autocast():
        predicted = predict(networks, evaluation, preset.size, fabric)
    return round(mepe(predicted, evaluation.target, root=root), 3) if np.isfinite(predicted).all() else math.nan


def _save(path, networks, optimizer, progress, history, precision):
    tensors = {f"networks.{name}": value for name, value in networks.state_dict().items()}
    for index, state in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{name}": torch.as_tensor(value) for name, value in state.items()}
    tensors = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    with atomic_path(path) as temporary:
        save_file(tensors, temporary, {"record": json.dumps({"progress": progress, "history": history, "precision": precision.state_dict()})})


def _resume(path, networks, precision):
    """Where training stands: next (phase, epoch), history, and the optimiser's tensors; loads the networks, and the scale of float16."""
    if not path.exists():
        return (0, 0), [], {}
    with safe_open(path, "pt") as file:
        record = json.loads(file.metadata()["record"])
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
    precision.load_state_dict(record["precision"])
    networks.load_state_dict({name[9:]: value for name, value in tensors.items() if name.startswith("networks.")})
    optimizer = {name[10:]: value for name, value in tensors.items() if name.startswith("optimizer.")}
    return tuple(record["progress"]), record["history"], optimizer


def _load_optimizer(optimizer, tensors):
    state = optimizer.state_dict()
    weights = [weight for group in optimizer.param_groups for weight in group["params"]]
    for name, value in tensors.items():
        index, key = name.split(".", 1)
        weight = weights[int(index)]
        if value.shape == weight.shape:
            # Files hold plain row-major tensors; fused Adam walks weight and moments in memory order.
            value = torch.empty_like(weight).copy_(value)
        state["state"].setdefault(int(index), {})[key] = value
    optimizer.load_state_dict(state)

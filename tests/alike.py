"""Does the code as it is train what the code of a commit trained? ``python -m tests.alike COMMIT [--rows ROW ...] [--trained FOLDER]``.

Each training of every row and method takes some steps from the same start, on the same hands, with both; losses, the first
gradients, and what the optimiser is told at each step are compared. ROW: these alone, where a change is meant to train others otherwise: what is kept says
nothing of those. FOLDER: results trained to the end by the code as it is, whose rows are recorded of then as well.
"""

import argparse
import io
import itertools
import os
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
#: One batch is all the training hands: an epoch is a step, and each phase has three, so that losses take turns and the rate falls.
#: Maps are as small as at `desktop`, and as in all that is recorded no picture is flipped.
PRESET = ("smoke+size=64+training=32+weights=none+decay=true+disentangle_epochs=3+align_frozen_epochs=3+align_epochs=3+refine_epochs=3"
          "+flip_probability=0+precision=32-true")  # fmt: skip
#: What the optimiser is told.
TOLD = ("lr", "betas", "eps", "weight_decay", "amsgrad")


def steps(output, rows=()):
    """Run in a process of its own, with the package of then or of now: {training: (terms of each step, gradient of the first, what
    the optimiser was told at each)} of ``rows``, of all where there are none, and their digests.
    """
    import numpy as np
    import torch

    from handpose import peers, runs, train
    from handpose.experiments import CONTROLS, PEERS, ROWS, find_preset, find_row, stage_owner
    from handpose.stages import STAGES, make_networks

    torch.set_num_threads(1)
    preset = find_preset(PRESET)
    data = runs.prepare_data(PRESET, output_dir="runs/alike", progress=False, workers=1)
    seen, told, found, step = [], [], {}, torch.optim.Adam.step

    def watched(self, *arguments, **options):
        weights = [weight for group in self.param_groups for weight in group["params"] if weight.grad is not None]
        if not seen:
            seen.append(torch.cat([weight.grad.flatten() for weight in weights]).numpy().copy())
        told.append([len(weights), *(np.ravel(group[name]).tolist() for group in self.param_groups for name in TOLD)])
        return step(self, *arguments, **options)

    torch.optim.Adam.step = watched
    for row in rows or (*ROWS, *CONTROLS, *PEERS):
        for stage in find_row(row).stages:
            name = f"{stage_owner(stage, row)}: {stage}"
            if name in found:
                continue
            if row in PEERS:
                networks = peers.make_networks(find_row(row).module, preset, 0)
                module, shards = peers.module(find_row(row).module).STAGES[stage](networks, preset), peers.training_shards(data, preset.view)
            else:
                networks = make_networks(stage, find_row(row), preset, 0)
                module, shards = STAGES[stage](networks, find_row(row), preset), data.training
            seen.clear()
            told.clear()
            with tempfile.TemporaryDirectory() as folder:
                history = train.train(module, shards, data.evaluation, folder, 0, train.make_fabric("32-true", "cpu"), False, data.root_joint)
            terms = [{key: value for key, value in epoch.items() if isinstance(value, float) and key not in _NOT_TERMS} for epoch in history]
            found[name] = (terms, seen[0], list(told))
    digests = {row if row in PEERS else "ours": runs.training_code(row) for row in rows or ("A", *PEERS)}
    np.save(output, np.array([(found, digests)], object), allow_pickle=True)


_NOT_TERMS = ("seconds", "images_per_second", "mepe")


def _ran(package, output, rows):
    """What ``steps`` finds with the package in the folder ``package``."""
    import numpy as np

    environment = os.environ | {"PYTHONPATH": str(package), "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, str(ROOT / "tests" / "alike.py"), "--steps", str(output), "--rows", *rows]
    subprocess.run(command, cwd=ROOT, env=environment, check=True, stdout=subprocess.DEVNULL)
    return np.load(output, allow_pickle=True)[0]


def compare(commit, rows=()):
    """One change of ``alike.found()``: the code of ``commit`` against the code as it is, for ``rows`` or for all."""
    import numpy as np

    from handpose.records import environment

    if subprocess.run(["git", "status", "--porcelain", "handpose"], cwd=ROOT, check=True, capture_output=True).stdout:
        raise ValueError("commit the code as it is first: what is kept names it by its commit")
    whole = subprocess.run(["git", "rev-parse", commit], cwd=ROOT, check=True, capture_output=True, text=True).stdout.strip()
    archive = subprocess.run(["git", "archive", commit, "handpose"], cwd=ROOT, check=True, capture_output=True).stdout
    with tempfile.TemporaryDirectory() as folder:
        with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
            tar.extractall(folder, filter="data")
        (then, old), (now, new) = (_ran(package, Path(folder) / name, rows) for package, name in ((folder, "then.npy"), (ROOT, "now.npy")))
    if then.keys() - now.keys():  # a new one has no results of older code
        raise ValueError(f"trainings that the code as it is lacks: {', '.join(then.keys() - now.keys())}")
    trainings = []
    for name, (terms, gradient, told) in then.items():
        terms_now, gradient_now, told_now = now[name]
        first, *later = itertools.starmap(terms_apart, zip(terms, terms_now, strict=True))
        apart = np.linalg.norm(gradient_now - gradient) / np.linalg.norm(gradient)
        trainings.append({"name": name, "steps": len(terms), "loss": first, "gradient": float(apart), "later": max(later), "told": float(told != told_now)})
    here = environment()
    digests = {row: [old[row], new[row]] for row in old}
    return {"then": whole, "now": here["commit"], "digests": digests, "trainings": trainings, "platform": here["platform"]}


def terms_apart(then, now):
    """The largest difference of a term over the loss; infinite where they are not the same terms."""
    if then.keys() != now.keys():
        return float("inf")
    return max(abs(now[key] - value) for key, value in then.items()) / sum(map(abs, then.values()))


def begins(change):
    return {row: then for row, (then, _) in change["digests"].items()}


def trained(folder):
    """The errors of the results in ``folder``, by the code as it is, beside those recorded of the same row and seed."""
    from handpose.records import read_json
    from handpose.results import RECORDED

    pairs, cards = [], []
    for path in sorted(Path(folder).glob("*/run.json")):
        before = RECORDED / Path(folder).name / path.parent.name / "run.json"
        card = read_json(path)
        if before.exists() and read_json(before)["training_code"] != card["training_code"] and card["stage"] != "warmup":
            old = read_json(before)
            pairs.append({"row": card["row"], "seed": card["seed"], "then": old["metrics"]["mepe"], "now": card["metrics"]["mepe"]})
            cards.append((old, card))
    if not pairs:
        raise ValueError(f"{folder} holds no result that is recorded of other code as well")
    old, card = cards[0]
    what = {"then": f"{old['device'].removeprefix('CPU: ')}, {old['precision']}", "now": f"{card['device'].removeprefix('CPU: ')}, {card['precision']}"}
    return {"preset": card["preset"], "commit": card["commit"], "trainings": pairs} | what


def main():
    parser = argparse.ArgumentParser(prog="python -m tests.alike", description=__doc__.split("\n")[0])
    parser.add_argument("commit", nargs="?", help="the code that the recorded results were trained with")
    parser.add_argument("--rows", nargs="*", default=[], metavar="ROW", help="these alone")
    parser.add_argument("--trained", type=Path, help="results trained to the end by the code as it is")
    parser.add_argument("--steps", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.steps:
        return steps(options.steps, options.rows)
    from handpose import alike
    from handpose.records import write_check

    if not options.commit and not options.trained:
        parser.error("give a commit, or results with --trained")
    kept = dict(alike.found())
    if options.commit:
        change = compare(options.commit, options.rows)
        # A change that begins where another does takes its place; one that begins where another ends comes after it.
        kept["changes"] = [one for one in kept["changes"] if begins(one) != begins(change)] + [change]
        print(f"{len(change['trainings'])} trainings: {'alike' if alike.passed(change) else 'NOT alike'}")
    if options.trained:
        kept["whole"] = trained(options.trained)
    write_check(alike.KEPT, kept)
    print("\n".join(alike.lines(kept)))
    return None


if __name__ == "__main__":
    sys.exit(main())

"""A batch: chosen rows with chosen seeds, each row and seed one executed notebook, and one table at the end.

``python -m handpose.batch --rows "A B D3" --seeds "0 1 2"`` trains on this machine; ``--profile`` names a Snakemake
profile for a cluster; ``--show`` only prints the table of what is there.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd

from .experiments import DATASETS, find_preset, find_row
from .records import PACKAGE, atomic_path, available_cores
from .results import Results, results_folder
from .runs import measure
from .tables import MEAN_POSE, NOT_RUN, mean_and_spread, trained_apart

ROOT = PACKAGE.parent


def parse(rows, seeds, preset="quick", dataset="synthetic"):
    """The rows and seeds of two texts: "A B D3" and "0 1 2", blanks or commas between -> (["A", "B", "D3"], [0, 1, 2]).

    Raises ValueError for an unknown row, preset or dataset, for a seed that is no integer, and when either is empty.
    """
    rows, seeds = (list(dict.fromkeys(str(text).replace(",", " ").split())) for text in (rows, seeds))
    find_preset(preset)
    if dataset not in DATASETS:
        raise ValueError(f"no dataset {dataset!r}; choose from {', '.join(DATASETS)}")
    for row in rows:
        find_row(row)
    wrong = [seed for seed in seeds if not seed.isdecimal()]
    if wrong:
        raise ValueError(f"{wrong[0]!r} is no seed: SEEDS of a batch is a list of them, \"0 1 2\" say")
    if not rows or not seeds:
        raise ValueError('a batch needs rows and seeds: ROWS="A B D3" SEEDS="0 1 2"')
    return rows, [int(seed) for seed in seeds]


def pages_folder(preset="quick", dataset="synthetic"):
    """Where the executed notebooks of batches lie, relative to the checkout."""
    return Path("runs") / "pages" / f"{dataset}-{preset}-batch"


def batch_table(results, rows, seeds):
    """Rows x seeds: DataFrame of texts indexed by (row, parts), two groups of columns, "MEPE (mm)" and "AUC 20-50".

    Each group has a column a seed, and "mean ± sd" (sample standard deviation) over the seeds that have been run. The last
    line is what predicting the mean training pose gets. results: ``Results``, or None where nothing has been run.
    """
    lines = [_line(row, find_row(row).parts, _measured(results, row, seeds), seeds) for row in rows]
    if results is not None:
        floor = measure(results.mean_pose, results.target, results.visible, results.root_joint)
        lines.append(_line(MEAN_POSE, "", {None: floor}, seeds))
    table = pd.DataFrame(lines).set_index(["row", "parts"])
    table.columns = pd.MultiIndex.from_tuples(table.columns)
    return table


def _measured(results, row, seeds):
    run = results.seeds(row) if results is not None else []
    found = {seed: results[row, seed].predicted for seed in seeds if seed in run}
    return {seed: measure(pose, results.target, results.visible, results.root_joint) for seed, pose in found.items()}


def _line(row, parts, measured, seeds):
    line = {"row": row, "parts": parts}
    for key, name, digits in (("mepe", "MEPE (mm)", 2), ("auc", "AUC 20-50", 3)):
        for seed in seeds:
            value = f"{measured[seed][key]:.{digits}f}" if seed in measured else "" if None in measured else NOT_RUN
            line[name, f"seed {seed}"] = value  # type: ignore[index]
        line[name, "mean ± sd"] = mean_and_spread([one[key] for one in measured.values()], digits)  # type: ignore[index]
    return line


def report(rows, seeds, preset="quick", dataset="synthetic", recorded=False):
    """What a batch prints at its end: the table, what is stale in it, and where results and pages lie."""
    folder = results_folder(preset, dataset, ROOT / "runs", recorded)
    try:
        results = Results(folder)
    except FileNotFoundError:
        results = None
    frames = f", {len(results)} evaluation frames" if results is not None else ""
    table = batch_table(results, rows, seeds)
    lines = [f"{(results and results.data_name) or dataset}, preset {preset}: {_count(rows, 'row')} x {_count(seeds, 'seed')}{frames}", "", _as_text(table), ""]
    if results is not None:
        lines += trained_apart({row: [results[row, seed] for seed in seeds if seed in results.seeds(row)] for row in rows})
    for row in rows if results is not None else ():
        for seed in seeds:
            stale = results[row, seed].stale if seed in results.seeds(row) else ""  # type: ignore[index, union-attr]
            lines += [f"stale: row {row}, seed {seed}: {stale}"] * bool(stale)
    lines.append(f"results  {folder.relative_to(ROOT)}/<row>-seed<seed>/")
    if recorded:
        lines.append("pages    book/runs/row-<row>.ipynb")
    else:
        lines.append(f"pages    {pages_folder(preset, dataset)}/row-<row>-seed<seed>.ipynb")
    return table, "\n".join(lines)


def _count(things, name):
    return f"{len(things)} {name}{'s' * (len(things) != 1)}"


def _as_text(table):
    """A table with two levels of columns as aligned text."""
    groups = table.columns.get_level_values(0)
    first = [place for place in range(len(groups)) if place == 0 or groups[place] != groups[place - 1]]
    head = ["", "", *(group if place in first else "" for place, group in enumerate(groups))]
    lines = [head, ["row", "parts", *table.columns.get_level_values(1)]]
    lines += [[*name, *values] for name, values in zip(table.index, table.to_numpy())]
    widths = np.max([[len(cell) for cell in line] for line in lines[1:]], axis=0)
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip() for line in lines)


def command(rows, seeds, preset="quick", dataset="synthetic", data_root="", cores=1, profile="", dry_run=False):
    """The Snakemake command of a batch, a list of texts: on ``cores`` of this machine, or as ``profile`` says.

    Paths are lists of one text: Snakemake reads a bare value as YAML, in which ``/data/a #b`` is the folder /data/a.
    """
    gpus = ["--resources", "gpu=1"] if _has_gpu() else []
    where = ["--profile", profile] if profile else ["--cores", str(cores), *gpus]
    paths = {"data_root": str(data_root or ""), "python": sys.executable}
    values = {"preset": preset, "dataset": dataset} | {name: json.dumps([path], ensure_ascii=False) for name, path in paths.items()}
    quiet = ("host",) if dry_run else ("rules", "host", "progress")
    values |= {"rows": " ".join(rows), "batch_seeds": " ".join(map(str, seeds))}
    return [
        sys.executable, "-m", "snakemake", "batch", "--snakefile", str(ROOT / "notebooks" / "Snakefile"), *where, "--quiet", *quiet,
        "--rerun-incomplete", "--keep-going", "--nolock", *["--dry-run"] * dry_run,
        "--config", *(f"{name}={value}" for name, value in values.items()),
    ]  # fmt: skip


def _check_data(dataset, data_root):
    if dataset != "synthetic" and not data_root:
        raise ValueError(f"dataset {dataset} needs a data root: the folder where you unpacked it")
    if data_root and not Path(data_root).expanduser().is_dir():
        raise ValueError(f"data root {data_root} is not a folder")


def _has_gpu():
    import torch

    return torch.cuda.is_available()


def main(arguments=None):
    """Command line: train rows x seeds, one executed notebook each, and print one table."""
    parser = argparse.ArgumentParser(prog="python -m handpose.batch", description=main.__doc__)
    parser.add_argument("--rows", required=True, help='"A B D3"; a row without a name is its parts, "injection+kcs"')
    parser.add_argument("--seeds", default="0", help='"0 1 2"')
    for name, default in {"preset": "quick", "dataset": "synthetic", "data-root": "", "profile": ""}.items():
        parser.add_argument(f"--{name}", default=default)
    parser.add_argument("--cores", type=int, default=available_cores())
    parser.add_argument("--dry-run", action="store_true", help="only say which notebooks would run")
    parser.add_argument("--show", action="store_true", help="train nothing: the table of what is there")
    parser.add_argument("--recorded", action="store_true", help="train nothing: the table of the recorded run")
    options = parser.parse_args(arguments)
    try:
        rows, seeds = parse(options.rows, options.seeds, options.preset, options.dataset)
        if options.cores < 1:
            raise ValueError(f"cores is {options.cores}: it must be a whole number, 1 or more")
        if not (options.show or options.recorded):
            _check_data(options.dataset, options.data_root)
    except ValueError as error:
        sys.exit(f"error: {error}")
    what = dict(preset=options.preset, dataset=options.dataset)
    code = 0
    if not (options.show or options.recorded):
        where = dict(data_root=options.data_root, cores=options.cores, profile=options.profile, dry_run=options.dry_run)
        code = subprocess.run(command(rows, seeds, **what, **where)).returncode
    if not options.dry_run:
        table, text = report(rows, seeds, **what, recorded=options.recorded)
        print(text)
        if not (options.show or options.recorded):
            place = ROOT / pages_folder(**what) / "table.csv"
            with atomic_path(place) as temporary:
                table.to_csv(temporary)
            print(f"table    {place.relative_to(ROOT)}")
    sys.exit(code)


if __name__ == "__main__":
    main()

"""What rows save by sharing stages, and how two processor cores are best used."""

import multiprocessing
import os
import queue
import time

from handpose.estimate import SECONDS
from handpose.experiments import ROWS, row_stages, stage_owner
from handpose.growth import trainings
from handpose.records import available_cores, read_check
from tests.bench import Figure
from tests.bench.networks import PRESET, ROW

STEPS = 40


def of_rows():
    """From the seconds that are kept of a whole run on a processor: nothing is trained here."""
    kept = read_check(SECONDS)
    seconds = {(part["owner"], part["stage"]): part["seconds"] for part in kept["trainings"] if part["seed"] == 0}
    shared = trainings(ROWS, kept["preset"])
    chains = [(stage_owner(stage, row), stage) for row in ROWS for stage in row_stages(row, kept["preset"])]
    alone, total = sum(seconds[one] for one in chains), sum(seconds[one] for one in shared)
    what = f"trainings of the {len(ROWS)} rows of Tables 1 and 2 when they share stages, out of those when each row trains alone"
    yield Figure("sharing", what, f"{len(shared)} of {len(chains)}")
    yield Figure("sharing", "recorded seconds, each row alone over all together", f"{alone / total:.1f} times")


def _work(threads, begin, done):
    os.environ["OMP_NUM_THREADS"] = str(threads)
    import torch

    from handpose.cost import Steps

    torch.set_num_threads(threads)
    steps = Steps("disentangle", ROW, PRESET)
    steps.seconds()
    begin.wait()
    for _ in range(STEPS):
        steps.seconds()
    done.put(len(steps.batch.images) * STEPS)


def _rate(processes, threads):
    """Pictures a second of ``processes`` that train side by side, ``threads`` each."""
    context = multiprocessing.get_context("spawn")
    begin, done = context.Barrier(processes + 1), context.Queue()
    working = [context.Process(target=_work, args=(threads, begin, done)) for _ in range(processes)]
    try:
        for one in working:
            one.start()
        while begin.n_waiting < processes:
            _refuse_dead(working)
            time.sleep(0.05)
        begin.wait()
        began = time.perf_counter()
        pictures = sum(_got(done, working) for _ in working)
        return pictures / (time.perf_counter() - began)
    finally:
        for one in working:
            one.kill()  # those that are done have nothing left to do
            one.join()


def _got(done, working):
    while True:
        try:
            return done.get(timeout=1)
        except queue.Empty:
            _refuse_dead(working)


def _refuse_dead(working):
    """RuntimeError when one of the processes ``working`` ended with an error: nobody waits for what it will not say."""
    codes = [one.exitcode for one in working if one.exitcode]
    if codes:
        raise RuntimeError(f"a training ended with exit code {codes[0]}: what it said stands above")


def of_processes():
    if available_cores() < 2:
        return
    two, one = max(_rate(2, 1) for _ in range(2)), max(_rate(1, 2) for _ in range(2))
    yield Figure("cores", "two trainings of one thread, pictures a second together", f"{two:.0f}")
    yield Figure("cores", "one training of two threads", f"{one:.0f}")
    yield Figure("cores", "two of one thread over one of two", f"{two / one:.2f} times")

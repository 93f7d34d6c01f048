"""What was trained on Colab, kept in the reader's Google Drive: a runtime that dies takes ten minutes with it, no more.

Training works on the runtime's own disk. Frames and shards stay there: they are many gigabytes, and are made again. Stages,
results and weights (some hundred megabytes) are copied to the Drive every few minutes, and back when a new runtime starts;
training then goes on from the last epoch that was copied. Writing each epoch straight to the Drive would fill it: a file that
is replaced there goes to the bin, at full size.
"""

import atexit
import contextlib
import os
import shutil
import sys
import threading
from pathlib import Path

from .records import read_json, write_json

#: Where Colab puts the Drive once the reader has connected it.
DRIVE = Path("/content/drive/MyDrive")
_KEPT = ("stages", "results", "weights")
_UNFINISHED, _CARD, _OLD = "last.safetensors", "run.json", ".old"
_running = {}


def connected(drive=None):
    """Whether a Drive is connected; one that was disconnected while its folder is open is not."""
    return os.path.isdir(drive or DRIVE)


def keep(output_dir, drive=None, every=600.0):
    """Fetch into ``output_dir`` what the Drive's folder ``handpose`` holds, then copy there what is new, every ``every`` seconds.

    Goes on while this process lives, with a last copy at its end. Returns the Drive's folder, and a function that copies
    once more and stops. Where not all can be fetched, that is said, nothing is copied, which would replace what the Drive
    holds, and the folder is None.
    """
    output_dir, folder = Path(output_dir), (drive or DRIVE) / "handpose"
    if str(output_dir) not in _running:
        if not _try_to_fetch(folder, output_dir):
            return None, lambda: None
        stopped = threading.Event()

        def stop():
            if not stopped.is_set():
                stopped.set()
                _running.pop(str(output_dir), None)
                _try_to_store(output_dir, folder)

        def work():
            while not stopped.wait(every):
                _try_to_store(output_dir, folder)

        threading.Thread(target=work, daemon=True).start()
        atexit.register(stop)
        _running[str(output_dir)] = stop
    return folder, _running[str(output_dir)]


def _try_to_fetch(folder, output_dir):
    try:
        folder.mkdir(parents=True, exist_ok=True)
        fetch(folder, output_dir)
        return True
    except OSError as error:  # full, or disconnected
        print(f"not all was fetched from the Drive ({error}): nothing is kept there; make room, connect it, and run this cell again", file=sys.stderr)
        return False


def _try_to_store(output_dir, folder):
    try:
        store(output_dir, folder)
    except OSError as error:  # a full or disconnected Drive must not end the training
        print(f"not copied to the Drive ({error}); training goes on, the next try is in some minutes", file=sys.stderr)


def store(output_dir, folder):
    """Copy what is new or has changed in ``output_dir`` to ``folder``, a stage's card last; returns what was copied."""
    copied = []
    for path in _files(output_dir):
        name, target = path.relative_to(output_dir), Path(folder) / path.relative_to(output_dir)
        try:
            there, here = target.stat() if target.exists() else None, path.stat()
            if there is None or (there.st_size, int(there.st_mtime)) != (here.st_size, int(here.st_mtime)):
                _copy(path, target)
                copied.append(str(name))
        except FileNotFoundError:
            if path.exists():
                raise
            continue  # it went while we looked: the stage is finished
        if path.name == _CARD and (target.parent / _UNFINISHED).exists():
            _drop(target.parent / _UNFINISHED)
    return copied


def fetch(folder, output_dir):
    """Copy to ``output_dir`` what ``folder`` holds and it lacks; returns what was copied."""
    copied = []
    for old in Path(folder).rglob(f".*{_OLD}"):  # the runtime ended in the middle of a copy
        if not old.with_name(old.name[1 : -len(_OLD)]).exists():
            os.replace(old, old.with_name(old.name[1 : -len(_OLD)]))
    for path in _files(folder):
        target = Path(output_dir) / path.relative_to(folder)
        done = path.name == _UNFINISHED and (path.parent / _CARD).exists()
        if not target.exists() and not done and path.stat().st_size:
            _copy(path, target)
            copied.append(str(path.relative_to(folder)))
    return copied


def carry_fingerprint(output_dir, folder):
    """Let training go on with frames that were rendered anew, on another processor.

    Two processors may round a grey value differently; the frames' fingerprint, and with it the name of every stage, is then
    another, and nothing that the Drive holds would be found. Where the recipe of the shards is the same, of rendered
    hands but for the sizes of the pictures' files, the first fingerprint stays. Returns the names of the shards for which that was needed.
    """
    changed = []
    for path in sorted(Path(output_dir).glob("shards/*/shards.json")):
        kept, made = Path(folder) / path.relative_to(output_dir), read_json(path)
        try:
            if not kept.exists():
                write_json(kept, made)
                continue
            first = read_json(kept)
        except OSError as error:  # as in ``_try_to_store``
            print(f"not kept in the Drive which frames these are ({error}); training goes on", file=sys.stderr)
            continue
        recipe, kept_recipe = ({**one["settings"]} for one in (made, first))
        if path.parent.name.startswith("synthetic-"):  # the sizes of a dataset's own files don't change by themselves
            recipe["pictures"] = kept_recipe["pictures"] = None
        if recipe == kept_recipe and first["skipped"] == made["skipped"] and first["fingerprint"] != made["fingerprint"]:
            write_json(path, made | {"fingerprint": first["fingerprint"], "rendered_anew": made["fingerprint"]})
            changed.append(path.parent.name)
    return changed


def _files(folder):
    """Files worth keeping, those of a folder before its card."""
    found = [path for name in _KEPT for path in (Path(folder) / name).rglob("*")]
    found = [path for path in found if path.is_file() and not any(part.startswith(".") for part in path.relative_to(folder).parts)]
    return sorted(found, key=lambda path: (path.parent, path.name == _CARD, path.name))


def _copy(path, target):
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f".{target.name}.part")
    try:
        shutil.copy2(path, part)
    except OSError:  # a full Drive gets no fuller
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
        raise
    old = target.with_name(f".{target.name}{_OLD}")
    if target.exists():
        os.replace(target, old)
    os.replace(part, target)
    if old.exists():
        _drop(old)


def _drop(path):
    """A file that is removed goes to the Drive's bin: there it should weigh nothing."""
    os.truncate(path, 0)
    path.unlink()

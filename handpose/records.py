"""Files that are whole or absent, hashes that name what made them, and the run card."""

import ast
import contextlib
import errno
import functools
import hashlib
import io
import json
import os
import platform
import re
import resource
import subprocess
import sys
import threading
import tokenize
import uuid
from pathlib import Path

try:
    import fcntl
except ImportError:  # not on Windows
    fcntl = None  # type: ignore[assignment]

PACKAGE = Path(__file__).resolve().parent
#: Source that decides what a stage learns; a change in it makes a new identity, a new figure style does not.
TRAINING_CODE = (
    "skeleton.py", "losses.py", "models.py", "stages.py", "train.py", "replay.py", "processes.py", "geometry.py", "data/augment.py", "data/resample.py",
)  # fmt: skip
#: Python 3.11 loses count of its depth, and stops, when two threads parse at once.
_PARSING = threading.Lock()
_BARRED = (errno.EROFS, errno.EACCES, errno.EPERM)
_TEMPORARY = re.compile(r"\.[0-9a-f]{32}\..")


_UMASK = os.umask(0o22)  # it can only be read by setting it
os.umask(_UMASK)


@contextlib.contextmanager
def atomic_path(path):
    """Yield a temporary path beside ``path``; it takes its place when the block ends well, and goes when not."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{uuid.uuid4().hex}.{path.name}")
    try:
        yield temporary
        if temporary.is_file():  # safetensors lets nobody else read what it writes
            temporary.chmod(0o666 & ~_UMASK)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def only_one(folder, last=None):
    """Let one process at a time make ``folder``; another one that wants it waits here, and then finds it made.

    Yields True. Where nobody may write and ``last``, the file that is written last, is there, nothing is left to make:
    yields False, without a lock. Raises OSError where it is not there.
    """
    folder = Path(folder)
    with contextlib.ExitStack() as held:
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            file = held.enter_context(open(folder.with_name(f".{folder.name}.lock"), "w"))
        except OSError as error:
            if error.errno not in _BARRED or last is None or not Path(last).exists():
                raise
            file = None
        if file and fcntl:
            fcntl.flock(file, fcntl.LOCK_EX)
        yield file is not None


def sweep(folder):
    """Remove what killed writers left in ``folder`` beside the files that they were writing; only for one who writes there alone."""
    for path in Path(folder).glob(".*"):
        if _TEMPORARY.match(path.name):
            path.unlink(missing_ok=True)


def expanded(path):
    """A path whose "~" or "~NAME" is a user's folder; where there is no such user it is a file's name, and stays."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        return Path(path)


def print_any_name():
    """Let names of files be printed that are no text in the terminal's encoding: what can't be shown as ``\\x``."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def write_json(path, value):
    """Write ``value`` as indented JSON, atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(value, indent=1) + "\n")


def read_json(path):
    """Read a JSON file. Raises ValueError with the path when it is not JSON."""
    try:
        return json.loads(Path(path).read_text())
    except (ValueError, RecursionError) as error:  # no text, no JSON, or nested without end
        raise ValueError(f"{path} is not valid JSON: {error}") from None


def read_arrays(path):
    """All arrays of an .npz file, {name: array}. Raises FileNotFoundError, and ValueError with the path when it is damaged."""
    import numpy as np

    try:
        with open(path, "rb") as file, np.load(file) as arrays:
            return {name: arrays[name] for name in arrays.files}
    except (FileNotFoundError, PermissionError, MemoryError):
        raise
    except Exception as error:  # a broken archive can raise nearly anything
        text = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(f"{path} is damaged ({text[:200]}): remove its folder and make it again") from None


def write_check(path, result):
    """Write what a check found, a dict, as ``write_json`` does, with its own digest: a later change by hand shows."""
    result = json.loads(json.dumps(result))
    write_json(path, result | {"digest": digest(result)})


def read_check(path):
    """What ``write_check`` kept. Raises ValueError when it has been changed since, FileNotFoundError when it is not there."""
    result = read_json(path)
    kept = result.pop("digest", None)
    if kept != digest(result):
        raise ValueError(f"{path} was changed after it was measured: run the check again")
    return result


def digest(value):
    """First 16 hex digits of the SHA-256 of bytes, or of a JSON value with sorted keys."""
    data = value if isinstance(value, bytes) else json.dumps(value, sort_keys=True).encode()
    return hashlib.sha256(data).hexdigest()[:16]


def source_digest(*modules):
    """Digest of the package's source files named, "data/shards.py" say; of all of them when none is named.

    Comments, docstrings and blank lines of Python don't count: they change no result.
    """
    paths = [PACKAGE / module for module in modules] or sorted(PACKAGE.rglob("*.py"))
    texts = [path.read_text() if path.suffix != ".py" else bare_source(path.read_text()) for path in paths]
    return digest("".join(path.relative_to(PACKAGE).as_posix() + text for path, text in zip(paths, texts)).encode())


@functools.cache
def bare_source(text):
    """Python source without comments, docstrings, blank lines and trailing blanks."""
    lines = text.splitlines()
    with _PARSING:
        tree = ast.parse(text)
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            lines[node.lineno - 1 : node.end_lineno] = [""] * (node.end_lineno - node.lineno + 1)  # type: ignore[operator]
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT and lines[token.start[0] - 1]:
            lines[token.start[0] - 1] = lines[token.start[0] - 1][: token.start[1]]
    return "\n".join(line.rstrip() for line in lines if line.strip())


def available_cores():
    """Number of processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def _git(*arguments):
    result = subprocess.run(["git", *arguments], cwd=PACKAGE, capture_output=True, text=True)
    return result.stdout.strip() if result.returncode == 0 else None


def this_commit():
    """The commit of this checkout, 40 hex digits; None without git and where the package lies within another repository."""
    try:
        top = _git("rev-parse", "--show-toplevel")
        return _git("rev-parse", "HEAD") if top and Path(top).resolve() == PACKAGE.parent else None
    except FileNotFoundError:
        return None


def peak_memory():
    """Largest resident memory of this process so far, MiB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (1024 * 1024 if sys.platform == "darwin" else 1024))


def device_name(device):
    """The accelerator's name for a CUDA ``torch.device``, else the processor's."""
    if device.type == "cuda":
        import torch

        return torch.cuda.get_device_name(device)
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return "CPU: " + line.split(":", 1)[1].strip()
    return f"CPU: {platform.processor() or platform.machine()}"


def environment():
    """What a run card says of where it ran: commit, dirty flag, versions of Python and the libraries, platform.

    ``commit`` and ``dirty`` are None outside a git checkout. Generated folders do not make a tree dirty.
    """
    import lightning_fabric
    import numpy
    import torch
    import torchvision

    commit = this_commit()
    return {
        "commit": commit,
        "dirty": None if commit is None else bool(_git("status", "--porcelain")),
        "source": source_digest(),
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "torchvision": torchvision.__version__,
            "lightning-fabric": lightning_fabric.__version__,
            "numpy": numpy.__version__,
        },
        "platform": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
    }

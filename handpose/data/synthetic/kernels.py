"""Keeps Numba's compiled kernels honest.

Numba compares a cached kernel with the file it stands in, not with the kernels it calls from other files:
after a change there it would run old machine code. So the cache beside the sources goes whenever any file here has changed.

Numba keeps kernels where NUMBA_CACHE_DIR says, or beside their sources, or in the user's cache where that can't be written:
outside the package in a folder that is named after the sources, since copies of other versions may keep theirs there too.
Where none of these can be written it refuses to compile: then they are kept in a temporary folder.
"""

import contextlib
import hashlib
import os
import stat
import tempfile
from pathlib import Path

import numba

HERE = Path(__file__).parent


def _digest(folder):
    return hashlib.sha256(b"".join(path.read_bytes() for path in sorted(folder.glob("*.py")))).hexdigest()


def drop_stale(folder=HERE):
    """Remove the compiled kernels beside ``folder``'s sources unless they were made from these very sources."""
    cache, digest = folder / "__pycache__", _digest(folder)
    stamp = cache / "kernels.sha256"
    with contextlib.suppress(OSError):  # a read-only installation does not change
        if stamp.exists() and stamp.read_text() == digest:
            return
        for pattern in ("*.nbi", "*.nbc"):
            for path in cache.glob(pattern):
                path.unlink(missing_ok=True)
        cache.mkdir(exist_ok=True)
        stamp.write_text(digest)


def find_place():
    """Where Numba would keep kernels outside the package, or nowhere, name it a folder for those of these sources alone."""
    try:
        kernel = numba.njit(cache=True)(_digest)  # looks for a place; compiles nothing
    except RuntimeError:
        _keep_in(_own_folder())
        return
    stats = getattr(kernel, "stats", None)
    if stats is None:  # NUMBA_DISABLE_JIT: the function came back as it was
        return
    found = Path(stats.cache_path)
    shared = found.parent  # Numba adds a folder for each folder of sources
    if found.name != "__pycache__" and not shared.name.endswith(_mark()):  # or a process above named it
        _keep_in(shared / f"handpose-{_mark()}")


def _keep_in(folder):
    os.environ["NUMBA_CACHE_DIR"] = str(folder)
    numba.core.config.reload_config()


def _mark():
    return _digest(HERE)[:16]


def _own_folder():
    """A folder that nobody else can write: what Numba finds there, it runs."""
    user = os.getuid() if hasattr(os, "getuid") else 0
    folder = Path(tempfile.gettempdir()) / f"handpose-{user}-{_mark()}"
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    found = folder.lstat()
    own = stat.S_ISDIR(found.st_mode) and found.st_mode & 0o022 == 0 and found.st_uid == user
    return folder if own else Path(tempfile.mkdtemp(prefix="handpose-"))


drop_stale()
find_place()

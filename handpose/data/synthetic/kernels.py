"""Keeps Numba's compiled kernels honest.

Numba compares a cached kernel with the file it stands in, not with the kernels it calls from other files:
after a change there it would run old machine code. So the cache goes whenever any file here has changed.

Numba keeps kernels beside their sources, or in the user's cache where that can't be written, and refuses to compile where
neither can: then they are kept in a temporary folder.
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
    """Where Numba finds no place for its cache, name it one: a folder for temporary files, of this user and these sources alone."""
    try:
        numba.njit(cache=True)(_digest)  # looks for a place; compiles nothing
    except RuntimeError:
        os.environ["NUMBA_CACHE_DIR"] = str(_own_folder())
        numba.core.config.reload_config()


def _own_folder():
    """A folder that nobody else can write: what Numba finds there, it runs."""
    user = os.getuid() if hasattr(os, "getuid") else 0
    folder = Path(tempfile.gettempdir()) / f"handpose-{user}-{_digest(HERE)[:16]}"
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    found = folder.lstat()
    own = stat.S_ISDIR(found.st_mode) and found.st_mode & 0o022 == 0 and found.st_uid == user
    return folder if own else Path(tempfile.mkdtemp(prefix="handpose-"))


drop_stale()
find_place()

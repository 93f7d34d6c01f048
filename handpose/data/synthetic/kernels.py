"""Keeps Numba's compiled kernels honest.

Numba compares a cached kernel with the file it stands in, not with the kernels it calls from other files:
after a change there it would run old machine code. So the cache goes whenever any file here has changed.
"""

import contextlib
import hashlib
from pathlib import Path

HERE = Path(__file__).parent


def drop_stale(folder=HERE):
    """Remove the compiled kernels beside ``folder``'s sources unless they were made from these very sources."""
    cache = folder / "__pycache__"
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in sorted(folder.glob("*.py")))).hexdigest()
    stamp = cache / "kernels.sha256"
    with contextlib.suppress(OSError):  # a read-only installation does not change
        if stamp.exists() and stamp.read_text() == digest:
            return
        for pattern in ("*.nbi", "*.nbc"):
            for path in cache.glob(pattern):
                path.unlink(missing_ok=True)
        cache.mkdir(exist_ok=True)
        stamp.write_text(digest)


drop_stale()

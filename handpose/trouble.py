"""What a machine lacks, said in one line with what to do: a full disk, a folder that can't be written, too little memory."""

import contextlib
import errno
import os
import re

from safetensors import SafetensorError

_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_BARRED = (errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.EEXIST, errno.EISDIR, errno.ENAMETOOLONG)
_GO_ON = "then the same call goes on where it stopped"


def line_of(error, doing="this"):
    """The line for an exception that says what the machine lacks while ``doing`` something; None for any other.

    PyTorch and safetensors have no types of their own for some of these: their texts are known here.
    """
    text = " ".join(str(error).split())
    number, place = _number_and_place(error, text)
    if number in _ROOM:
        return f"the disk is full{place} while {doing}: make room, {_GO_ON}"
    if number in _BARRED:
        return f"a file can't be written{place} while {doing} ({os.strerror(number).lower()}): choose another output_dir, or change who may write there"
    if number == errno.EIO:
        return f"the disk failed{place} while {doing}: look at the disk, {_GO_ON}"
    if _is_memory(error, text):
        return (f"out of memory while {doing}: end other programs, {_GO_ON}; or take a smaller batch, "
                "+batch=16 after the preset's name, which is another run")  # fmt: skip
    if isinstance(error, SafetensorError):
        return f"a file of weights is damaged ({text[:200]}) while {doing}: remove it, {_GO_ON}"
    return None


def _number_and_place(error, text):
    """The system's error number and " (FILE)", from an OSError or from the text of a safetensors error."""
    if isinstance(error, OSError) and not isinstance(error, FileNotFoundError):
        return error.errno, f" ({error.filename})" if error.filename else ""
    found = re.search(r"\(os error (\d+)\)", text) if isinstance(error, SafetensorError) else None
    return (int(found[1]), "") if found else (None, "")


def _is_memory(error, text):
    lacks = ("can't allocate memory", "out of memory", "Cannot allocate memory", "CUBLAS_STATUS_ALLOC_FAILED")
    return isinstance(error, MemoryError) or isinstance(error, RuntimeError | OSError) and any(words in text for words in lacks)


@contextlib.contextmanager
def said_plainly(doing):
    """Raise ValueError with ``line_of`` in place of what the machine lacks; everything else passes. A decorator, too."""
    try:
        yield
    except Exception as error:
        line = line_of(error, doing)
        if line is None:
            raise
        raise ValueError(line) from None

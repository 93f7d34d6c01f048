"""Files from elsewhere, read without running them and without believing the sizes that they state.

RHD's labels are a pickle, which is a program; whatever this one asks for but arrays of numbers is refused.
"""

import contextlib
import io
import numbers
import os
import pickle
import re
import struct
from pathlib import Path

import numpy as np

_LARGEST = 2**30
_REPEATS = 4  # times the length of a pickle: so much text it may hand on in all, however often it names the same one


def one_line(error):
    """An error's text without line breaks, of a length that a terminal holds; its type where it has no text."""
    return (" ".join(str(error).split()) or type(error).__name__)[:300]


def read_bytes(path, largest=_LARGEST):
    """The bytes of an ordinary file. Raises FileNotFoundError when it is missing; ValueError for anything that is no file
    of at most ``largest`` bytes, or that can't be read."""
    path = Path(path)
    try:
        if not path.is_file():  # a pipe would wait for ever
            if os.path.lexists(path):
                raise ValueError(f"{path} is no ordinary file: unpack the dataset again")
            raise FileNotFoundError(f"{path} is missing: unpack the dataset again")
        size = path.stat().st_size
        if size > largest:
            raise ValueError(f"{path} has {size} bytes, more than any such file of the dataset: unpack it again")
        return path.read_bytes()
    except OSError as error:
        if error.errno is None:
            raise
        raise ValueError(f"{path} can't be read ({error.strerror}): check the disk and who may read it") from None


def is_folder(path):
    """Whether ``path`` is a folder. Raises ValueError where the system doesn't say: a name too long, a folder above it closed."""
    return _looked(path, Path.is_dir)


def exists(path):
    """Whether there is anything at ``path``. Raises ValueError as ``is_folder`` does."""
    return _looked(path, Path.exists)


def _looked(path, look):
    try:
        return look(Path(path))
    except OSError as error:
        raise ValueError(f"{path} can't be looked at ({error.strerror}): check its name and who may read it") from None


def file_sizes(folder):
    """{name: bytes} of the ordinary files in a folder, and of what links lead to."""
    sizes = {}
    with os.scandir(folder) as entries:
        for entry in entries:
            with contextlib.suppress(OSError):  # a link to itself
                if entry.is_file():
                    sizes[entry.name] = entry.stat().st_size
    return sizes


# Pickles


class _Type:
    """Stands in for numpy.dtype: numbers only."""

    def __init__(self, code, align=False, copy=False):
        if not (isinstance(code, str) and re.fullmatch(r"[<>|=]?[bfiu][1248]", code)):
            raise pickle.UnpicklingError(f"it asks for values of type {code!r:.50}, which no RHD annotation needs")
        self.dtype = np.dtype(code, copy=True)  # one of its own, as a pickle's: pickled again, its bytes are the same

    def finish(self, state):
        order, rest = state[1], state[2:5]
        if order not in ("<", ">", "|", "=") or rest != (None, None, None):
            raise pickle.UnpicklingError("it asks for values of a compound type, which no RHD annotation needs")
        self.dtype = np.dtype(order + self.dtype.str[1:], copy=True)


class _Array:
    """Stands in for an array until its values have been read."""

    value = None

    def finish(self, state):
        _, shape, kind, fortran, raw = state
        self.value = _frombuffer(raw, kind, shape, "F" if fortran else "C")


def _frombuffer(raw, kind, shape, order, axes=None):
    raw = raw.encode("latin1") if isinstance(raw, str) else raw  # a byte string of Python 2
    flat = np.frombuffer(raw, kind.dtype)
    if axes is not None:
        return flat.reshape(shape).transpose(axes)
    return flat.reshape(shape, order=order)


def _scalar(kind, raw):
    return _frombuffer(raw, kind, (), "C")[()]


def _encode(text, encoding):
    if encoding not in ("latin1", "latin-1"):
        raise pickle.UnpicklingError(f"it asks for the encoding {encoding!r:.50}, which no RHD annotation needs")
    return text.encode("latin1")  # how Python 3 writes array bytes in protocol 2


_STAND_INS = {
    ("numpy", "ndarray"): "numpy.ndarray",  # only ever named, never called
    ("numpy", "dtype"): _Type,
    ("_codecs", "encode"): _encode,
    **{
        (f"{package}.{module}", name): function
        for package in ("numpy.core", "numpy._core")
        for module, name, function in (
            ("multiarray", "_reconstruct", lambda kind, shape, code: _Array()),
            ("multiarray", "scalar", _scalar),
            ("numeric", "_frombuffer", _frombuffer),
        )
    },
}
_REFUSED = [getattr(pickle, name)[0] for name in (
    "INST", "OBJ", "NEWOBJ", "NEWOBJ_EX", "EXT1", "EXT2", "EXT4", "PERSID", "BINPERSID",
    "EMPTY_SET", "ADDITEMS", "FROZENSET", "NEXT_BUFFER", "READONLY_BUFFER",
)]  # fmt: skip


class _ArraysOnly(pickle._Unpickler):
    """Constructs numbers, strings, lists, tuples, dicts and arrays of numbers, nothing else.

    Python's own unpickler and not the one in C, which sets aside as much memory as a few bytes of a hostile file ask
    for; the labels of all of RHD take a second longer. Keys are strings and small numbers: others can be made to take
    for ever to look up.
    """

    dispatch = {code: load for code, load in pickle._Unpickler.dispatch.items() if code not in _REFUSED}  # noqa: RUF012

    def __init__(self, data):
        super().__init__(io.BytesIO(data), encoding="latin1")
        self.texts_left = _REPEATS * len(data)

    def find_class(self, module, name):
        if (module, name) not in _STAND_INS:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which no RHD annotation needs")
        return _STAND_INS[module, name]

    def _spend(self, given):
        """Texts that are handed on may become bytes, new ones each time, though a few bytes of the file name one again."""
        self.texts_left -= sum(len(value) for value in given if isinstance(value, str))
        if self.texts_left < 0:
            raise pickle.UnpicklingError("it repeats its texts over and over, which no RHD annotation needs")

    def load_reduce(self):
        given = self.stack.pop()
        self._spend(given)
        self.stack[-1] = self.stack[-1](*given)

    def load_build(self):
        state, target = self.stack.pop(), self.stack[-1]
        if not isinstance(target, _Array | _Type):
            raise pickle.UnpicklingError("it changes an object, which no RHD annotation needs")
        if isinstance(target, _Array):
            self._spend(state)
        target.finish(state)
        if isinstance(target, _Array):
            self.stack[-1] = target.value

    def load_bytearray8(self):
        """Holds what is there; Python's own makes it as long as the file says, before it reads."""
        self.append(bytearray(self.read(struct.unpack("<Q", self.read(8))[0])))

    def _fill(self, target, pairs):
        if type(target) is not dict:
            raise pickle.UnpicklingError("it fills something that is no dict")
        for key, value in zip(pairs[::2], pairs[1::2], strict=True):
            if not (isinstance(key, str) or isinstance(key, int) and abs(key) < 2**31):
                raise pickle.UnpicklingError("it has keys that are neither names nor numbers of frames")
            target[key] = value

    def load_dict(self):
        pairs, made = self.pop_mark(), {}
        self._fill(made, pairs)
        self.append(made)

    def load_setitem(self):
        value, key = self.stack.pop(), self.stack.pop()
        self._fill(self.stack[-1], [key, value])

    def load_setitems(self):
        pairs = self.pop_mark()
        self._fill(self.stack[-1], pairs)

    def _again(self, place):
        value = self.memo[place]
        self.append(value.value if isinstance(value, _Array) else value)

    def load_get(self):
        self._again(int(self.readline()[:-1]))

    def load_binget(self):
        self._again(self.read(1)[0])

    def load_long_binget(self):
        self._again(struct.unpack("<I", self.read(4))[0])

    for _name, _load in [("REDUCE", load_reduce), ("BUILD", load_build), ("BYTEARRAY8", load_bytearray8), ("DICT", load_dict),
                         ("SETITEM", load_setitem), ("SETITEMS", load_setitems), ("GET", load_get), ("BINGET", load_binget),
                         ("LONG_BINGET", load_long_binget)]:  # fmt: skip
        dispatch[getattr(pickle, _name)[0]] = _load  # type: ignore[assignment]
    del _name, _load


def load_arrays(data):
    """What a pickle (bytes) of arrays of numbers and plain containers holds. Raises ValueError, in one line, for anything else."""
    try:
        return _ArraysOnly(data).load()
    except KeyError as error:
        raise ValueError(f"it uses the instruction or entry {one_line(error)}, which no RHD annotation needs") from None
    except Exception as error:  # a broken pickle can raise nearly anything
        raise ValueError(one_line(error)) from None


def numeric_array(value, shape):
    """``value``, an array of numbers or lists of them, as an array; None when it is neither.

    Lists are measured before they are read: nested in one another, a few bytes of them can stand for billions.
    """
    if isinstance(value, list | tuple):
        flat = all(isinstance(row, list | tuple) or isinstance(row, np.ndarray) and row.ndim == 1 for row in value)
        if not flat or len(value) != shape[0] or any(len(row) != shape[1] for row in value):
            return None
        if not all(isinstance(item, numbers.Real) for row in value for item in row):
            return None
        try:
            return np.array([[float(item) for item in row] for row in value])
        except OverflowError:
            return None
    return value if isinstance(value, np.ndarray) and value.dtype.kind in "fiu" else None

"""Arrays of numbers from MATLAB 5 files, which STB's labels are.

scipy reads such files too, but a single wrong number in one can end the whole process, or take all its memory. Here a size
that a file states is compared with what is there before anything is set aside for it.
"""

import struct
import zlib

import numpy as np

from .untrusted import one_line

_MATRIX, _COMPRESSED = 14, 15
_STORED = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
_CLASSES = {1: "cell", 2: "struct", 3: "object", 4: "char", 5: "sparse", 6: "f8", 7: "f4", 8: "i1", 9: "u1", 10: "i2",
            11: "u2", 12: "i4", 13: "u4", 14: "i8", 15: "u8"}  # fmt: skip


def load_matlab(data, name, most):
    """The array of real numbers ``name`` of a MATLAB 5 file (bytes); None when there is no such variable.

    Raises ValueError, in one line, when it is another version, is broken, holds no numbers under that name, or states
    more than ``most`` of them.
    """
    order = {b"IM": "<", b"MI": ">"}.get(data[126:128])
    major = 4 if 0 in data[:4] else data[125 if order == "<" else 124] if order else None
    if major in (2, 4):
        raise ValueError(f"it is a MATLAB {'7.3' if major == 2 else '4'} file and not version 5: save it with -v7")
    if major != 1:
        raise ValueError("it is no MATLAB file")
    try:
        for kind, body in _elements(memoryview(data)[128:], order):
            if kind == _COMPRESSED:
                body = _inflate(body, 8 * most + 2**16)
                kind, body = next(_elements(body, order), (None, None))
            if kind == _MATRIX and (array := _matrix(body, order, name, most)) is not None:
                return array
        return None
    except (struct.error, zlib.error) as error:
        raise ValueError(f"it is damaged: {one_line(error)}") from None


def _elements(data, order):
    """What a part of a MATLAB 5 file is made of: pairs of a type's number and bytes."""
    position = 0
    while position + 8 <= len(data):
        kind, size = struct.unpack_from(f"{order}II", data, position)
        if kind >> 16:  # up to four bytes lie in the tag itself
            kind, size, start, end = kind & 0xFFFF, kind >> 16, position + 4, position + 8
            if size > 4:
                raise ValueError("it is damaged: a small part is none")
        else:
            start = position + 8
            end = start + size if kind == _COMPRESSED else start + -(-size // 8) * 8
        if start + size > len(data):
            raise ValueError("it is cut short")
        yield kind, data[start : start + size]
        position = end


def _inflate(packed, most):
    stream = zlib.decompressobj()
    data = stream.decompress(packed, most)
    if not stream.eof:
        raise ValueError("a compressed part is cut short or larger than any label file")
    return memoryview(data)


def _matrix(data, order, name, most):
    """The array that one matrix element holds, None when it has another name."""
    parts = _elements(data, order)
    head = [next(parts, None) for _ in range(3)]
    if None in head or [kind for kind, _ in head[:2]] != [6, 5] or len(head[0][1]) < 4:  # type: ignore[misc]
        raise ValueError("it is damaged: a variable has no proper header")
    if bytes(head[2][1]) != name.encode():
        return None
    flags = struct.unpack_from(f"{order}I", head[0][1])[0]
    kind, shape = _CLASSES.get(flags & 255, "unknown"), np.frombuffer(head[1][1], f"{order}i4")
    if flags & 0x0A00 or kind[0] not in "fiu" or len(kind) != 2:
        raise ValueError(f"{name} is not numeric but {'complex' if flags & 0x0800 else 'logical' if flags & 0x0200 else kind}")
    if not 2 <= len(shape) <= 32 or (shape < 0).any():
        raise ValueError(f"{name} has shape {tuple(shape.tolist())[:4]}")
    if np.prod(shape, dtype=float) > most:
        raise ValueError(f"{name} has shape {tuple(shape.tolist())}, more than any label file")
    stored, values = next(parts, (None, b""))
    if stored not in _STORED or len(values) != np.prod(shape, dtype=int) * np.dtype(_STORED[stored]).itemsize:
        raise ValueError(f"{name} does not have the values that its shape {tuple(shape.tolist())} asks for")
    return np.frombuffer(values, order + _STORED[stored]).astype(kind).reshape(shape, order="F")

"""Ways to damage a dataset at random; ``tests/fuzz.py`` looks at what comes of it.

A corruption is a function of a random generator and the root of a tree; it says in a few words what it did. Trees are
made of hard links, so a file is unlinked before it is written.
"""

import io
import os
import pickle
import shutil
import struct
import zlib

import numpy as np
from PIL import Image
from scipy.io import savemat

from tests.trees import replace, stb_hands


def files(root, *ends):
    return sorted(path for path in root.rglob("*") if path.is_file() and not path.is_symlink() and path.name.endswith(ends or ("",)))


def pick(rng, items):
    return items[rng.integers(len(items))]


def any_file(rng, root):
    """A file: as often one with labels as a picture."""
    labels = files(root, ".pickle", ".mat", ".json")
    return pick(rng, labels if rng.random() < 0.5 and labels else files(root))


# Any file


def flip_bytes(rng, root):
    path = any_file(rng, root)
    data = bytearray(path.read_bytes())
    if not data:
        return f"{path.name}: empty already"
    for place in rng.integers(len(data), size=rng.integers(1, 17)):
        data[place] ^= 1 << rng.integers(8)
    replace(path, bytes(data))
    return f"{path.name}: bytes flipped"


def overwrite_block(rng, root):
    path = any_file(rng, root)
    data = path.read_bytes()
    start = rng.integers(len(data) + 1)
    block = pick(rng, [bytes(rng.integers(1, 600)), rng.bytes(rng.integers(1, 600)), b"\xff" * 64, b"\n" * 9])
    replace(path, data[:start] + block + data[start + len(block) * rng.integers(2) :])
    return f"{path.name}: a block overwritten or put in"


def truncate(rng, root):
    path = any_file(rng, root)
    data = path.read_bytes()
    replace(path, data[: rng.integers(len(data) + 1)])
    return f"{path.name}: cut short"


def empty(rng, root):
    path = any_file(rng, root)
    replace(path, b"")
    return f"{path.name}: emptied"


def append(rng, root):
    path = any_file(rng, root)
    replace(path, path.read_bytes() + rng.bytes(rng.integers(1, 200)))
    return f"{path.name}: bytes added at the end"


def delete(rng, root):
    path = any_file(rng, root)
    path.unlink()
    return f"{path.name}: deleted"


def swap(rng, root):
    one, other = any_file(rng, root), any_file(rng, root)
    first, second = one.read_bytes(), other.read_bytes()
    replace(one, second)
    replace(other, first)
    return f"{one.name} and {other.name}: exchanged"


def rename(rng, root):
    path = pick(rng, sorted(root.rglob("*")))
    name = pick(rng, [path.name.upper() + "_", path.name + ".bak", "0" + path.name, " " + path.name, "a\nb" + path.suffix])
    path.rename(path.with_name(name))
    return f"{path.name}: renamed to {name!r}"


def something_else_in_its_place(rng, root):
    path = any_file(rng, root) if rng.random() < 0.7 else pick(rng, sorted(item for item in root.rglob("*") if item.is_dir()))
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    what = pick(rng, ["folder", "loop", "nowhere", "root", "pipe", "file", "null"])
    if what == "folder":
        path.mkdir()
    elif what == "pipe" and hasattr(os, "mkfifo"):
        os.mkfifo(path)
    elif what == "file":
        path.write_text("a\nb")
    else:
        path.symlink_to({"loop": path, "nowhere": root / "nowhere", "null": "/dev/null"}.get(what, root))
    return f"{path.name}: {what} in its place"


def remove_folder(rng, root):
    path = pick(rng, sorted(item for item in root.rglob("*") if item.is_dir()))
    shutil.rmtree(path)
    return f"{path.name}: folder removed"


def write_settings(rng, root):
    """Another synthetic.json."""
    odd = b'{"layout": "rhd", "training": "3", "evaluation": null}'
    value = pick(rng, [b"{", b"[]", b"null", b"{}", odd, b"\xff\xfe", b"[" * 100_000, b"9" * 9999])
    (root / "synthetic.json").unlink(missing_ok=True)
    (root / "synthetic.json").write_bytes(value)
    return f"synthetic.json: {value[:40]!r}"


# Pictures


def chunks(data):
    position, parts = 8, []
    while position + 12 <= len(data):
        length = struct.unpack_from(">I", data, position)[0]
        parts.append((data[position + 4 : position + 8], data[position + 8 : position + 8 + length]))
        position += 12 + length
    return parts


def damage_chunks(rng, root):
    """A picture whose checksums are right and whose chunks are not."""
    path = pick(rng, files(root, ".png"))
    parts = chunks(path.read_bytes())
    if not parts:
        return f"{path.name}: no picture any more"
    place = rng.integers(len(parts))
    kind, body = parts[place]
    how = pick(rng, ["drop", "twice", "bytes", "header", "kind", "text"])
    if how == "drop":
        del parts[place]
    elif how == "twice":
        parts.insert(place, parts[place])
    elif how == "bytes" and body:
        body = bytearray(body)
        body[rng.integers(len(body))] ^= 1 << rng.integers(8)
        parts[place] = kind, bytes(body)
    elif how == "header":
        header = bytearray(parts[0][1].ljust(13))
        header[rng.integers(13)] = rng.integers(256)
        parts[0] = parts[0][0], bytes(header)
    elif how == "kind":
        parts[place] = rng.bytes(4), body
    else:
        kind = pick(rng, [b"zTXt", b"iCCP", b"tRNS", b"PLTE", b"gAMA", b"acTL", b"eXIf", b"iTXt"])
        parts.insert(place, (kind, b"a\0\0" + zlib.compress(bytes(10**6))))
    new = b"".join(struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in parts)
    replace(path, path.read_bytes()[:8] + new)
    return f"{path.name}: chunk {kind!r}: {how}"


def another_picture(rng, root):
    path = pick(rng, files(root, ".png"))
    mode = pick(rng, ["P", "RGBA", "LA", "1", "I;16", "CMYK", "RGB", "L", "F"])
    size = pick(rng, [(48, 48), (640, 480), (1, 1), (320, 320), (48, 1), (640, 640)])
    image = Image.new(mode, size, 7)
    kind = pick(rng, ["PNG", "PNG", "JPEG", "TIFF", "GIF", "BMP"])
    file = io.BytesIO()
    try:
        image.save(file, kind)
    except (OSError, ValueError):  # a format that has no such mode
        Image.new("RGB", size).save(file, kind)
    replace(path, file.getvalue())
    return f"{path.name}: a {kind} of mode {mode}, {size[0]} x {size[1]}"


# Labels of RHD


class Calls:
    def __reduce__(self):
        return os.system, ("exit 1",)


def odd_value(rng, array):
    values = [
        None, "text", b"bytes", 1.5, [], {}, [1, [2]], array.tolist(), array.astype(complex), array.astype(object),
        array.astype("U9"), array > 0, array.astype("f8"), array.astype(">f4"), array.astype("f2"), array[:-1], array[None],
        array.T, array[:, :1], np.zeros(0), array * np.nan, array * 1e30, array * 0, -array, array * np.inf,
        np.full_like(array, 1e-30), [[10**400] * array.shape[1]] * len(array), Calls(),
    ]  # fmt: skip
    return pick(rng, values)


def change_labels(rng, root):
    path = pick(rng, files(root, ".pickle"))
    labels = pickle.loads(path.read_bytes())
    index = pick(rng, sorted(labels))
    key = pick(rng, ["xyz", "uv_vis", "K"])
    how = pick(rng, ["value", "value", "value", "poke", "poke", "key", "frame", "ids", "more", "whole"])
    if how == "value":
        labels[index][key] = odd_value(rng, labels[index][key])
    elif how == "poke":
        array = labels[index][key].copy()
        array.flat[rng.integers(array.size)] = pick(rng, [np.nan, np.inf, -np.inf, 3e38, -1e9, 0, 1e-40, 1e6])
        labels[index][key] = array
    elif how == "key":
        del labels[index][key]
    elif how == "frame":
        del labels[index]
    elif how == "ids":
        labels[pick(rng, ["0", -1, 99, 1.5, (1, 2), "../../x", 10**30, None])] = labels.pop(index)
    elif how == "more":
        labels[len(labels)] = labels[index]
    else:
        labels = pick(rng, [[], None, 7, list(labels.values()), {}, {0: labels}, "text\nof lines", Calls()])
    replace(path, pickle.dumps(labels, int(rng.integers(6))))
    return f"{path.name}: {key} of {index}: {how}"


# Labels of STB


def change_mat(rng, root):
    path = pick(rng, files(root, ".mat"))
    hands = stb_hands("B2Random", "SK")
    values = [
        hands[:2], hands[:, :20], hands[..., 0], np.concatenate([hands] * 3, 2), hands.T, hands * np.nan, hands * 1e30,
        hands * 0, -hands, hands * 1j, hands > 0, "text", np.array([hands, 1], object), {"a": hands}, np.zeros((0, 0)),
        np.zeros((3, 21, 0)), hands.astype("i2"), hands.astype("f4"), hands * 1e-3, hands + 1e5,
    ]  # fmt: skip
    value = pick(rng, values)
    file, format = io.BytesIO(), pick(rng, ["5", "5", "5", "4"])
    name = pick(rng, ["handPara"] * 4 + ["hand"])
    try:
        savemat(file, {name: value}, format=format, do_compression=bool(rng.integers(2)))
    except (TypeError, ValueError):  # version 4 has two dimensions
        savemat(file, {name: value})
    replace(path, file.getvalue())
    return f"{path.name}: {name} of shape {np.shape(value)}, version {format}"


def patch_mat(rng, root):
    """Whole numbers in a MATLAB file's headers that state something else."""
    path = pick(rng, files(root, ".mat"))
    data = bytearray(path.read_bytes())
    place = 124 + 4 * int(rng.integers(20))
    if len(data) >= place + 4:
        struct.pack_into("<I", data, place, pick(rng, [0, 1, 15, 2**31, 2**32 - 1, 2**20, int(rng.integers(2**32))]))
    replace(path, bytes(data))
    return f"{path.name}: a number of its header"


ANY = (
    flip_bytes, flip_bytes, overwrite_block, truncate, empty, append, delete, swap, rename, something_else_in_its_place,
    remove_folder, write_settings,
)  # fmt: skip
PICTURES = (damage_chunks, damage_chunks, another_picture)
OF_LAYOUT = {"rhd": (*ANY, *PICTURES, *[change_labels] * 4), "stb": (*ANY, *PICTURES, change_mat, change_mat, patch_mat, patch_mat)}


def corrupt(rng, root, layout):
    """Damage a tree once, or more rarely twice; returns what was done, in words."""
    done = []
    for _ in range(1 + (rng.random() < 0.25)):
        try:
            with np.errstate(all="ignore"):
                done.append(pick(rng, OF_LAYOUT[layout])(rng, root))
        except Exception as error:  # a second one may find what it wants gone or broken
            if not done:
                raise
            done.append(f"(nothing more: {type(error).__name__})")
    return "; ".join(done)

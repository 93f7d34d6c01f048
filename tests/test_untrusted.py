"""Pickles, MATLAB files and pictures made to harm: no code runs, no memory or time is given to them, one line says why."""

import io
import os
import pickle
import resource
import struct
import subprocess
import sys
import time
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from handpose.data.frame import read_image
from handpose.data.rhd import load_annotations
from handpose.data.untrusted import exists, is_folder, load_arrays, numeric_array, read_bytes
from tests.trees import refused, rhd_entry

ROOT = Path(__file__).parents[1]


class Calls:
    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("protocol", range(6))
def test_what_the_plain_unpickler_reads_is_read(protocol):
    shared = np.arange(6, dtype=np.float32).reshape(2, 3)
    value = {
        "arrays": [shared, shared, np.asfortranarray(shared), np.arange(4, dtype=">i2"), np.array([True, False]), np.zeros((0, 3)),
                   np.array(2.5)],
        "numbers": (np.float64(1.5), np.int8(-3), np.bool_(True), 1, 2**70, -1.5, None, True),
        "text": "äöü", "nested": {0: [{"a": (1, 2)}], 1: b"bytes"},
    }  # fmt: skip
    data = pickle.dumps(value, protocol)
    if protocol < 3:  # empty bytes and byte strings are calls of other things there
        value["nested"][1] = "text"
        value["arrays"].pop(5)
        data = pickle.dumps(value, protocol)
    read = load_arrays(data)
    for one, other in zip(read["arrays"], value["arrays"], strict=True):
        assert type(one) is np.ndarray and one.dtype == other.dtype and one.flags.f_contiguous == other.flags.f_contiguous
        np.testing.assert_array_equal(one, other)
    assert read["arrays"][0] is read["arrays"][1]
    assert read["numbers"] == value["numbers"] and [type(item) for item in read["numbers"]] == [type(item) for item in value["numbers"]]
    assert (read["text"], read["nested"]) == (value["text"], value["nested"])


@pytest.mark.parametrize("protocol", range(6))
def test_many_small_arrays_are_no_repetition(protocol):
    """Each names its type's text, its order and its encoding again."""
    value = [np.array([index % 3], kind) for index in range(300) for kind in ("u1", "<f4", ">i2")] + [np.float32(1)] * 9
    assert load_arrays(pickle.dumps(value, protocol)) == value


@pytest.mark.parametrize("protocol", [0, 2, 4])
@pytest.mark.parametrize(
    "value",
    [
        Calls(os.getcwd), Calls(eval, "1"), Calls(getattr, "a", "upper"), Calls(np.load, "x"), Calls(np.zeros, 3), Calls(bytearray, 9),
        {1, 2}, frozenset([1]), object(), 1j, np.array([1j]), np.array(["a"]), np.array([None]), np.array([(1, 2.0)], "i4,f4"),
        np.array(["2020-01-01"], "M8[D]"), np.float32, Path("x"), {(1, 2): 3}, {1.5: 2}, {2**70: 1}, {None: 1}, range(3), slice(1),
    ],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
def test_everything_else_is_refused(protocol, value):
    with refused(ValueError):
        load_arrays(pickle.dumps({0: value}, protocol))


MARKED = b"\x80\x04"


@pytest.mark.parametrize(
    "data",
    [
        b"cnumpy\nndarray\n(I9999\nt\x85R.",  # an array called for, not read
        b"cnumpy\ndtype\n(S'f4'\ntR(S'a'\ndb.",  # the state of a type that is no state
        b"cnumpy\ndtype\n(S'V4'\ntR.",
        b"cnumpy\ndtype\n(S'f4'\ntR(K\x03S'<'\nNNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb.",  # whole, and no labels
        b"c_codecs\nencode\n(S'a'\nS'zlib'\ntR.",
        b"c_codecs\nencode\n}S'a'\nS'b'\ndb.",  # attributes of a function of ours
        b"(lS'a'\nS'b'\ns.",  # a list with keys
        b"(ios\nsystem\n.", b"(cos\nsystem\nS'true'\no.", b"\x82\x01.", b"P1\n.", b"\x8f.", b"\x97.",
        MARKED + b"\x8c\x02os\x8c\x06system\x93.", MARKED + b"\x8c\x04a\nbc\x8c\x03d\x1b[\x93.",
        MARKED + b"h\x07.", MARKED + b"j\xff\xff\xff\xff.", b"g99\n.", b"0.", b"e.", b".", b"\xff.", b"\x80\x63.",
        MARKED + b"\x95" + b"\xff" * 8,
        b"K\x01" * 3 + b"u.", b"I" + b"9" * 10**5 + b"\n.", MARKED + b"\x8b\xff\xff\xff\x7f.",
    ],
)  # fmt: skip
def test_broken_and_hostile_instructions_end_in_one_line(tmp_path, data):
    (tmp_path / "anno.pickle").write_bytes(data)
    with refused(ValueError, tmp_path / "anno.pickle"):
        load_annotations(tmp_path / "anno.pickle")


def nested(depth, width):
    value = [1.0] * width
    for _ in range(depth):
        value = [value] * width
    return value


LONG = b"X" + struct.pack("<I", 2**20) + b"a" * 2**20
BYTES = b"cnumpy\ndtype\n(U\x02u1tR"
SIZE = b"J" + struct.pack("<i", 2**20) + b"\x85"
#: One text in the file that becomes bytes over and over: what is called, with what, and how.
REPEATED = {
    "encoded": (b"c_codecs\nencode\nq\x00" + LONG + b"U\x06latin1\x86q\x01", b"h\x00h\x01R"),
    "frombuffer": (b"cnumpy.core.numeric\n_frombuffer\nq\x00(" + LONG + BYTES + SIZE + b"U\x01Ctq\x01", b"h\x00h\x01R"),
    "built": (
        b"cnumpy.core.multiarray\n_reconstruct\nq\x00K\x00K\x00K\x00\x87q\x01(K\x01" + SIZE + BYTES + b"\x89" + LONG + b"tq\x02",
        b"h\x00h\x01Rh\x02b",
    ),
}
BOMBS = {
    "memo": b"\x80\x02}r\xff\xff\xff\x7f.",  # the unpickler in C sets 32 GB aside for this
    "bytes": MARKED + b"\x8e" + struct.pack("<Q", 2**40) + b".",
    "text": MARKED + b"\x8d" + struct.pack("<Q", 2**40) + b".",
    "bytearray": b"\x80\x05\x96" + struct.pack("<Q", 2**40) + b".",
    "granted": b"\x80\x05\x96" + struct.pack("<Q", 2**29) + b".",
    **{name: b"\x80\x02" + once + again * 600 + b"." for name, (once, again) in REPEATED.items()},
    "frames": pickle.dumps(dict.fromkeys(range(300_000), rhd_entry(0))),
    "shape": pickle.dumps({0: rhd_entry(0)}, 2).replace(b"K*K\x03\x86", b"J\xff\xff\xff\x7fJ\xff\xff\xff\x7f\x86"),
    "nested": pickle.dumps({0: {"xyz": nested(9, 42), "uv_vis": nested(9, 42), "K": nested(9, 3)}}),
    "deep": b"\x80\x02}" + b"(" * 200_000 + b"t" * 200_000 + b"K\x01s.",
    "keys": pickle.dumps({index * (2**61 - 1): 0 for index in range(50)}) + b" " * 100,
}
LIMITED = """
import resource, sys
from handpose.data.rhd import load_annotations
resource.setrlimit(resource.RLIMIT_CPU, (60, 60))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for path in sys.argv[1:]:
    try:
        load_annotations(path)
    except ValueError as error:
        print(error)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="measures memory")
def test_bombs_get_neither_memory_nor_time(tmp_path):
    paths = [tmp_path / name for name in BOMBS]
    for path in paths:
        path.write_bytes(BOMBS[path.name])
    command = [sys.executable, "-c", LIMITED, *paths]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, env=os.environ | {"PYTHONPATH": str(ROOT)})
    assert run.returncode == 0, run.stderr[-2000:]
    *lines, grown = run.stdout.splitlines()
    for line, path in zip(lines, paths, strict=True):
        assert line.startswith(str(path))
    assert int(grown) < 200 * 1024  # KiB


@pytest.mark.parametrize("name", REPEATED)
def test_a_text_may_be_named_again_but_not_over_and_over(name):
    once, again = REPEATED[name]
    assert len(load_arrays(b"\x80\x02" + once + again * 3 + b".")) == 2**20
    with refused(ValueError, "it repeats its texts over and over"):
        load_arrays(b"\x80\x02" + once + again * 5 + b".")


@pytest.mark.parametrize("size", [4, 2**29, 2**63, 2**64 - 1])
def test_a_byte_array_is_as_long_as_what_is_there(size):
    with refused(ValueError):
        load_arrays(b"\x80\x05\x96" + struct.pack("<Q", size) + b"ab.")
    assert load_arrays(b"\x80\x05\x96" + struct.pack("<Q", 2) + b"ab.") == bytearray(b"ab")


def test_lists_are_numbers_only_in_their_shape():
    np.testing.assert_array_equal(numeric_array([[1, 2.5, True], (0, np.float32(1), np.int8(3))], (2, 3)), [[1, 2.5, 1], [0, 1, 3]])
    np.testing.assert_array_equal(numeric_array([np.arange(3), [0, 0, 0]], (2, 3)), [[0, 1, 2], [0, 0, 0]])
    for value in ([[1, 2], [3, 4]], [[1, 2, 3]], [np.array(1), np.array(2)], [np.eye(3), np.eye(3)], [[1, 2, [3]], [1, 2, 3]],
                  [[1, 2, "3"], [1, 2, 3]], "abcdef", 3, None, {}, [[1j, 0, 0]] * 2, np.array([["a"] * 3] * 2), [1, 2]):  # fmt: skip
        assert numeric_array(value, (2, 3)) is None


def test_files_that_are_none(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe")  # opening it would wait for ever
    for name in sorted(path.name for path in tmp_path.iterdir()):
        with refused(ValueError, tmp_path / name, "no ordinary file"):
            read_bytes(tmp_path / name)
    with refused(FileNotFoundError, tmp_path / "missing"):
        read_bytes(tmp_path / "missing")
    (tmp_path / "large").write_bytes(bytes(11))
    with refused(ValueError, "11 bytes"):
        read_bytes(tmp_path / "large", 10)
    assert read_bytes(tmp_path / "large", 11) == bytes(11)


def test_a_file_that_cannot_be_read(tmp_path, monkeypatch):
    (tmp_path / "file").write_bytes(b"")

    def fails(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", fails)
    with refused(ValueError, tmp_path / "file", "Permission denied", "who may read it"):
        read_bytes(tmp_path / "file")


# Pictures


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width, height, bits=8, colour=2, data=None, more=(), end=True):
    """A PNG from its parts, with right checksums whatever it says."""
    rows = zlib.compress(bytes((1 + 3 * width) * height)) if data is None else data
    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + b"".join([chunk(b"IHDR", header), *more, chunk(b"IDAT", rows)]) + (chunk(b"IEND", b"") if end else b"")


SMALL = zlib.compress(bytes(1000))


def test_a_picture_made_of_its_parts_is_read(tmp_path):
    path = tmp_path / "0.png"
    path.write_bytes(png(5, 4))
    assert not read_image(path, "RGB").any() and read_image(path, "RGB").shape == (4, 5, 3)
    path.write_bytes(png(5, 4) + b"left over")
    assert read_image(path, "RGB").shape == (4, 5, 3)


@pytest.mark.parametrize(
    "data",
    [
        png(50_000, 50_000, data=SMALL), png(2**31 - 1, 1, data=SMALL), png(10_000, 10_000, data=SMALL), png(0, 5, data=SMALL),
        png(5, 4, data=b""), png(5, 4, data=SMALL[:4]), png(5, 4, data=b"no deflate"), png(5, 4, end=False), png(5, 4, colour=7),
        png(5, 4, bits=16), png(5, 4, bits=4, colour=0), png(5, 4, colour=6), png(5, 4, colour=3), png(5, 4)[8:], png(5, 4)[:-1],
        png(5, 4, more=[chunk(b"IHDR", struct.pack(">IIBBBBB", 50_000, 50_000, 8, 2, 0, 0, 0))]),
        png(5, 4).replace(b"IHDR", b"IHDX"), png(5, 4)[:8] + chunk(b"IEND", b""), png(5, 4)[:8] + chunk(b"IHDR", b"") + chunk(b"IEND", b""),
        png(5, 4)[:8] + b"\xff" * 40, b"GIF89a" + bytes(40), b"\xff\xd8\xff" + bytes(40), b"",
    ],
)  # fmt: skip
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_pictures_that_are_none(tmp_path, data, mode):
    path = tmp_path / "0.png"
    path.write_bytes(data)
    with refused(ValueError, path, "can't be decoded", "unpack the dataset again"):
        read_image(path, mode)


@pytest.mark.parametrize("kind", [b"zTXt", b"iTXt", b"iCCP"])
def test_bombs_beside_the_pixels_get_no_memory(tmp_path, kind):
    blown = zlib.compress(bytes(2**28), 9)
    text = {b"zTXt": b"a\0\0" + blown, b"iTXt": b"a\0\1\0\0\0" + blown, b"iCCP": b"a\0\0" + blown}[kind]
    path = tmp_path / "0.png"
    path.write_bytes(png(5, 4, more=[chunk(kind, text)]))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        assert read_image(path, "RGB").shape == (4, 5, 3)
    except ValueError as error:
        assert str(path) in str(error) and "\n" not in str(error)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100 * 1024 or sys.platform != "linux"


def test_every_flipped_byte_of_a_picture_is_seen(tmp_path):
    """Checksums cover all of a PNG: what is read is what was written, or nothing is."""
    image = np.random.default_rng(0).integers(0, 256, (6, 5, 3), np.uint8)
    path, extra = tmp_path / "0.png", PngInfo()
    extra.add_text("made", "here")
    Image.fromarray(image).save(path, pnginfo=extra)
    data = path.read_bytes()
    began = time.monotonic()
    for place in range(len(data)):
        for bit in (0, 7):
            path.write_bytes(data[:place] + bytes([data[place] ^ 1 << bit]) + data[place + 1 :])
            with refused(ValueError, path):
                read_image(path, "RGB")
    for keep in range(len(data)):
        path.write_bytes(data[:keep])
        with refused(ValueError, path):
            read_image(path, "RGB")
    assert time.monotonic() - began < 60


def test_grey_and_rgb(tmp_path):
    grey = np.arange(20, dtype=np.uint8).reshape(4, 5)
    path = tmp_path / "0.png"
    Image.fromarray(grey).save(path)
    np.testing.assert_array_equal(read_image(path, "L"), grey)
    np.testing.assert_array_equal(read_image(path, "RGB"), np.repeat(grey[..., None], 3, 2))
    Image.fromarray(np.repeat(grey[..., None], 3, 2)).save(path)
    np.testing.assert_array_equal(read_image(path, "L"), grey)
    Image.open(io.BytesIO(path.read_bytes())).save(path, transparency=(1, 1, 1))  # a colour that shows as nothing: the values stay
    np.testing.assert_array_equal(read_image(path, "L"), grey)


def test_folders_that_can_not_be_looked_at(tmp_path):
    assert is_folder(tmp_path) and not is_folder(tmp_path / "none") and exists(tmp_path) and not exists(tmp_path / "none")
    for look in (is_folder, exists):
        with pytest.raises(ValueError, match="can't be looked at .*check its name and who may read it"):
            look(tmp_path / ("a" * 300))

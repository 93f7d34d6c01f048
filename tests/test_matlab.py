"""MATLAB files as scipy writes them come back as scipy reads them; damaged ones end in one line, never in a crash."""

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.io import loadmat, savemat

from handpose.data.matlab import load_matlab
from tests.trees import stb_hands


def mat(values, **options):
    file = io.BytesIO()
    savemat(file, values, **options)
    return file.getvalue()


@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize("kind", ["f8", "f4", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8"])
@pytest.mark.parametrize("shape", [(3, 21, 4), (3, 21), (1, 1), (0, 0), (3, 21, 0), (2, 1)])
def test_arrays_come_back_as_scipy_reads_them(kind, shape, compress):
    array = (np.arange(np.prod(shape)).reshape(shape) % 100).astype(kind)
    data = mat({"before": "text", "handPara": array, "after": {"a": 1}}, do_compression=compress)
    expected, found = loadmat(io.BytesIO(data))["handPara"], load_matlab(data, "handPara", 1000)
    np.testing.assert_array_equal(found, expected)
    assert (found.dtype, found.shape) == (expected.dtype, expected.shape) == (np.dtype(kind), shape)
    assert load_matlab(data, "other", 1000) is None


def test_both_byte_orders():
    """A file of a big-endian machine, by hand from one of a small-endian."""
    hands = stb_hands("B1Random", "SK", 2)
    data = bytearray(mat({"handPara": hands}))
    numbers = [128 + 4 * place for place in (0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 13)]  # tags, flags, shape
    name = 128 + 4 * 14
    assert bytes(data[name : name + 8]) == b"handPara"
    values = name + 8
    for place in [*numbers, values, values + 4]:
        data[place : place + 4] = data[place : place + 4][::-1]
    data[values + 8 :] = np.frombuffer(bytes(data[values + 8 :]), "<f8").astype(">f8").tobytes()
    data[124:128] = b"\x01\x00MI"
    np.testing.assert_array_equal(loadmat(io.BytesIO(data))["handPara"], hands)
    np.testing.assert_array_equal(load_matlab(bytes(data), "handPara", 1000), hands)


WHOLE = [mat({"handPara": stb_hands("B1Random", "SK")}, do_compression=compress) for compress in (False, True)]


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(WHOLE), st.lists(st.tuples(st.integers(0, 300), st.integers(0, 255)), min_size=1, max_size=8), st.integers(0, 3000))
def test_damaged_files_end_in_one_line(data, changes, keep):
    broken = bytearray(data)
    for place, value in changes:
        broken[place % len(broken)] = value
    try:
        array = load_matlab(bytes(broken[:keep] if keep < len(broken) else broken), "handPara", 1000)
    except ValueError as error:
        assert str(error) and "\n" not in str(error)
    else:
        assert array is None or array.size <= 1000 and array.dtype.kind in "fiu"

import struct
import zlib

import numpy as np
import pytest
import scipy.io
from hypothesis import given
from hypothesis import strategies as st

from ocrcore.data.readers.mat import read_cells
from ocrcore.pages import LabelError


def cells(values):
    out = np.empty((1, len(values)), object)
    for index, value in enumerate(values):
        out[0, index] = value
    return out


NUMBERS = [
    np.arange(24, dtype=np.float32).reshape(2, 4, 3),
    np.array([[1.5, -2.5e300]]),
    np.array([[1, -2], [3, 4]], np.int16),
    np.zeros((2, 4, 0)),
    np.array([[7]], np.uint8),
]
TEXTS = ["one", "Жé日", np.array(["ab", "日本語x", ""]), np.array([], np.str_), "\U0001f600 x"]


def save(path, compressed=False):
    values = {"a": cells(NUMBERS), "t": cells(TEXTS), "other": np.eye(3), "empty": cells([])}
    scipy.io.savemat(path, values, do_compression=compressed)
    return path


@pytest.mark.parametrize("compressed", [False, True])
def test_it_reads_what_scipy_writes(tmp_path, compressed):
    path = save(tmp_path / "x.mat", compressed)
    found = read_cells(path, ["a", "t", "empty", "none"])
    assert set(found) == {"a", "t", "empty"}
    by_scipy = scipy.io.loadmat(path)["a"][0]
    for value, theirs, ours in zip(NUMBERS, by_scipy, found["a"], strict=True):
        assert ours.shape == theirs.shape == value.shape and ours.dtype == theirs.dtype
        assert np.array_equal(ours, theirs)
    assert list(found["t"]) == [["one"], ["Жé日"], ["ab", "日本語x", ""], [], ["\U0001f600 x"]]
    assert len(found["empty"]) == 0
    with pytest.raises(IndexError):
        found["a"][5]


def test_it_reads_the_other_byte_order_and_narrow_numbers(tmp_path):
    def element(kind, data):
        return struct.pack(">II", kind, len(data)) + data + bytes(-len(data) % 8)

    def array(kind, shape, data, name=b""):
        flags = element(6, struct.pack(">II", kind, 0))
        sides = element(5, struct.pack(f">{len(shape)}i", *shape))
        return element(14, flags + sides + element(1, name) + data)

    # Doubles kept as bytes, as MATLAB does with small whole numbers; text as UTF-16.
    small = array(6, (1, 2), struct.pack(">HHBBxx", 2, 2, 5, 200))
    text = array(4, (1, 2), element(4, "жx".encode("utf-16-be")))
    whole = array(1, (1, 2), small + text, b"c")
    path = tmp_path / "x.mat"
    path.write_bytes(bytes(124) + b"\x01\x00MI" + whole)
    found = read_cells(path, ["c"])["c"]
    assert found[0].tolist() == [[5, 200]] and found[1] == ["жx"]


def test_files_of_version_7_3_are_named(tmp_path):
    path = tmp_path / "gt.mat"
    for head in (
        b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(126) + b"IM",
        b"\x89HDF\r\n\x1a\n",
    ):
        path.write_bytes(head.ljust(1024, b"\0"))
        with pytest.raises(LabelError, match=r"gt\.mat: 'MATLAB 7\.3 .*save it again.*-v7"):
            read_cells(path, ["a"])


def test_files_that_cannot_be(tmp_path):
    path = save(tmp_path / "x.mat")
    with pytest.raises(LabelError, match=r"other of class 6.*expected a cell array"):
        read_cells(path, ["other"])
    raw = path.read_bytes()
    path.write_bytes(raw[:-9])
    with pytest.raises(LabelError, match="a file that is not cut off"):
        read_cells(path, ["a"])
    for data in (b"", raw[:100], b"nonsense" * 40):
        path.write_bytes(data)
        with pytest.raises(LabelError, match="version 5 to 7"):
            read_cells(path, ["a"])
    # Ten megabytes of zeros in ten kilobytes.
    bomb = zlib.compress(struct.pack("<II", 14, 10_000_000) + bytes(10_000_000))
    path.write_bytes(raw[:128] + struct.pack("<II", 15, len(bomb)) + bomb)
    with pytest.raises(LabelError, match="bytes at byte 8"):
        read_cells(path, ["a"])


@pytest.mark.parametrize("compressed", [False, True])
@given(data=st.data())
def test_damaged_files_are_named_errors_or_read(compressed, data, tmp_path_factory):
    path = save(tmp_path_factory.mktemp("mat") / "x.mat", compressed)
    raw = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(128, len(raw) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(raw)
    try:
        for values in read_cells(path, ["a", "t"]).values():
            list(values)
    except LabelError as error:
        assert str(path) in str(error)

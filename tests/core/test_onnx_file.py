"""Arrays and metadata of ONNX files."""

from __future__ import annotations

import numpy as np
import pytest

from ocrcore.weights import onnx_file
from ocrcore.weights.onnx_file import OnnxFileError, OtherNetworkError, expect_end, load_onnx, take

onnx = pytest.importorskip("onnx")


def model(**changes):
    """A graph that uses `b` before `a`, with a constant and a scalar."""
    from onnx import helper, numpy_helper

    tensors = [
        numpy_helper.from_array(np.arange(6, dtype=np.float32).reshape(2, 3), "a"),
        numpy_helper.from_array(np.ones(4, np.float32), "b"),
        numpy_helper.from_array(np.array(2.0, np.float32), "scalar"),
        numpy_helper.from_array(np.arange(3), "whole"),
        numpy_helper.from_array(np.ones(2, np.float32), "unused"),
    ]
    constant = numpy_helper.from_array(np.full(5, 7, np.float32))
    nodes = [
        helper.make_node("Constant", [], ["c"], value=constant),
        helper.make_node("Mul", ["b", "scalar"], ["x"]),
        helper.make_node("Add", ["a", "b"], ["y"]),
        helper.make_node("Add", ["c", "whole"], ["z"]),
    ]
    made = helper.make_model(helper.make_graph(nodes, "g", [], [], initializer=tensors))
    helper.set_model_props(made, {"character": "a\nb"})
    return made


def test_arrays_come_in_the_order_of_their_use(tmp_path):
    path = tmp_path / "m.onnx"
    path.write_bytes(model().SerializeToString())
    found = load_onnx(path)
    assert [(name, array.shape) for name, array in found.arrays.items()] == [
        ("b", (4,)),
        ("a", (2, 3)),
        ("c", (5,)),
    ]
    assert np.array_equal(found.arrays["a"], np.arange(6).reshape(2, 3))
    assert found.metadata == {"character": "a\nb"}


def test_arrays_are_taken_in_their_order_and_the_first_that_differs_is_named():
    bias = np.arange(3, dtype=np.float32)
    left = iter([("k", np.ones((3, 2), np.float32)), ("b", bias.reshape(1, 3, 1, 1))])
    assert take(left, (3, 2), "the kernel").shape == (3, 2)
    assert np.array_equal(take(left, (3,), "the bias"), bias)
    expect_end(left)
    with pytest.raises(OtherNetworkError, match=r"nothing has shape \[0\], expected the bias"):
        take(left, (3,), "the bias")
    with pytest.raises(OtherNetworkError, match=r"k has shape \[2, 3\], expected the kernel"):
        take(iter([("k", np.ones((2, 3)))]), (3, 2), "the kernel")
    with pytest.raises(OtherNetworkError, match="k is left over"):
        expect_end(iter([("k", bias)]))


def test_weights_in_other_files_are_refused(tmp_path):
    made = model()
    tensor = made.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", "/etc/passwd"
    path = tmp_path / "m.onnx"
    path.write_bytes(made.SerializeToString())
    with pytest.raises(OnnxFileError, match="'a' are in another file"):
        load_onnx(path)


def test_every_cut_and_flipped_byte_gives_arrays_or_one_error(tmp_path):
    data = model().SerializeToString()
    path = tmp_path / "m.onnx"
    rng = np.random.default_rng(0)
    refused = 0
    for trial in range(300):
        damaged = bytearray(data[: rng.integers(len(data))] if trial % 2 else data)
        for _ in range(rng.integers(1, 4)):
            if damaged:
                damaged[rng.integers(len(damaged))] = rng.integers(256)
        path.write_bytes(damaged)
        try:
            load_onnx(path)
        except OnnxFileError as error:
            assert str(path) in str(error)
            refused += 1
    assert refused > 100


@pytest.mark.parametrize(("content", "words"), [(b"", "no nodes"), (b"\xff" * 64, "damaged")])
def test_other_files_are_named(tmp_path, content, words):
    path = tmp_path / "m.onnx"
    path.write_bytes(content)
    with pytest.raises(OnnxFileError, match=words):
        load_onnx(path)
    with pytest.raises(OnnxFileError, match="No such file"):
        load_onnx(tmp_path / "absent.onnx")


def test_huge_shapes_are_refused(tmp_path):
    made = model()
    made.graph.initializer[0].dims[0] = 2**62
    path = tmp_path / "m.onnx"
    path.write_bytes(made.SerializeToString())
    with pytest.raises(OnnxFileError, match="'a' are damaged"):
        load_onnx(path)


def test_a_graph_within_graphs_is_refused(tmp_path):
    """Each graph in a node of the one around it, deeper than protobuf reads."""

    def field(number, data):
        length, size = b"", len(data)
        while size > 127:
            length, size = length + bytes([size & 127 | 128]), size >> 7
        return bytes([number << 3 | 2]) + length + bytes([size]) + data

    graph = b""
    for _ in range(200):
        graph = field(1, field(5, field(6, graph)))  # node, attribute, g
    path = tmp_path / "m.onnx"
    path.write_bytes(field(7, graph))
    with pytest.raises(OnnxFileError, match="not an ONNX file, or a damaged one"):
        load_onnx(path)


def test_endless_metadata_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(onnx_file, "_MAX_METADATA", 10)
    made = model()
    onnx.helper.set_model_props(made, {"character": "a" * 11})
    path = tmp_path / "m.onnx"
    path.write_bytes(made.SerializeToString())
    with pytest.raises(OnnxFileError, match="more than 10 characters of metadata"):
        load_onnx(path)


def test_large_files_are_not_opened(tmp_path, monkeypatch):
    monkeypatch.setattr(onnx_file, "_MAX_BYTES", 99)
    path = tmp_path / "m.onnx"
    path.write_bytes(bytes(100))
    with pytest.raises(OnnxFileError, match="100 bytes, expected at most 99"):
        load_onnx(path)


@pytest.mark.parametrize("command", [("convert",), ("doctor",)])
def test_commands_say_it_in_one_line(tmp_path, capsys, command):
    from ocrjax.cli.main import _parse, _run

    path = tmp_path / "m.onnx"
    more = [str(tmp_path / "out.pth")] if command == ("convert",) else []
    for content in (b"", b"\xff" * 64, model().SerializeToString()):
        path.write_bytes(content)
        status = _run(_parse(["ocrjax", *command, str(path), *more]))
        said, errors = capsys.readouterr()
        assert status in (1, 2) and "m.onnx" in said + errors
        assert "Traceback" not in errors and not (tmp_path / "out.pth").exists()

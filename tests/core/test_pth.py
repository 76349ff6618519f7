"""PyTorch files: made by hand in both formats, hostile ones, and against torch where it is."""

import contextlib
import importlib.util
import io
import json
import os
import pickle
import pickletools
import struct
import tracemalloc
import zipfile
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ocrcore.weights import pth_pickle as torch_pickle
from ocrcore.weights.pth import (
    TorchFileError,
    find_state_dict,
    load_pth,
    load_safetensors,
    load_weights,
    save_pth,
    save_safetensors,
    save_weights,
)
from ocrcore.weights.pth_pickle import DTYPES, Machine

MAGIC = 0x1950A86A20F9469CFC6C
CANARY = "OCRJAX_TEST_CANARY"


# ---- files by hand: bytes of pickle instructions, without torch and without our writer ----


def plain(value):
    return pickletools.optimize(pickle.dumps(value, 2))[2:-1]  # no memo of its own


def glob(module, name):
    return f"c{module}\n{name}\n".encode()


def call(function, *args):
    return function + b"(" + b"".join(args) + b"tR"


def dict_of(**items):
    return b"}(" + b"".join(plain(key) + item for key, item in items.items()) + b"u"


def storage(kind="FloatStorage", key="0", count=6, view=b""):
    inner = b"(" + plain("storage") + glob("torch", kind) + plain(key) + plain("cpu")
    return inner + plain(count) + view + b"tQ"


def tensor(data, offset, shape, strides):
    hooks = glob("collections", "OrderedDict") + b")R"
    rebuild = glob("torch._utils", "_rebuild_tensor_v2")
    return call(rebuild, data, plain(offset), plain(shape), plain(strides), plain(False), hooks)


def zip_file(path, body, records, *, compression=zipfile.ZIP_STORED, extra=()):
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("anything/data.pkl", b"\x80\x02" + body + b".")
        for key, data in records.items():
            archive.writestr(f"anything/data/{key}", data)
        for name, data in extra:
            archive.writestr(f"anything/{name}", data)
    return path


def legacy_file(path, body, records, *, keys=None, counts=None, itemsize=4):
    out = pickle.dumps(MAGIC, 2) + pickle.dumps(1001, 2) + pickle.dumps({"little_endian": True}, 2)
    out += b"\x80\x02" + body + b"." + pickle.dumps(list(records) if keys is None else keys, 2)
    for key, data in records.items():
        out += struct.pack("<q", (counts or {}).get(key, len(data) // itemsize)) + data
    path.write_bytes(out)
    return path


SIX = np.arange(6, dtype=np.float32).tobytes()
GOOD = dict_of(a=tensor(storage(view=b""), 0, (2, 3), (3, 1)), n=plain(7))
GOOD_OLD = dict_of(a=tensor(storage(view=b"N"), 0, (2, 3), (3, 1)), n=plain(7))


def refuse(path, match, **options):
    with pytest.raises(TorchFileError, match=match) as info:
        load_pth(path, **options)
    assert str(path) in str(info.value)


# ---- both formats ----


def test_reads_both_formats(tmp_path):
    expected = np.arange(6, dtype=np.float32).reshape(2, 3)
    for path in (
        zip_file(tmp_path / "new.pth", GOOD, {"0": SIX}),
        legacy_file(tmp_path / "old.pth", GOOD_OLD, {"0": SIX}),
    ):
        tree = load_pth(str(path))
        assert list(tree) == ["a", "n"] and tree["n"] == 7
        np.testing.assert_array_equal(tree["a"], expected)
        assert tree["a"].dtype == np.float32 and tree["a"].flags.writeable


def test_views_share_memory_and_keep_their_strides(tmp_path):
    body = dict_of(
        flat=tensor(storage(), 0, (6,), (1,)),
        column=tensor(storage(), 1, (2,), (3,)),
        transposed=tensor(storage(), 0, (3, 2), (1, 3)),
        scalar=tensor(storage(), 5, (), ()),
        repeated=tensor(storage(), 2, (4,), (0,)),
        empty=tensor(storage(), 0, (0, 3), (3, 1)),
        bare=storage(),
    )
    tree = load_pth(zip_file(tmp_path / "views.pth", body, {"0": SIX}))
    assert tree["column"].tolist() == [1, 4]
    assert tree["transposed"].tolist() == [[0, 3], [1, 4], [2, 5]]
    assert tree["scalar"].shape == () and tree["scalar"] == 5
    assert tree["repeated"].tolist() == [2, 2, 2, 2]
    assert tree["empty"].shape == (0, 3)
    assert tree["bare"].tolist() == [0, 1, 2, 3, 4, 5]
    tree["flat"][1] = 9
    assert tree["column"][0] == 9 and tree["transposed"][1, 0] == 9


def test_legacy_storage_views(tmp_path):
    view = b"(" + plain("v") + plain(2) + plain(3) + b"t"
    body = dict_of(a=tensor(storage(view=view), 1, (2,), (1,)))
    tree = load_pth(legacy_file(tmp_path / "view.pth", body, {"0": SIX}))
    assert tree["a"].tolist() == [3, 4]
    body = dict_of(a=tensor(storage(view=view), 2, (2,), (1,)))
    refuse(legacy_file(tmp_path / "beyond.pth", body, {"0": SIX}), "reads beyond storage '0'")
    view = b"(" + plain("v") + plain(4) + plain(3) + b"t"
    body = dict_of(a=tensor(storage(view=view), 0, (2,), (1,)))
    refuse(legacy_file(tmp_path / "root.pth", body, {"0": SIX}), "view reads beyond storage")


def test_python_2_pickle(tmp_path):
    # Byte strings as keys, and an OrderedDict built from a list of pairs.
    pair = b"](U\x01w" + tensor(storage(view=b"N"), 0, (6,), (1,)) + b"e"
    body = call(glob("collections", "OrderedDict"), b"](" + pair + b"e")
    tree = load_pth(legacy_file(tmp_path / "py2.pth", body, {"0": SIX}))
    assert list(tree) == ["w"] and tree["w"].shape == (6,)


def test_attributes_parameters_and_other_plain_objects(tmp_path):
    ordered = glob("collections", "OrderedDict")
    weights = ordered + b")R(" + plain("w") + tensor(storage(), 0, (6,), (1,)) + b"u"
    metadata = dict_of(_metadata=ordered + b")R") + b"b"
    rebuild = glob("torch._utils", "_rebuild_parameter")
    parameter = call(rebuild, tensor(storage(), 0, (6,), (1,)), plain(True), ordered + b")R")
    body = dict_of(
        weights=weights + metadata,
        parameter=parameter,
        size=call(glob("torch", "Size"), plain((2, 3))),
        dtype=glob("torch", "bfloat16"),
        device=call(glob("torch", "device"), plain("cuda"), plain(1)),
        milestones=call(glob("collections", "Counter"), plain({30: 1})),
    )
    tree = load_pth(zip_file(tmp_path / "objects.pth", body, {"0": SIX}))
    assert type(tree["weights"]) is dict and list(tree["weights"]) == ["w"]
    assert tree["parameter"].tolist() == [0, 1, 2, 3, 4, 5]
    assert tree["size"] == (2, 3) and tree["dtype"] == ml_dtypes.bfloat16
    assert tree["device"] == "cuda:1" and tree["milestones"] == {30: 1}


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_every_protocol_since_2(protocol):
    value = {
        "int": [0, 1, 255, 256, 65535, 65536, -1, 2**31, -(2**63), 2**64],
        "other": (None, True, False, 1.5, float("inf"), "", "ä€😀", "x" * 300),
        "tuples": ((), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4)),
        "nested": {"a": {1: [{}]}},
        7: [],
    }
    data = pickle.dumps(value, protocol)
    assert Machine(io.BytesIO(data), size=len(data)).load() == value


# ---- round trips ----

names = st.text(max_size=8)


@st.composite
def arrays(draw):
    dtype = draw(st.sampled_from(list(DTYPES.values())))
    shape = tuple(draw(st.lists(st.integers(0, 4), max_size=4)))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    data = rng.bytes(int(np.prod(shape)) * dtype.itemsize)
    array = np.frombuffer(data, np.uint8 if dtype.kind == "b" else dtype).reshape(shape)
    array = np.asarray(array & 1, np.bool_) if dtype.kind == "b" else array
    if draw(st.booleans()):
        array = array.T
    return array[::-1] if array.ndim and draw(st.booleans()) else array


scalars = st.one_of(
    *(st.none(), st.booleans(), st.integers(-(2**63), 2**63 - 1), st.floats(), names, arrays()),
    st.sampled_from(list(DTYPES.values())),
)
trees = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.lists(inner, max_size=3).map(tuple),
        st.dictionaries(names | st.integers(-(2**63), 2**63 - 1), inner, max_size=3),
    ),
    max_leaves=8,
)
nested_dicts = st.dictionaries(names, trees, max_size=4)


def assert_same(a, b):
    assert type(a) is type(b)
    if isinstance(a, np.ndarray):
        assert a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
    elif isinstance(a, dict):
        assert list(a) == list(b)
        for key in a:
            assert_same(a[key], b[key])
    elif isinstance(a, list | tuple):
        assert len(a) == len(b)
        for x, y in zip(a, b, strict=True):
            assert_same(x, y)
    elif isinstance(a, float):
        assert struct.pack("d", a) == struct.pack("d", b)
    else:
        assert a == b


no_fixture_check = settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    deadline=None,
    max_examples=60,
)


@no_fixture_check
@given(nested_dicts)
def test_round_trip(tmp_path, tree):
    save_pth(tmp_path / "a.pth", tree)
    assert_same(tree, load_pth(tmp_path / "a.pth"))


@no_fixture_check
@given(st.dictionaries(names, arrays(), max_size=4))
def test_safetensors_round_trip(tmp_path, state):
    state = {key: array for key, array in state.items() if array.dtype.kind != "c"}
    save_safetensors(tmp_path / "a.safetensors", state)
    (tmp_path / "other").touch()
    modes = {path.stat().st_mode for path in tmp_path.iterdir()}
    assert len(modes) == 1  # others may read it if they may read other files
    loaded = load_safetensors(tmp_path / "a.safetensors")
    assert set(loaded) == set(state)
    for key in state:
        assert_same(state[key], loaded[key])


def test_saved_file_is_aligned_atomic_and_the_same_each_time(tmp_path):
    state = {f"layer{i}": np.arange(i, dtype=np.float16) for i in range(20)}
    state["tied"] = state["layer9"]
    path = tmp_path / "new folder" / "a.pth"
    save_pth(path, state)
    first = path.read_bytes()
    save_pth(path, state)
    assert path.read_bytes() == first
    assert list(path.parent.iterdir()) == [path]
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        assert len([n for n in archive.namelist() if "/data/" in n]) == 20
        for info in archive.infolist():
            n_name, n_extra = struct.unpack_from("<26xHH", first, info.header_offset)
            assert (info.header_offset + 30 + n_name + n_extra) % 64 == 0
    tree = load_pth(path)
    assert np.shares_memory(tree["tied"], tree["layer9"])

    with pytest.raises(TorchFileError, match=r"state\['b'\]\[1\] is a set, expected an array"):
        save_pth(path, {"a": np.zeros(3), "b": [1, {2}]})
    assert path.read_bytes() == first and list(path.parent.iterdir()) == [path]


def save_as_if_large(path, tree, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(zipfile, "ZIP64_LIMIT", 100)
        save_pth(path, tree)
    data = path.read_bytes()
    assert b"PK\x06\x06" in data and b"\xff" * 8 in data  # zip64's end and fields
    return data


def test_files_over_4_gib_are_laid_out_as_zip64(tmp_path, monkeypatch):
    tree = {"a": np.arange(100.0), "b": np.arange(3), "c": np.arange(7, dtype=np.int8)}
    data = save_as_if_large(tmp_path / "a.pth", tree, monkeypatch)
    assert_same(load_pth(tmp_path / "a.pth"), tree)
    for array in tree.values():
        assert data.find(array.tobytes()) % 64 == 0
    path = tmp_path / "b.pth"
    end = data.rfind(b"PK\x06\x06")
    for at in range(end, end + 76):
        broken = bytearray(data)
        broken[at] ^= 0x55
        path.write_bytes(broken)
        with contextlib.suppress(TorchFileError):
            assert_same(load_pth(path), tree)


def test_byte_order_and_numpy_scalars_are_saved_by_value(tmp_path):
    save_pth(tmp_path / "a.pth", {"big": np.arange(3, dtype=">i4"), "x": np.float64(2.5)})
    tree = load_pth(tmp_path / "a.pth")
    assert tree["big"].tolist() == [0, 1, 2] and tree["big"].dtype == np.int32
    assert tree["x"].shape == () and tree["x"] == 2.5 and tree["x"].dtype == np.float64


@pytest.mark.parametrize(
    ("tree", "match"),
    [
        ({"a": {("x", 1): 2}}, "key"),
        ({True: 1}, "key True"),
        ({"a": np.array(["x"])}, r"state\['a'\] is an array of type <U1"),
        ({"a": 2**63}, "64 bits"),
        ({"a": os.system}, "builtin_function"),
        ([np.zeros(2)], "expected a dict"),
    ],
)
def test_what_cannot_be_saved(tmp_path, tree, match):
    with pytest.raises(TorchFileError, match=match):
        save_pth(tmp_path / "a.pth", tree)
    assert not list(tmp_path.iterdir())


def test_a_tree_that_holds_itself_cannot_be_saved(tmp_path):
    tree = {}
    tree["self"] = tree
    with pytest.raises(TorchFileError, match="deeper than 64"):
        save_pth(tmp_path / "a.pth", tree)


# ---- weights in checkpoints ----


def test_find_state_dict():
    a, b = np.zeros(1), np.ones(1)
    bare = {"x.weight": a, "x.bias": b}
    wrapped = {f"module.{key}": value for key, value in bare.items()}
    for tree in (
        bare,
        wrapped,
        {"iter": 5, "craft": wrapped, "optimizer": {"state": {0: {"step": a}}}},
        {"model": {"state_dict": bare}, "epoch": 1},
        {"epoch": 1, "ema_of_something": bare},
        {f"_orig_mod.module.{key}": value for key, value in bare.items()},
    ):
        assert find_state_dict(tree) == bare
    # Only a prefix of every name is one.
    partly = {"module.x": a, "y": b}
    assert find_state_dict(partly) == partly
    for tree in ({}, {"epoch": 1}, {"a": bare, "b": bare}, {"weights": [a, b]}):
        with pytest.raises(TorchFileError, match=r"some\.pth: no state dict in it. Its keys are"):
            find_state_dict(tree, name="some.pth")


def test_weights_by_suffix(tmp_path):
    state = {"w": np.arange(4, dtype=np.float32), "h": np.ones(2, ml_dtypes.bfloat16)}
    for name in ("a.pth", "a.pt", "a.safetensors", "A.PTH"):
        save_weights(tmp_path / name, {f"module.{key}": value for key, value in state.items()})
        loaded = load_weights(tmp_path / name)
        assert set(loaded) == {"w", "h"}
        for key in state:
            assert_same(loaded[key], state[key])
            loaded[key][0] = 1  # writable
    for function in (load_weights, lambda path: save_weights(path, state)):
        with pytest.raises(TorchFileError, match=r"a\.bin: the suffix is '.bin', expected"):
            function(tmp_path / "a.bin")


def test_bad_safetensors(tmp_path):
    path = tmp_path / "a.safetensors"
    save_safetensors(path, {"a": np.arange(6.0)})
    data = path.read_bytes()
    for cut in range(len(data)):
        path.write_bytes(data[:cut])
        with pytest.raises(TorchFileError, match=r"a\.safetensors: not a safetensors file"):
            load_safetensors(path)
    for dtype, payload, match in (
        ("BOOL", b"\x02", "values other than 0 and 1"),
        ("F8_E8M0", b"\0", "not a safetensors|NumPy lacks"),
        ("F32", b"\0", "not a safetensors"),
    ):
        header = json.dumps({"a": {"dtype": dtype, "shape": [1], "data_offsets": [0, 1]}}).encode()
        path.write_bytes(struct.pack("<Q", len(header)) + header + payload)
        with pytest.raises(TorchFileError, match=match):
            load_safetensors(path)
    with pytest.raises(TorchFileError, match="no such file"):
        load_safetensors(tmp_path / "none.safetensors")
    with pytest.raises(TorchFileError, match="'a' is a int, expected arrays"):
        save_safetensors(path, {"a": 1})
    with pytest.raises(TorchFileError, match="complex128, which safetensors lacks"):
        save_safetensors(path, {"a": np.zeros(1, complex)})


# ---- what is no PyTorch file ----


@pytest.mark.parametrize(
    ("data", "match"),
    [
        (b"", "the file is empty"),
        (b"<!DOCTYPE html><html>", "web page"),
        (b"\n <html>", "web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 9\n", "Git LFS"),
        (struct.pack("<Q", 128) + b'{"a"' + b" " * 124, "safetensors"),
        (b"\x1f\x8b\x08" + bytes(20), "gzip"),
        (b"\x89HDF\r\n\x1a\n", "HDF5"),
        (b"\x93NUMPY", "npy"),
        (bytes(257) + b"ustar" + bytes(250), "tar archive"),
        (b"hello", "begins with b'hello', expected"),
        (b"PK\x03\x04", "without its end"),
        (b"PK\x05\x06" + bytes(18), "without data.pkl"),
        (b"\x80", "truncated or damaged"),
        (pickle.dumps({"a": 1}, 2), "a pickle of something else"),
        (pickle.dumps(MAGIC, 2) + pickle.dumps(7, 2), "another version"),
    ],
)
def test_says_what_it_is_instead(tmp_path, data, match):
    path = tmp_path / "a.pth"
    path.write_bytes(data)
    refuse(path, match)


def test_other_archives_and_places(tmp_path):
    refuse(
        zip_file(tmp_path / "s.pth", GOOD, {"0": SIX}, extra=[("constants.pkl", b"x")]),
        "TorchScript",
    )
    np.savez(tmp_path / "a.npz", a=np.zeros(3))
    refuse(tmp_path / "a.npz", r"NumPy \.npz")
    refuse(tmp_path / "none.pth", "no such file")
    refuse(tmp_path, "not a regular file")
    refuse(zip_file(tmp_path / "list.pth", plain([1, 2]), {}), "holds one list, expected a dict")
    big = zip_file(tmp_path / "b.pth", GOOD, {"0": SIX}, extra=[("byteorder", b"big")])
    refuse(big, "big-endian")


def test_cut_anywhere(tmp_path):
    whole = [
        zip_file(tmp_path / "new.pth", GOOD, {"0": SIX}),
        legacy_file(tmp_path / "old.pth", GOOD_OLD, {"0": SIX}),
    ]
    save_pth(tmp_path / "ours.pth", {"a": np.arange(50.0)})
    for path in (*whole, tmp_path / "ours.pth"):
        data = path.read_bytes()
        cut_path = tmp_path / "cut.pth"
        for cut in range(len(data)):
            cut_path.write_bytes(data[:cut])
            refuse(cut_path, "truncated|ends|empty|begins with")


def test_flipped_bytes_never_end_in_another_error(tmp_path):
    rng = np.random.default_rng(0)
    path = tmp_path / "flipped.pth"
    for whole in (
        zip_file(tmp_path / "new.pth", GOOD, {"0": SIX}),
        legacy_file(tmp_path / "old.pth", GOOD_OLD, {"0": SIX}),
    ):
        data = whole.read_bytes()
        refused = 0
        for at in range(len(data)):
            for value in rng.integers(1, 256, 2):
                flipped = bytearray(data)
                flipped[at] ^= int(value)
                path.write_bytes(flipped)
                try:
                    tree = load_pth(path)
                except TorchFileError:
                    refused += 1
                else:
                    for array in tree.values():
                        assert not isinstance(array, np.ndarray) or array.size <= 24
        assert refused > len(data)


# ---- hostile files ----


@pytest.mark.parametrize(
    ("body", "match"),
    [
        (call(glob("os", "system"), plain(f"echo {CANARY}")), r"'os\.system'"),
        (call(glob("posix", "system"), plain("true")), r"'posix\.system'"),
        (call(glob("builtins", "eval"), plain("1")), r"'builtins\.eval'"),
        (call(glob("__builtin__", "getattr"), plain("")), r"'__builtin__\.getattr'"),
        (plain("os") + plain("system") + b"\x93" + plain(("x",)) + b"R", r"'os\.system'"),
        (dict_of(a=dict_of(b=b"](" + glob("os", "system") + b"e")), r"'os\.system'"),
        (call(glob("torch", "load"), plain("x")), r"'torch\.load'"),
        (call(glob("torch.hub", "load"), plain("x")), r"'torch\.hub\.load'"),
        (glob("torch._utils", "_rebuild_tensor_v2.__globals__"), "refused"),
        (glob("collections", "OrderedDict.__init__"), "refused"),
        (glob("numpy", "load"), "refused"),
        (glob("__main__", "Model") + b")\x81", r"'__main__\.Model'.*state_dict"),
        (b"(" + glob("os", "system") + plain("x") + b"o", "refused"),  # OBJ
        (b"(" + plain("x") + b"ios\nsystem\n", "instruction b'i'"),  # INST
        (glob("collections", "OrderedDict") + b")\x81", "instruction"),  # NEWOBJ
        (glob("collections", "OrderedDict") + b")}\x92", "instruction"),  # NEWOBJ_EX
        (b"\x82\x01", "instruction"),  # EXT1: the extension registry
        (b"P0\n", "instruction b'P'"),  # PERSID
        (b"(" + plain("module") + glob("torch", "Size") + b"NNtQ", "whole pickled model"),
        (
            glob("collections", "OrderedDict") + plain({"__class__": 1}) + b"b",
            "a _Call instead of a dict",
        ),
        (glob("torch", "float32") + plain({"x": 1}) + b"b", "instead of a dict"),
        (plain([1]) + plain({"append": 1}) + b"b", "a list instead of a dict"),
        (call(glob("torch", "FloatStorage"), plain(6)), "instead of a _Call"),
        (call(plain("text"), plain(6)), "a str instead of a _Call"),
        (glob("collections", "OrderedDict") + plain([1]) + b"R", "a list instead of a tuple"),
        (call(glob("collections", "OrderedDict"), plain([1])), "without pairs"),
        (call(glob("collections", "OrderedDict"), plain([("a", 1, 2)])), "without pairs"),
        (call(glob("collections", "OrderedDict"), plain([]), plain([])), "from 2 values"),
        (call(glob("collections", "OrderedDict"), plain("ab")), "a str instead of a list"),
        (call(glob("collections", "Counter"), plain([1])), "a list instead of a dict"),
        (call(glob("torch", "Size"), plain(5)), "a int instead of a tuple"),
        (call(glob("torch", "device"), plain(5)), "a device"),
        (call(glob("torch", "device"), plain("x"), plain(-1)), "a device"),
        (
            call(glob("torch._utils", "_rebuild_parameter"), plain(1), b"N", b"N"),
            "instead of a Tensor",
        ),
        (call(glob("torch._utils", "_rebuild_tensor_v2"), plain(1)), "from 1 values"),
        (tensor(plain("x"), 0, (6,), (1,)), "instead of a Storage"),
        (plain(("storage",)) + b"Q", "unknown way"),
        (plain(["storage"]) + b"Q", "unknown way"),
        (plain("storage") + b"Q", "unknown way"),
        (plain(("storage", "FloatStorage", "0", "cpu", 6)) + b"Q", "unknown way"),
        (storage(view=plain((1, 2))), "unknown way"),
        (storage(view=plain(("v", -1, 2))), "not an integer"),
        (storage(count=True), "not an integer"),
        (glob("torch", "FloatStorage"), "class or function"),
        (glob("collections", "OrderedDict"), "class or function"),
        (b"}" + plain((1, 2)) + plain(1) + b"s", "key of type tuple"),
        (b"}" + plain([]) + plain(1) + b"s", "key of type list"),
        (b"}" + plain(2**63) + plain(1) + b"s", "not a 64-bit integer"),
        (b"}(" + plain(1) + b"u", "a key without a value"),
        (b"]" + plain(1) + plain(1) + b"s", "instead of a dict"),
        (b"}" + plain(1) + b"a", "instead of a list"),
        (b"h\x05", "no object number 5"),
        (b"0000", "empty stack"),
        (b"(0", "empty stack"),
        (b"1", "empty stack"),
        (b"t", "empty stack"),
        (b"(q\x00", "empty stack"),
        (b"X\x03\0\0\0\xff\xfe\xfd", "not UTF-8"),
        (b"X\xff\xff\xff\x7f", "truncated"),
        (b"\x8d" + b"\xff" * 8, "truncated"),  # BINUNICODE8
        (b"\x8b\xff\xff\xff\x7f", "instruction"),  # LONG4
        (b"B\xff\xff\xff\x7f", "instruction"),  # BINBYTES
        (b"\x96" + b"\xff" * 8, "instruction"),  # BYTEARRAY8
        (b"c" + b"x" * 400, "without a name"),
        (b"c" + b"x" * 100, "without a name"),
        (b"\x80\x63", "version 99"),
    ],
)
def test_hostile_pickles(tmp_path, capfd, body, match):
    for path in (
        zip_file(tmp_path / "new.pth", dict_of(a=body), {"0": SIX}),
        legacy_file(tmp_path / "old.pth", dict_of(a=body), {"0": SIX} if b"tQ" in body else {}),
    ):
        refuse(path, match)
    assert CANARY not in capfd.readouterr().out


@pytest.mark.parametrize(
    ("offset", "shape", "strides", "match"),
    [
        (-1, (6,), (1,), "not an integer"),
        (0, (-6,), (1,), "not an integer"),
        (5, (2,), (-1,), "not an integer"),
        (2**63, (1,), (1,), "not an integer"),
        (1.0, (6,), (1,), "not an integer"),
        (0, ("6",), (1,), "not an integer"),
        (0, (True,), (1,), "not an integer"),
        (1, (6,), (1,), "reads beyond storage '0', which has 24 bytes"),
        (0, (7,), (1,), "reads beyond"),
        (0, (2,), (6,), "reads beyond"),
        (6, (), (), "reads beyond"),
        (0, (3, 3), (2, 1), "reads beyond"),
        (0, (2, 2), (2**62, 2**62), "reads beyond"),
        (0, (2**32, 2**32), (0, 0), "too large"),
        (0, (0, 2**62, 2**62), (1, 1, 1), "too large"),
        (0, (6,), (1, 1), "1 dimensions and 2 strides"),
        (0, (1,) * 65, (1,) * 65, "65 dimensions"),
        (0, [6], (1,), "a list instead of a tuple"),
        (0, (6,), None, "a NoneType instead of a tuple"),
        (0, (10**9,), (0,), "more than 16,7.* bytes in total"),
    ],
)
def test_hostile_tensors(tmp_path, offset, shape, strides, match):
    for view, make in ((b"", zip_file), (b"N", legacy_file)):
        body = dict_of(a=tensor(storage(view=view), offset, shape, strides))
        refuse(make(tmp_path / "a.pth", body, {"0": SIX}), match)


@pytest.mark.parametrize(
    ("shape", "strides"),
    [((1, 6), (1 << 61, 1)), ((1,), (1 << 61,)), ((6,), (1,))],
)
def test_the_stride_of_an_axis_of_one_element_may_be_any(tmp_path, shape, strides):
    body = dict_of(a=tensor(storage(count=6), 0, shape, strides))
    zip_file(tmp_path / "a.pth", body, {"0": np.arange(6, dtype="<f4").tobytes()})
    found = load_pth(tmp_path / "a.pth")["a"]
    np.testing.assert_array_equal(found, np.arange(found.size).reshape(shape))


@pytest.mark.parametrize("shape", [(0, 1 << 62), (1 << 62, 0), (0, *[1 << 30] * 4), (0,) * 65])
def test_shapes_that_numpy_cannot_hold(tmp_path, shape):
    body = dict_of(a=tensor(storage(count=0), 0, shape, (1,) * len(shape)))
    zip_file(tmp_path / "a.pth", body, {"0": b""})
    refuse(tmp_path / "a.pth", "shape|dimensions")


@pytest.mark.parametrize("shape", [[0, 1 << 62], [1] * 65, [1 << 62, 0]])
def test_safetensors_of_shapes_that_numpy_cannot_hold(tmp_path, shape):
    size = 0 if 0 in shape else 4
    head = json.dumps({"a": {"dtype": "F32", "shape": shape, "data_offsets": [0, size]}}).encode()
    path = tmp_path / "a.safetensors"
    path.write_bytes(len(head).to_bytes(8, "little") + head + bytes(size))
    with pytest.raises(TorchFileError, match=r"a\.safetensors: 'a' has the shape"):
        load_safetensors(path)


def test_max_bytes(tmp_path):
    body = dict_of(a=tensor(storage(), 0, (10**6, 6), (0, 1)))
    path = zip_file(tmp_path / "a.pth", body, {"0": SIX})
    refuse(path, "more than 16,7.* bytes in total")
    assert load_pth(path, max_bytes=24 * 10**6)["a"].shape == (10**6, 6)


def test_hostile_storages(tmp_path):
    make = tmp_path / "a.pth"
    refuse(zip_file(make, GOOD, {"0": SIX + b"x"}), "storage '0' has 25 bytes, expected 24")
    refuse(zip_file(make, GOOD, {"0": SIX[:-1]}), "storage '0' has 23 bytes, expected 24")
    refuse(zip_file(make, GOOD, {"1": SIX}), "storage '0' has nothing, expected 24")
    escape = dict_of(a=storage(key="../../../../etc/passwd"))
    refuse(zip_file(make, escape, {"0": SIX}), "has nothing")
    twice = dict_of(a=storage(), b=storage(count=7))
    refuse(zip_file(make, twice, {"0": SIX}), "24 bytes in one place and 28 in another")
    huge = dict_of(a=storage(count=2**62))
    refuse(zip_file(make, huge, {"0": SIX}), "expected 18446744073709551616")

    refuse(legacy_file(make, GOOD_OLD, {"0": SIX}, counts={"0": 5}), "5 elements in 24 bytes")
    refuse(legacy_file(make, GOOD_OLD, {"0": SIX}, counts={"0": -1}), "-1 elements in 24 bytes")
    refuse(legacy_file(make, GOOD_OLD, {"0": SIX}, keys=[]), "does not match its tensors")
    refuse(legacy_file(make, GOOD_OLD, {"0": SIX}, keys=["0", "0"]), "does not match its tensors")
    refuse(legacy_file(make, GOOD_OLD, {"0": SIX}, keys=["1"]), "does not match its tensors")
    refuse(legacy_file(make, GOOD_OLD, {"0": SIX}, keys=[0]), "not a list of names")
    refuse(legacy_file(make, GOOD_OLD, {"0": SIX}, keys=7), "not a list of names")

    truth = dict_of(a=tensor(storage("BoolStorage", count=2), 0, (2,), (1,)))
    refuse(zip_file(make, truth, {"0": b"\x01\x02"}), "other than 0 and 1")


def test_hostile_archives(tmp_path):
    path = tmp_path / "a.pth"
    zeros = dict_of(a=tensor(storage(count=10**7), 0, (10**7,), (1,)))
    zip_file(path, zeros, {"0": bytes(4 * 10**7)}, compression=zipfile.ZIP_DEFLATED)
    refuse(path, "compressed or encrypted")

    with pytest.warns(UserWarning, match="Duplicate name"):
        zip_file(path, GOOD, {"0": SIX}, extra=[("data.pkl", b"\x80\x02}.")])
    refuse(path, "two entries")

    # Entries that all claim the same bytes: as large together as the file is many times.
    block = np.zeros(20_000, np.float32).tobytes()
    keys = [str(i) for i in range(5)]
    body = dict_of(**{f"t{k}": storage(key=k, count=20_000) for k in keys})
    data = bytearray(zip_file(path, body, dict.fromkeys(keys, block)).read_bytes())
    with zipfile.ZipFile(path) as archive:
        first = next(i for i in archive.infolist() if i.filename.endswith("data/0"))
        kept = first.header_offset + 30 + len(first.filename) + len(block)
        directory = archive.start_dir
    tail = bytearray(data[directory:])
    at = -1
    while (at := tail.find(b"PK\x01\x02", at + 1)) >= 0:
        if struct.unpack_from("<I", tail, at + 42)[0] > first.header_offset:
            struct.pack_into("<I", tail, at + 42, first.header_offset)
    end = tail.rfind(b"PK\x05\x06")
    struct.pack_into("<I", tail, end + 16, kept)
    path.write_bytes(bytes(data[:kept]) + bytes(tail))
    refuse(path, "larger than possible")

    count = tmp_path / "count.pth"
    data = bytearray(zip_file(path, GOOD, {"0": SIX}).read_bytes())
    end = data.rfind(b"PK\x05\x06")
    for field, value in ((end + 10, 0xFFFF), (end + 12, 0x7FFFFFFF), (end + 16, 0x7FFFFFFF)):
        broken = bytearray(data)
        struct.pack_into("<H" if value == 0xFFFF else "<I", broken, field, value)
        count.write_bytes(broken)
        refuse(count, "zip archive")


def test_a_wrong_checksum_is_seen_and_a_missing_one_is_not_asked_for(tmp_path):
    path = zip_file(tmp_path / "a.pth", GOOD, {"0": SIX})
    data = bytearray(path.read_bytes())
    at = data.find(SIX)
    data[at + 5] ^= 1
    path.write_bytes(data)
    refuse(path, "'data/0' has a wrong checksum")
    # torch.serialization.set_crc32_options(False) leaves zero.
    entry = data.rfind(b"PK\x01\x02")
    data[entry + 16 : entry + 20] = bytes(4)
    path.write_bytes(data)
    assert load_pth(path)["a"].shape == (2, 3)


def laughs(depth, container):
    """A container that holds one twice that holds one twice ...: small to write, huge to walk."""
    return b"]q\x00" + container * depth


@pytest.mark.parametrize(
    "body",
    [
        b"]q\x00h\x00a",  # holds itself
        b"}q\x00" + plain("x") + b"h\x00s",
        b"]" * 200 + b"a" * 199,
        b")" + b"\x85" * 100_000,
        laughs(40, b"0h\x00h\x00\x86q\x00"),
        laughs(40, b"0](h\x00h\x00eq\x00"),
    ],
)
def test_bombs_of_nesting(tmp_path, body):
    path = zip_file(tmp_path / "a.pth", dict_of(a=body), {})
    refuse(path, "nested deeper")


def test_bombs_of_memory_and_time(tmp_path, monkeypatch):
    """What is cheap to write and dear to run costs the budget that it takes."""
    monkeypatch.setattr(torch_pickle, "MAX_STEPS", 100_000)
    ordered = glob("collections", "OrderedDict")
    long_list = b"](" + (plain("k") + b"N\x86") * 10_000 + b"eq\x01"
    copies = long_list + ordered + b"q\x020" + b"h\x02h\x01\x85R0" * 10_000
    long_tuple = b"(" + b"K\x01" * 50_000 + b"tq\x01"
    rebuild = glob("torch._utils", "_rebuild_tensor_v2")
    shapes = long_tuple + rebuild + b"(" + storage() + b"K\x00h\x01h\x01\x89NtR"
    keys = b"".join(b"\x8a\x08" + struct.pack("<q", i << 46) + b"N" for i in range(1000))
    devices = plain("x" * 90_000) + b"q\x01" + glob("torch", "device") + b"q\x02"
    devices += b"h\x02h\x01K\x01\x86R" * 1000
    steps = "more than 100,000 steps"
    tracemalloc.start()
    for body, match in (
        (b"Nr\xff\xff\xff\x7f(r\xff\xff\xff\x7f", "empty stack"),  # indices of the memo
        (b"]" * 200_000, steps),
        (b"}\x94" * 200_000, steps),
        (copies, steps),
        (shapes, "50000 dimensions"),
        (long_tuple + b"Q" * 1000, "unknown way"),
        (b"}(" + keys + b"u", steps),  # keys that collide
        (devices, steps),
    ):
        path = zip_file(tmp_path / "a.pth", dict_of(a=body), {"0": SIX})
        tracemalloc.reset_peak()
        refuse(path, match)
        assert tracemalloc.get_traced_memory()[1] < 30 << 20
    tracemalloc.stop()


def test_pickle_size_is_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr(torch_pickle, "MAX_PICKLE_BYTES", 1000)
    path = legacy_file(tmp_path / "a.pth", dict_of(a=plain("x" * 2000)), {})
    refuse(path, "more than 1,000 bytes")


opcodes = st.sampled_from([getattr(pickle, name) for name in pickle.__all__ if name.isupper()])
fragments = st.one_of(
    opcodes.filter(lambda code: isinstance(code, bytes)),
    st.sampled_from([b"K\x01", b"q\x00", b"h\x00", b"U\x01a", plain(("a", 1)), b"(", b"]", b"}"]),
    st.sampled_from([glob("collections", "OrderedDict"), glob("torch", "Size"), storage(), b")"]),
    st.sampled_from([glob("torch._utils", "_rebuild_tensor_v2"), glob("torch", "FloatStorage")]),
    st.binary(max_size=3),
)


@settings(max_examples=400, deadline=None)
@given(st.lists(fragments, max_size=30))
def test_any_instructions(parts):
    data = b"\x80\x02" + b"".join(parts) + b"."
    with contextlib.suppress(TorchFileError):
        Machine(io.BytesIO(data), size=len(data)).load()


# ---- against torch ----


@pytest.fixture(scope="module")
def torch():
    return pytest.importorskip("torch")


def as_numpy(torch, value):
    value = value.detach()
    if value.dtype == torch.bfloat16:
        return value.view(torch.uint16).numpy().view(ml_dtypes.bfloat16)
    return value.numpy()


@pytest.mark.parametrize("new", [True, False])
def test_reads_what_torch_writes(torch, tmp_path, new):
    base = torch.arange(24.0).reshape(4, 6)
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4))
    optimizer = torch.optim.AdamW(network.parameters())
    network(torch.ones(1, 3, 8, 8)).sum().backward()
    optimizer.step()
    tensors = {
        "base": base,
        "view": base[1:3, ::2],
        "transposed": base.T,
        "expanded": base[0, :1].expand(5),
        "channels_last": torch.ones(2, 3, 4, 5).to(memory_format=torch.channels_last),
        "empty": torch.zeros(0, 3),
        "scalar": torch.tensor(3),
        "bool": torch.tensor([True, False]),
        "parameter": torch.nn.Parameter(torch.ones(3)),
        "complex": torch.ones(2, dtype=torch.complex64),
    }
    for name in ("float16", "bfloat16", "float64", "int8", "int16", "int32", "uint8", "uint16"):
        tensors[name] = torch.arange(5).to(getattr(torch, name))
    checkpoint = {
        "craft": {f"module.{key}": value for key, value in network.state_dict().items()},
        "optimizer": optimizer.state_dict(),
        "tensors": tensors,
        "plain": [1, 2.5, "text", None, (True,), torch.float16, torch.Size([2, 3])],
        "state": network.state_dict(),
        "device": torch.device("cpu"),
    }
    path = tmp_path / "a.pth"
    torch.save(checkpoint, path, _use_new_zipfile_serialization=new)
    tree = load_pth(path)
    for key, value in tensors.items():
        expected = as_numpy(torch, value)
        assert_same(tree["tensors"][key], expected)
        assert expected.size == 0 or tree["tensors"][key].strides == expected.strides, key
    assert np.shares_memory(tree["tensors"]["base"], tree["tensors"]["view"])
    assert tree["plain"] == [1, 2.5, "text", None, (True,), np.float16, (2, 3)]
    assert tree["device"] == "cpu"
    assert tree["optimizer"]["param_groups"] == optimizer.state_dict()["param_groups"]
    state = find_state_dict(tree)
    assert list(state) == list(network.state_dict())
    for key, value in network.state_dict().items():
        assert_same(state[key], as_numpy(torch, value))
    for index, moments in optimizer.state_dict()["state"].items():
        for key, value in moments.items():
            assert_same(tree["optimizer"]["state"][index][key], as_numpy(torch, value))


def test_torch_reads_what_we_write(torch, tmp_path):
    rng = np.random.default_rng(0)
    tree = {
        "nested": {"list": [1, -7, 2**40, 2.5, "ä", None, True], "tuple": (1, ()), 3: {}},
        "strided": np.arange(12, dtype=np.float32).reshape(3, 4).T,
        "scalar": np.array(5, np.int64),
        "empty": np.zeros((2, 0, 3), np.float32),
        "dtype": np.dtype(ml_dtypes.bfloat16),
    }
    for name, dtype in DTYPES.items():
        data = rng.integers(0, 2, 10 * dtype.itemsize).astype(np.uint8)
        tree[name] = data.view(dtype)
    path = tmp_path / "a.pth"
    save_pth(path, tree)
    for options in ({}, {"mmap": True}):
        read = torch.load(path, weights_only=True, **options)
        assert read["nested"] == tree["nested"] and list(read) == list(tree)
        assert read["dtype"] == torch.bfloat16
        for name, dtype in DTYPES.items():
            assert read[name].dtype == getattr(torch, name)
            assert read[name].view(torch.uint8).numpy().tobytes() == tree[name].tobytes(), dtype
        assert read["strided"].is_contiguous() and read["empty"].shape == (2, 0, 3)
        np.testing.assert_array_equal(read["strided"].numpy(), tree["strided"])
        assert read["scalar"].shape == () and read["scalar"] == 5


def test_torch_reads_our_zip64(torch, tmp_path, monkeypatch):
    array = np.arange(100.0)
    save_as_if_large(tmp_path / "a.pth", {"a": array, "b": array[:3]}, monkeypatch)
    for options in ({}, {"mmap": True}):
        read = torch.load(tmp_path / "a.pth", weights_only=True, **options)
        assert read["a"].tolist() == array.tolist() and read["b"].tolist() == [0, 1, 2]


def test_torch_opens_a_state_dict_in_a_network(torch, tmp_path):
    network = torch.nn.Linear(3, 2)
    state = {"weight": np.ones((2, 3), np.float32), "bias": np.zeros(2, np.float32)}
    save_pth(tmp_path / "a.pth", state)
    network.load_state_dict(torch.load(tmp_path / "a.pth", weights_only=True))
    assert network(torch.ones(3)).tolist() == [3, 3]


def test_whole_modules_and_other_objects_are_refused(torch, tmp_path):
    torch.save({"model": torch.nn.Linear(2, 2)}, tmp_path / "a.pth")
    refuse(tmp_path / "a.pth", r"'torch\.nn\.modules\.linear\.Linear'.*state_dict")
    torch.save({"best": np.float64(1)}, tmp_path / "a.pth")
    refuse(tmp_path / "a.pth", "'numpy")
    torch.save({"path": Path("x")}, tmp_path / "a.pth")
    refuse(tmp_path / "a.pth", "'pathlib")


def model_file(name):
    spec = importlib.util.find_spec("easyocr_en_models")
    if spec is None:
        pytest.skip("the extra `weights` is not installed")
    return Path(spec.submodule_search_locations[0]) / "models" / name


@pytest.mark.parametrize(("name", "count"), [("craft_mlt_25k.pth", 154), ("english_g2.pth", 44)])
def test_real_files(tmp_path, name, count):
    path = model_file(name)
    state = load_weights(path)
    assert len(state) == count and not any(key.startswith("module.") for key in state)
    save_pth(tmp_path / name, state)
    assert_same(load_pth(tmp_path / name), state)


@pytest.mark.parametrize("name", ["craft_mlt_25k.pth", "english_g2.pth"])
def test_real_files_equal_torch(torch, name):
    path = model_file(name)
    expected = torch.load(path, map_location="cpu", weights_only=True)
    assert_same(load_pth(path), {key: value.numpy() for key, value in expected.items()})

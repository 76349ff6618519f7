"""PyTorch weight files without PyTorch, and safetensors.

`load_pth` reads both formats of `torch.save`: a zip archive (since 1.6) and a sequence of pickles
followed by raw data (before). Files are treated as hostile: nothing in them is executed
(`ocrcore.weights.pth_pickle`), and memory is bounded by their size. `save_pth` writes the zip
format.
"""

from __future__ import annotations

import os
import struct
import sys
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import safetensors
import safetensors.numpy

from ocrcore.files import replacing
from ocrcore.weights.pth_pickle import DTYPES, INT_LIMIT, STORAGES, TorchFileError
from ocrcore.weights.pth_reader import MAX_DEPTH, check_bool, read_tree

__all__ = [
    "TorchFileError",
    "find_state_dict",
    "load_pth",
    "load_safetensors",
    "load_weights",
    "save_pth",
    "save_safetensors",
    "save_weights",
]

State = dict[str, np.ndarray]

_ALIGNMENT = 64
_SAFETENSORS_DTYPES = {
    "BOOL": "bool",
    "U8": "uint8",
    "I8": "int8",
    "U16": "uint16",
    "I16": "int16",
    "U32": "uint32",
    "I32": "int32",
    "U64": "uint64",
    "I64": "int64",
    "F8_E4M3": "float8_e4m3fn",
    "F8_E5M2": "float8_e5m2",
    "F16": "float16",
    "BF16": "bfloat16",
    "F32": "float32",
    "F64": "float64",
}
_TORCH_NAMES = {dtype: name for name, dtype in DTYPES.items()}
_STORAGE_NAMES = {DTYPES[name]: storage for storage, name in STORAGES.items()}
# Keys under which training programs store the weights, the likelier first.
_WRAPPERS = ("craft", "state_dict", "model_state_dict", "model", "net", "network", "weights")
_PREFIXES = ("module.", "_orig_mod.")  # DataParallel, torch.compile


def load_pth(path: str | Path, *, max_bytes: int | None = None) -> dict[Any, Any]:
    """Read a file written by `torch.save`, in either of its formats.

    Args:
        path: the file. Its first bytes tell the format, not its suffix.
        max_bytes: maximum total size of all tensors if each is copied out of its storage; by
            default four times the file plus 16 MiB. Tensors that share or repeat data ("expanded"
            ones) can be larger than the file, and a small hostile file can claim huge ones.

    Returns:
        The saved object, which must be a dict: dicts, lists, tuples, strings, numbers and None as
        they are, an OrderedDict as dict, tensors and parameters as arrays of the same type
        (bfloat16 and float8 from ml_dtypes), shape and strides, torch dtypes as `np.dtype`, devices
        as strings, bare storages as flat arrays. Arrays are writable and live in memory, not in
        the file; those that share a storage in the file share memory.

    Raises:
        TorchFileError: the file is missing, truncated, damaged, not such a file, or asks for
            anything but tensors and plain values. No content raises any other error.
    """
    path = Path(path)
    with _named(path), _open(path) as file:
        out = read_tree(file, os.fstat(file.fileno()).st_size, max_bytes)
        if type(out) is not dict:
            raise TorchFileError(f"it holds one {type(out).__name__}, expected a dict of weights")
        return out


def save_pth(path: str | Path, tree: Mapping[Any, Any]) -> None:
    """Write a file that `torch.load` opens, also with `weights_only=True` and `mmap=True`.

    The write is atomic: the file is written to a temporary name and renamed. The same tree gives
    the same bytes. An array that occurs twice is stored once, as torch does for tied weights.

    Args:
        path: the file; its folder is created if needed.
        tree: dicts (keys are strings or ints), lists, tuples, strings, numbers, None, arrays,
            NumPy scalars (they become tensors without dimensions), and `np.dtype` (they become
            torch dtypes).

    Raises:
        TorchFileError: a value cannot be saved (the message says where in the tree), or a system
            error.
    """
    path = Path(path)
    with _named(path):
        if not isinstance(tree, Mapping):
            raise TorchFileError(f"cannot save a {type(tree).__name__}, expected a dict")
        writer = _Pickler()
        writer.write(tree, "state", 0)
        with (
            replacing(path) as part,
            part.open("wb") as file,
            zipfile.ZipFile(file, "w") as archive,
        ):
            _add_member(archive, file, "data.pkl", b"\x80\x02" + bytes(writer.out) + b".")
            _add_member(archive, file, "byteorder", b"little")
            for number, array in enumerate(writer.arrays):
                _add_member(archive, file, f"data/{number}", _raw(array))
            _add_member(archive, file, "version", b"3\n")


def find_state_dict(tree: Mapping[Any, Any], *, name: str = "checkpoint") -> State:
    """Find the weights of a network in the checkpoint of a training program.

    A dict that holds only arrays is the state dict. Otherwise it is searched under the names that
    training programs use ("craft", "state_dict", "model", ...), then under the only key that holds
    one. Prefixes that wrappers add to every name ("module.", "_orig_mod.") are removed.

    Args:
        tree: as returned by `load_pth`.
        name: name of the file, for the error.

    Returns:
        The arrays by bare name, in the order of the file.

    Raises:
        TorchFileError: there is none, or several and none under a known name; lists the keys.
    """
    state = _unwrap(tree, depth=0)
    if state is None:
        keys = ", ".join(repr(key)[:60] for key in list(tree)[:12]) or "nothing"
        raise TorchFileError(
            f"{name}: no state dict in it. Its keys are {keys}; expected a dict of arrays, "
            f"at the top level or under one of {', '.join(_WRAPPERS)}"
        )
    while prefix := next((p for p in _PREFIXES if all(k.startswith(p) for k in state)), None):
        state = {key.removeprefix(prefix): array for key, array in state.items()}
    return state


def load_safetensors(path: str | Path) -> State:
    """Read a safetensors file; arrays are writable and own their memory.

    Raises:
        TorchFileError: missing, truncated, damaged, or of a type that NumPy lacks.
    """
    path = Path(path)
    with _named(path), _open(path) as file:
        try:
            items = safetensors.deserialize(file.read())
        except safetensors.SafetensorError as error:
            raise TorchFileError(f"not a safetensors file, truncated or damaged: {error}") from None
        state = {}
        for key, item in items:
            dtype = _SAFETENSORS_DTYPES.get(item["dtype"])
            if dtype is None:
                raise TorchFileError(f"{key!a} is of type {item['dtype']}, which NumPy lacks")
            try:
                state[key] = np.frombuffer(item["data"], DTYPES[dtype]).reshape(item["shape"])
            except (ValueError, OverflowError) as error:
                shape = f"{item['shape'][:8]}{' ...' if len(item['shape']) > 8 else ''}"
                raise TorchFileError(
                    f"{key!a} has the shape {shape}, which NumPy cannot hold: {error}"
                ) from error
            if dtype == "bool":
                check_bool(state[key])
        return state


def save_safetensors(path: str | Path, state: Mapping[str, Any]) -> None:
    """Write arrays by name as safetensors, atomically.

    Raises:
        TorchFileError: a key is not a string, a value is not an array or of a type that the format
            lacks; or a system error.
    """
    path = Path(path)
    with _named(path):
        arrays: State = {}
        for key, value in state.items():
            if not isinstance(key, str) or not hasattr(value, "__array__"):
                raise TorchFileError(
                    f"{key!r} is a {type(value).__name__}, expected arrays by name "
                    "(a nested checkpoint can be saved as .pth)"
                )
            arrays[key] = _native(np.asarray(value))
            if _TORCH_NAMES.get(arrays[key].dtype) not in _SAFETENSORS_DTYPES.values():
                raise TorchFileError(
                    f"{key!r} is of type {arrays[key].dtype}, which safetensors lacks"
                )
        with replacing(path) as part:
            # Not `save_file`: only the owner could read its file.
            part.write_bytes(safetensors.numpy.save(arrays))


def load_weights(path: str | Path) -> State:
    """Read a network's state dict from a .pth, .pt or .safetensors file.

    Wrappers that training programs put around the weights are removed (`find_state_dict`).

    Raises:
        TorchFileError: as for `load_pth`, `load_safetensors` and `find_state_dict`; or another
            suffix.
    """
    path = Path(path)
    tree = load_safetensors(path) if _is_safetensors(path) else load_pth(path)
    return find_state_dict(tree, name=str(path))


def save_weights(path: str | Path, state: Mapping[str, Any]) -> None:
    """Write a state dict as .pth, .pt or .safetensors, by suffix.

    Raises:
        TorchFileError: as for `save_pth` and `save_safetensors`; or another suffix.
    """
    path = Path(path)
    (save_safetensors if _is_safetensors(path) else save_pth)(path, state)


def _is_safetensors(path: Path) -> bool:
    suffix = path.suffix.lower()
    if suffix not in (".pth", ".pt", ".safetensors"):
        raise TorchFileError(
            f"{path}: the suffix is {suffix!r}, expected .pth, .pt or .safetensors"
        )
    return suffix == ".safetensors"


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Prepend the file name to every error, and convert system errors to `TorchFileError`."""
    try:
        yield
    except TorchFileError as error:
        raise TorchFileError(f"{path}: {error}") from error
    except OSError as error:
        raise TorchFileError(f"{path}: {error.strerror or error}") from error
    except MemoryError as error:
        raise TorchFileError(f"{path}: not enough memory to read it") from error


@contextmanager
def _open(path: Path) -> Iterator[BinaryIO]:
    if not path.exists():
        raise TorchFileError("no such file")
    if not path.is_file():  # a pipe or device may never end
        raise TorchFileError("not a regular file")
    with path.open("rb") as file:
        yield file


class _Pickler:
    """Writes the pickle of a tree, protocol 2 as torch does, and collects its arrays."""

    def __init__(self) -> None:
        self.out = bytearray()
        self.arrays: list[np.ndarray] = []
        self._seen: dict[int, tuple[Any, int]] = {}

    def write(self, value: Any, where: str, depth: int) -> None:
        out = self.out
        if depth > MAX_DEPTH:
            raise TorchFileError(f"{where[:200]} is nested deeper than {MAX_DEPTH} levels")
        if hasattr(value, "__array__"):  # includes NumPy scalars: np.float64 is a Python float
            self._write_array(value, where)
        elif value is None or isinstance(value, bool):
            out += {None: b"N", True: b"\x88", False: b"\x89"}[value]
        elif isinstance(value, int):
            self._write_int(value, where)
        elif isinstance(value, float):
            out += b"G" + struct.pack(">d", value)
        elif isinstance(value, str):
            data = value.encode("utf-8", "surrogatepass")
            out += b"X" + struct.pack("<I", len(data)) + data
        elif isinstance(value, np.dtype) and value in _TORCH_NAMES:
            self._write_global(f"torch {_TORCH_NAMES[value]}")
        elif isinstance(value, Mapping):
            out += b"}("
            for key, item in value.items():
                if isinstance(key, bool) or not isinstance(key, str | int):
                    raise TorchFileError(f"{where} has the key {key!r}, expected strings or ints")
                self.write(key, where, depth + 1)
                self.write(item, f"{where}[{key!r}]", depth + 1)
            out += b"u"
        elif isinstance(value, list | tuple):
            out += b"](" if isinstance(value, list) else b"("
            for index, item in enumerate(value):
                self.write(item, f"{where}[{index}]", depth + 1)
            out += b"e" if isinstance(value, list) else b"t"
        else:
            raise TorchFileError(
                f"{where} is a {type(value).__name__}, expected an array, a dict, a list, a tuple, "
                "a number, a string or None"
            )

    def _write_int(self, value: int, where: str) -> None:
        if 0 <= value < 1 << 8:
            self.out += b"K" + struct.pack("<B", value)
        elif -(1 << 31) <= value < 1 << 31:
            self.out += b"J" + struct.pack("<i", value)
        elif -INT_LIMIT <= value < INT_LIMIT:
            self.out += b"\x8a\x08" + struct.pack("<q", value)
        else:
            raise TorchFileError(f"{where} is the number {value}, expected at most 64 bits")

    def _write_array(self, value: Any, where: str) -> None:
        if id(value) not in self._seen:
            self.arrays.append(np.asarray(value))
            self._seen[id(value)] = (value, len(self.arrays) - 1)
        number = self._seen[id(value)][1]
        array = self.arrays[number]
        dtype = array.dtype.newbyteorder("=")
        if dtype not in _TORCH_NAMES:
            raise TorchFileError(
                f"{where} is an array of type {dtype}, expected one of {', '.join(DTYPES)}"
            )
        # Torch has no storage class for uint16 and the like: it stores bytes and names the type.
        typed = dtype in _STORAGE_NAMES
        rebuild = "torch._utils _rebuild_tensor_v2" if typed else "torch._utils _rebuild_tensor_v3"
        storage = f"torch {_STORAGE_NAMES[dtype]}" if typed else "torch.storage UntypedStorage"
        strides = [1]
        for length in reversed(array.shape[1:]):
            strides.append(strides[-1] * max(length, 1))
        self._write_global(rebuild)
        self.out += b"(("
        self.write("storage", where, 0)
        self._write_global(storage)
        self.write(str(number), where, 0)
        self.write("cpu", where, 0)
        self._write_int(array.size if typed else array.nbytes, where)
        self.out += b"tQ"
        self._write_int(0, where)
        self.write(array.shape, where, 0)
        self.write(tuple(reversed(strides[: array.ndim])), where, 0)
        self.out += b"\x89"  # requires_grad
        self._write_global("collections OrderedDict")  # of backward hooks
        self.out += b")R"
        if not typed:
            self.write(dtype, where, 0)
        self.out += b"tR"

    def _write_global(self, name: str) -> None:
        module, name = name.split()
        self.out += f"c{module}\n{name}\n".encode()


def _native(array: np.ndarray) -> np.ndarray:
    """Return the array in C order and native byte order; a copy only if needed."""
    return np.asarray(array, array.dtype.newbyteorder("="), order="C")


def _raw(array: np.ndarray) -> memoryview:
    if sys.byteorder != "little":
        raise TorchFileError("PyTorch files are written on little-endian machines only")
    return _native(array).reshape(-1).view(np.uint8).data


def _add_member(
    archive: zipfile.ZipFile, file: BinaryIO, name: str, data: bytes | memoryview
) -> None:
    """Store an entry with its data aligned to 64 bytes, as torch does for mmap."""
    info = zipfile.ZipInfo(f"archive/{name}")
    large = len(data) >= zipfile.ZIP64_LIMIT
    # The local header: 30 fixed bytes, name, a filler of 4 bytes or more, the zip64 field.
    start = file.tell() + 30 + len(info.filename) + 4 + (20 if large else 0)
    filler = -start % _ALIGNMENT
    info.extra = struct.pack("<2sH", b"FB", filler) + b"Z" * filler
    with archive.open(info, "w", force_zip64=large) as entry:
        entry.write(data)


def _as_state(value: Any) -> State | None:
    """Return a dict of arrays by string; None for anything else."""
    if not isinstance(value, Mapping) or not value:
        return None
    if all(isinstance(k, str) and isinstance(v, np.ndarray) for k, v in value.items()):
        return dict(value)
    return None


def _unwrap(tree: Mapping[Any, Any], *, depth: int) -> State | None:
    if (state := _as_state(tree)) is not None:
        return state
    for key in _WRAPPERS:
        inner = tree.get(key)
        if isinstance(inner, Mapping) and depth < 4:
            state = _unwrap(inner, depth=depth + 1)
            if state is not None:
                return state
    found = [state for value in tree.values() if (state := _as_state(value)) is not None]
    return found[0] if len(found) == 1 else None

"""A pickle machine that can build tensors and plain values, and nothing else.

A pickle is a program: Python's own unpickler imports and calls whatever the file names. This one
supports the few instructions that PyTorch's writer emits (documented in pickletools), calls only
the functions below, and charges every instruction to a budget. So a hostile file ends in
`TorchFileError` and not in code execution, a hang or exhausted memory. The entry point is
`ocrcore.weights.pth`.
"""

from __future__ import annotations

import math
import pickle
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, BinaryIO

import ml_dtypes
import numpy as np

MAX_PICKLE_BYTES = 1 << 26
# torch.save writes about 40 instructions per tensor, so this is enough for 50,000 tensors.
MAX_STEPS = 2_000_000
# Integers hash to themselves, so a file can choose keys that collide; their number must be small
# enough to bound the quadratic time of collisions.
INT_KEY_STEPS = 200
MAX_DIMS = 64  # numpy's and torch's own limit
INT_LIMIT = 1 << 63

DTYPES: dict[str, np.dtype] = {
    name: np.dtype(getattr(ml_dtypes, name, name))
    for name in (
        *("float64", "float32", "float16", "bfloat16", "float8_e4m3fn", "float8_e5m2"),
        *("int64", "int32", "int16", "int8", "uint8", "uint16", "uint32", "uint64"),
        *("bool", "complex64", "complex128"),
    )
}
"""NumPy's type for each of torch's, by torch's name."""

STORAGES: dict[str, str] = {
    "DoubleStorage": "float64",
    "FloatStorage": "float32",
    "HalfStorage": "float16",
    "BFloat16Storage": "bfloat16",
    "LongStorage": "int64",
    "IntStorage": "int32",
    "ShortStorage": "int16",
    "CharStorage": "int8",
    "ByteStorage": "uint8",
    "BoolStorage": "bool",
    "ComplexFloatStorage": "complex64",
    "ComplexDoubleStorage": "complex128",
}
"""Torch's name of a type for each of its typed storages."""


class TorchFileError(ValueError):
    """A weights file that cannot be read or written; names the file and what was expected."""


@dataclass(frozen=True, slots=True)
class Storage:
    """A range of bytes that the file stores outside the pickle.

    Attributes:
        key: its name in the file.
        dtype: type of its elements.
        start: first byte of this view of it.
        nbytes: number of bytes of this view of it.
    """

    key: str
    dtype: np.dtype
    start: int
    nbytes: int


@dataclass(frozen=True, slots=True)
class Tensor:
    """A view of a storage, checked to lie inside it; offset and strides in elements."""

    storage: Storage
    dtype: np.dtype
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class _Call:
    function: Callable[[Machine, tuple[Any, ...]], Any]


@dataclass(frozen=True, slots=True)
class _StorageType:
    dtype: np.dtype


class Machine:
    """Runs the pickles of one file.

    Args:
        stream: positioned at the pickle; after `load` it is positioned after the pickle.
        size: number of bytes left in the stream.

    Attributes:
        storages: size in bytes of every storage that was named, by key.
    """

    def __init__(self, stream: BinaryIO, *, size: int) -> None:
        self._stream = stream
        self._size = size
        self._used = 0
        self._steps = MAX_STEPS
        self.storages: dict[str, int] = {}

    def load(self) -> Any:
        """Run one pickle.

        Returns:
            dicts, lists, tuples, strings, numbers, None, `np.dtype`, and `Tensor` and `Storage`
            instead of data. Containers may be shared, contain themselves, or hold other objects of
            this module: the caller must walk and check the tree.

        Raises:
            TorchFileError: truncated, a forbidden instruction or object, or over a limit.
        """
        stack: list[Any] = []
        marks: list[int] = []
        memo: dict[int, Any] = {}

        def pop() -> Any:
            if len(stack) <= (marks[-1] if marks else 0):
                raise TorchFileError("the pickle is damaged: it takes from an empty stack")
            return stack.pop()

        def pop_mark() -> list[Any]:
            if not marks:
                raise TorchFileError("the pickle is damaged: it takes from an empty stack")
            start = marks.pop()
            items = stack[start:]
            del stack[start:]
            return items

        def get(index: int) -> Any:
            if index not in memo:
                raise TorchFileError(f"the pickle is damaged: it has no object number {index}")
            return memo[index]

        def put(index: int) -> None:
            value = pop()
            stack.append(value)
            memo[index] = value

        while True:
            self.pay(1)
            match self._read(1):
                case pickle.PROTO:
                    if (version := self._number(1)) > pickle.HIGHEST_PROTOCOL:
                        raise TorchFileError(f"the pickle is of version {version}, expected 2 to 5")
                case pickle.FRAME:
                    self._number(8)
                case pickle.STOP:
                    return pop()
                case pickle.MARK:
                    marks.append(len(stack))
                case pickle.POP:
                    pop()
                case pickle.POP_MARK:
                    pop_mark()
                case pickle.BINPUT:
                    put(self._number(1))
                case pickle.LONG_BINPUT:
                    put(self._number(4))
                case pickle.MEMOIZE:
                    put(len(memo))
                case pickle.BINGET:
                    stack.append(get(self._number(1)))
                case pickle.LONG_BINGET:
                    stack.append(get(self._number(4)))
                case pickle.NONE:
                    stack.append(None)
                case pickle.NEWTRUE:
                    stack.append(True)
                case pickle.NEWFALSE:
                    stack.append(False)
                case pickle.BININT1:
                    stack.append(self._number(1))
                case pickle.BININT2:
                    stack.append(self._number(2))
                case pickle.BININT:
                    stack.append(int.from_bytes(self._read(4), "little", signed=True))
                case pickle.LONG1:
                    data = self._read(self._number(1))
                    stack.append(int.from_bytes(data, "little", signed=True))
                case pickle.BINFLOAT:
                    stack.append(struct.unpack(">d", self._read(8))[0])
                case pickle.SHORT_BINUNICODE | pickle.SHORT_BINSTRING:  # the latter from Python 2
                    stack.append(self._text(self._number(1)))
                case pickle.BINUNICODE | pickle.BINSTRING:
                    stack.append(self._text(self._number(4)))
                case pickle.BINUNICODE8:
                    stack.append(self._text(self._number(8)))
                case pickle.EMPTY_DICT:
                    stack.append({})
                case pickle.EMPTY_LIST:
                    stack.append([])
                case pickle.EMPTY_TUPLE:
                    stack.append(())
                case pickle.TUPLE1:
                    stack.append((pop(),))
                case pickle.TUPLE2:
                    second, first = pop(), pop()
                    stack.append((first, second))
                case pickle.TUPLE3:
                    third, second, first = pop(), pop(), pop()
                    stack.append((first, second, third))
                case pickle.TUPLE:
                    stack.append(tuple(pop_mark()))
                case pickle.APPEND:
                    item = pop()
                    stack.append(_as(list, pop()))
                    stack[-1].append(item)
                case pickle.APPENDS:
                    items = pop_mark()
                    stack.append(_as(list, pop()))
                    stack[-1].extend(items)
                case pickle.SETITEM:
                    item, key = pop(), pop()
                    stack.append(_as(dict, pop()))
                    self._set_items(stack[-1], [key, item])
                case pickle.SETITEMS:
                    items = pop_mark()
                    stack.append(_as(dict, pop()))
                    self._set_items(stack[-1], items)
                case pickle.GLOBAL:
                    module, name = self._line(), self._line()
                    stack.append(_find_global(f"{module}.{name}"))
                case pickle.STACK_GLOBAL:
                    name, module = _as(str, pop()), _as(str, pop())
                    stack.append(_find_global(f"{module}.{name}"))
                case pickle.REDUCE:
                    args, function = _as(tuple, pop()), _as(_Call, pop())
                    stack.append(function.function(self, args))
                case pickle.BUILD:
                    # The attributes of an OrderedDict, such as `_metadata` of a state dict, are not
                    # needed here. Nothing else has any.
                    pop()
                    stack.append(_as(dict, pop()))
                case pickle.BINPERSID:
                    stack.append(self._storage(pop()))
                case code:
                    raise TorchFileError(
                        f"the pickle has the instruction {code!r}, which weights never need: "
                        "damaged, or not a file of weights"
                    )

    def pay(self, steps: int) -> None:
        """Charges the cost of an instruction to the budget."""
        self._steps -= steps
        if self._steps < 0:
            raise TorchFileError(
                f"the pickle takes more than {MAX_STEPS:,} steps: not a file of weights"
            )

    def _read(self, count: int) -> bytes:
        if self._used + count > min(self._size, MAX_PICKLE_BYTES):
            if self._size <= MAX_PICKLE_BYTES:
                raise TorchFileError("it ends in the middle of the pickle: truncated or damaged")
            raise TorchFileError(f"its pickle has more than {MAX_PICKLE_BYTES:,} bytes: damaged")
        self._used += count
        data = self._stream.read(count)
        if len(data) != count:
            raise TorchFileError("it ends in the middle of the pickle: truncated or damaged")
        return data

    def _number(self, size: int) -> int:
        return int.from_bytes(self._read(size), "little")

    def _text(self, size: int) -> str:
        try:
            return self._read(size).decode("utf-8", "surrogatepass")
        except UnicodeDecodeError as error:
            raise TorchFileError("the pickle has a string that is not UTF-8: damaged") from error

    def _line(self) -> str:
        line = self._stream.readline(256)
        self._used += len(line)
        if not line.endswith(b"\n"):
            raise TorchFileError("the pickle has an object without a name: truncated or damaged")
        return line[:-1].decode("utf-8", "replace")

    def _set_items(self, target: dict[Any, Any], items: list[Any]) -> None:
        if len(items) % 2:
            raise TorchFileError("the pickle is damaged: a dict has a key without a value")
        for key, item in zip(items[::2], items[1::2], strict=True):
            # Only flat keys: hashing a nested tuple recurses without limit.
            if type(key) is int:
                self.pay(INT_KEY_STEPS)
                if not -INT_LIMIT <= key < INT_LIMIT:
                    raise TorchFileError("a dict has a key that is not a 64-bit integer: damaged")
            elif type(key) is not str:
                raise TorchFileError(
                    f"a dict has a key of type {type(key).__name__}, expected a string or an int"
                )
            target[key] = item

    def _storage(self, saved: Any) -> Storage:
        # Separate patterns without a starred one, which would copy a tuple of any length.
        match saved:
            case ("storage", _StorageType(dtype=dtype), str(key), str(), int(count)):
                first, length = 0, count
            case ("storage", _StorageType(dtype=dtype), str(key), str(), int(count), None):
                first, length = 0, count
            case (
                "storage",
                _StorageType(dtype=dtype),
                str(key),
                str(),
                int(count),
                (str(), int(first), int(length)),
            ):
                pass
            case ("module", *_):
                raise TorchFileError(_refuse("the class of a whole pickled model"))
            case _:
                raise TorchFileError("the pickle is damaged: it names a storage in an unknown way")
        total, start, nbytes = (
            _natural(value, "the size or offset of a storage") * dtype.itemsize
            for value in (count, first, length)
        )
        if self.storages.setdefault(key, total) != total:
            raise TorchFileError(
                f"storage {key[:80]!a} has {self.storages[key]} bytes in one place and {total} in "
                "another: damaged"
            )
        if start + nbytes > total:
            raise TorchFileError(f"a view reads beyond storage {key[:80]!a}: damaged")
        return Storage(key, dtype, start, nbytes)


def _as(kind: type, value: Any) -> Any:
    """Return `value` if it has exactly this type."""
    if type(value) is not kind:
        raise TorchFileError(
            f"the pickle uses a {type(value).__name__} instead of a {kind.__name__}: damaged"
        )
    return value


def _natural(value: Any, what: str) -> int:
    if type(value) is not int or not 0 <= value < INT_LIMIT:
        raise TorchFileError(f"{what} is not an integer from 0 to 2**63 - 1: damaged")
    return value


def _refuse(name: str) -> str:
    return (
        f"it asks for {name}, which is refused: only tensors and plain values are read, and "
        "nothing in a file is executed. If you trust its author, open it with PyTorch and save "
        "only model.state_dict()"
    )


def _find_global(name: str) -> Any:
    found = _GLOBALS.get(name)
    if found is None:
        raise TorchFileError(_refuse(f"the object {name[:200]!a}"))
    return found


def _tensor(storage: Any, dtype: Any, offset: Any, shape: Any, strides: Any) -> Tensor:
    storage = _as(Storage, storage)
    dtype = storage.dtype if dtype is None else dtype
    offset = _natural(offset, "the offset of a tensor")
    # The length first: a file can refer to one long tuple many times.
    if len(_as(tuple, shape)) != len(_as(tuple, strides)) or len(shape) > MAX_DIMS:
        raise TorchFileError(
            f"a tensor has {len(shape)} dimensions and {len(strides)} strides: damaged"
        )
    for value in (*shape, *strides):
        _natural(value, "the shape or a stride of a tensor")
    if math.prod(n for n in shape if n) * dtype.itemsize >= INT_LIMIT:
        raise TorchFileError(f"a tensor has the shape {shape}: too large, damaged")
    if 0 not in shape:
        last = offset + sum((n - 1) * step for n, step in zip(shape, strides, strict=True))
        if (last + 1) * dtype.itemsize > storage.nbytes:
            raise TorchFileError(
                f"a tensor of shape {shape}, strides {strides} and offset {offset} reads beyond "
                f"storage {storage.key[:80]!r}, which has {storage.nbytes} bytes: damaged"
            )
    return Tensor(storage, dtype, offset, shape, strides)


def _arguments(args: tuple[Any, ...], *counts: int) -> tuple[Any, ...]:
    if len(args) not in counts:
        raise TorchFileError(f"the pickle builds an object from {len(args)} values: damaged")
    return args


def _rebuild_tensor(machine: Machine, args: tuple[Any, ...]) -> Tensor:
    storage, offset, shape, strides = _arguments(args, 4)
    return _tensor(storage, None, offset, shape, strides)


def _rebuild_tensor_v2(machine: Machine, args: tuple[Any, ...]) -> Tensor:
    storage, offset, shape, strides, *_ = _arguments(args, 6, 7)
    return _tensor(storage, None, offset, shape, strides)


def _rebuild_tensor_v3(machine: Machine, args: tuple[Any, ...]) -> Tensor:
    storage, offset, shape, strides, _, _, dtype, *_ = _arguments(args, 7, 8)
    if not isinstance(dtype, np.dtype):
        raise TorchFileError("the pickle builds a tensor without a type: damaged")
    return _tensor(storage, dtype, offset, shape, strides)


def _rebuild_parameter(machine: Machine, args: tuple[Any, ...]) -> Any:
    return _as(Tensor, _arguments(args, 3, 4)[0])


def _size(machine: Machine, args: tuple[Any, ...]) -> Any:
    (shape,) = _arguments(args, 1)
    return _as(tuple, shape)


def _device(machine: Machine, args: tuple[Any, ...]) -> Any:
    match args:
        case (str(kind),):
            return kind
        case (str(kind), int(index)) if 0 <= index < 1 << 16:
            machine.pay(len(kind))
            return f"{kind}:{index}"
    raise TorchFileError("the pickle builds a device from something else: damaged")


def _ordered_dict(machine: Machine, args: tuple[Any, ...]) -> Any:
    out: dict[Any, Any] = {}
    if args:  # Python 2 wrote its items as a list of pairs
        (pairs,) = _arguments(args, 1)
        # A file can refer to one long list many times, and each time costs a new dict.
        machine.pay(len(_as(list, pairs)))
        for pair in pairs:
            if type(pair) not in (list, tuple) or len(pair) != 2:
                raise TorchFileError("the pickle builds an OrderedDict without pairs: damaged")
            machine._set_items(out, list(pair))
    return out


def _counter(machine: Machine, args: tuple[Any, ...]) -> Any:
    (counts,) = _arguments(args, 1)
    return _as(dict, counts)


# Allowed names. They are never looked up in Python or torch.
_GLOBALS: dict[str, Any] = {
    "collections.OrderedDict": _Call(_ordered_dict),
    "collections.Counter": _Call(_counter),  # milestones of a learning rate schedule
    "torch.Size": _Call(_size),
    "torch.device": _Call(_device),
    "torch._utils._rebuild_tensor": _Call(_rebuild_tensor),
    "torch._utils._rebuild_tensor_v2": _Call(_rebuild_tensor_v2),
    "torch._utils._rebuild_tensor_v3": _Call(_rebuild_tensor_v3),
    "torch._utils._rebuild_parameter": _Call(_rebuild_parameter),
    "torch._utils._rebuild_parameter_with_state": _Call(_rebuild_parameter),
    "torch.storage.UntypedStorage": _StorageType(DTYPES["uint8"]),
    **{f"torch.{name}": _StorageType(DTYPES[dtype]) for name, dtype in STORAGES.items()},
    **{f"torch.cuda.{name}": _StorageType(DTYPES[dtype]) for name, dtype in STORAGES.items()},
    **{f"torch.{name}": dtype for name, dtype in DTYPES.items()},
}

"""A PyTorch checkpoint as numpy arrays, without PyTorch and without running what is in it.

The format is the one that torch.save wrote before version 1.6: pickles one after the other (a magic number,
a protocol, the machine, the objects, the storages' keys), then each storage as its length and its raw values;
see _legacy_load in torch/serialization.py. Objects may be nothing but tensors in dictionaries.
"""

from __future__ import annotations

import os
import pickle
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from windmill.errors import ConfigError

_MAGIC = 0x1950A86A20F9469CFC6C

Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class _Tensor:
    """Where a tensor's values are in a storage: all counted in values, not bytes."""

    storage: str
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]

    def values(self, storages: dict[str, Array]) -> Array:
        stored = storages[self.storage]
        if min((self.offset, *self.stride), default=0) < 0 or self._end > len(stored):
            raise ValueError("a tensor reaches beyond its storage")
        steps = tuple(step * stored.itemsize for step in self.stride)
        return np.lib.stride_tricks.as_strided(stored[self.offset :], self.size, steps).copy()

    @property
    def _end(self) -> int:
        if 0 in self.size:
            return self.offset
        last = sum((length - 1) * step for length, step in zip(self.size, self.stride, strict=True))
        return self.offset + last + 1


class _Parameters(OrderedDict[str, Any]):
    """A state_dict, which carries its own notes (`_metadata`) that nobody needs here."""


def _tensor(storage: str, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_: Any) -> _Tensor:
    return _Tensor(storage, offset, size, stride)


# All that a checkpoint may name. Storages are known by their type in numpy.
_ALLOWED: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): _Parameters,
    ("torch._utils", "_rebuild_tensor_v2"): _tensor,
    ("torch", "FloatStorage"): np.dtype("<f4"),
    ("torch", "LongStorage"): np.dtype("<i8"),
}


class _Unpickler(pickle.Unpickler):
    """Makes nothing but what `_ALLOWED` lists."""

    def __init__(self, file: IO[bytes]) -> None:
        super().__init__(file)
        self.dtypes: dict[str, np.dtype[Any]] = {}

    def find_class(self, module: str, name: str) -> Any:
        try:
            return _ALLOWED[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"{module}.{name} has no place in a file of weights") from None

    def persistent_load(self, pid: Any) -> str:
        _, dtype, key, *_ = pid
        self.dtypes[key] = dtype
        return str(key)


def read(path: Path) -> dict[str, Array]:
    """The state_dict in a checkpoint. Raises `ConfigError` for whatever is not one."""
    try:
        with path.open("rb") as file:
            return _read(file)
    except (pickle.UnpicklingError, ValueError, TypeError, KeyError, EOFError, AttributeError) as exc:
        raise ConfigError(f"{path}: not a checkpoint of PyTorch before 1.6, or a damaged one: {exc}") from exc


def _read(file: IO[bytes]) -> dict[str, Array]:
    if _Unpickler(file).load() != _MAGIC:
        raise ValueError("it does not begin as one")
    _Unpickler(file).load()  # the protocol
    _Unpickler(file).load()  # the machine that wrote it, little-endian as all are
    objects = _Unpickler(file)
    state = objects.load()
    keys = _Unpickler(file).load()
    storages = {key: _storage(file, objects.dtypes[key]) for key in keys}
    return {name: tensor.values(storages) for name, tensor in state.items()}


def _storage(file: IO[bytes], dtype: np.dtype[Any]) -> Array:
    length = file.read(8)
    if len(length) < 8:
        raise EOFError("it ends before its last storage")
    count = int.from_bytes(length, "little")
    if count * dtype.itemsize > os.fstat(file.fileno()).st_size:
        raise ValueError("a storage is larger than the file")
    return np.frombuffer(file.read(count * dtype.itemsize), dtype, count)

"""What operators ask of the converter, and what several of them need."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
from onnx import TensorProto

from windmill.services.tfjs.graph import Array, Node

TYPES = {
    "DT_FLOAT": TensorProto.FLOAT,
    "DT_INT32": TensorProto.INT32,
    "DT_INT64": TensorProto.INT64,
    "DT_BOOL": TensorProto.BOOL,
}


class Context(Protocol):
    """What an operator may ask of the converter; see `convert.Converter`."""

    def add(self, op: str, inputs: Sequence[str], outputs: int = 1, **attributes: Any) -> str: ...
    def add_many(self, op: str, inputs: Sequence[str], outputs: int, **attributes: Any) -> list[str]: ...
    def weight(self, values: Any, dtype: Any = None) -> str: ...
    def tensor(self, reference: str) -> str: ...
    def constant(self, reference: str) -> Array | None: ...
    def known(self, reference: str) -> Array: ...


Operator = Callable[[Context, Node], str | list[str]]


def integers(context: Context, reference: str) -> str:
    """A constant or computed tensor as int64, as ONNX wants shapes and axes."""
    value = context.constant(reference)
    if value is not None:
        return context.weight(np.atleast_1d(value), np.int64)
    return context.add("Cast", [context.tensor(reference)], to=TensorProto.INT64)

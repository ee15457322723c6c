"""all-MiniLM-L6-v2 of sentence-transformers: texts as vectors (Wang et al. 2020, arXiv:2002.10957)."""

from __future__ import annotations

import inspect
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
from safetensors.numpy import load_file
from tokenizers import Tokenizer

from windmill.services import bert_graph, onnx_session, onnx_writer
from windmill.services.bert_graph import INPUTS, Shape
from windmill.services.weights import Weights

Floats = npt.NDArray[np.float32]

_LONGEST = 256  # tokens, as it was trained; what is beyond is cut
_CONFIG, _TENSORS, _TOKENIZER = ("config.json", "model.safetensors", "tokenizer.json")


class MiniLM:
    """The encoder, without PyTorch: its weights become an ONNX graph the first time."""

    DIMENSION = 384

    def __init__(self, source: Weights) -> None:
        folder = source.path().parent
        self._tokenizer = Tokenizer.from_file(str(folder / _TOKENIZER))
        self._tokenizer.enable_truncation(_LONGEST)
        self._tokenizer.enable_padding()  # to the longest of a batch; the file says to 128 always
        by = [Path(inspect.getfile(module)) for module in (bert_graph, onnx_writer)]
        self._session = onnx_session.made(source, _graph, by, [])

    def texts(self, texts: Sequence[str]) -> Floats:
        """A vector of length 1 for each text (n × 384)."""
        found = self._tokenizer.encode_batch(list(texts))
        given = ([one.ids for one in found], [one.attention_mask for one in found])
        inputs = {name: np.array(rows, np.int64) for name, rows in zip(INPUTS, given, strict=True)}
        (vectors,) = self._session.run(None, inputs)
        return np.asarray(vectors, np.float32)


def _graph(source: Weights) -> onnx.ModelProto:
    folder = source.path().parent
    said = json.loads((folder / _CONFIG).read_text("utf-8"))
    shape = Shape(
        layers=said["num_hidden_layers"],
        heads=said["num_attention_heads"],
        width=said["hidden_size"],
        epsilon=said["layer_norm_eps"],
    )
    return bert_graph.build(load_file(folder / _TENSORS), shape)

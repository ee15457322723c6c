"""Checkpoints of PyTorch, read without it and without trusting them."""

import io
import os
import pickle

import numpy as np
import pytest

from windmill.errors import ConfigError
from windmill.services import torch_file

HEAD = [0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}]


@pytest.fixture(scope="module")
def saved():
    torch = pytest.importorskip("torch")
    matrix = torch.arange(12, dtype=torch.float32).reshape(3, 4)
    state = {"matrix": matrix, "turned": matrix.T[1:], "counted": torch.tensor(7), "none": torch.zeros(0)}
    file = io.BytesIO()
    torch.save(state, file, _use_new_zipfile_serialization=False)
    return file.getvalue()


def read(folder, data):
    path = folder / "weights.pth"
    path.write_bytes(data)
    return torch_file.read(path)


def test_tensors_are_as_they_were_saved_also_views(tmp_path, saved):
    found = read(tmp_path, saved)
    matrix = np.arange(12, dtype=np.float32).reshape(3, 4)
    np.testing.assert_array_equal(found["matrix"], matrix)
    np.testing.assert_array_equal(found["turned"], matrix.T[1:])
    assert found["counted"] == 7
    assert found["none"].shape == (0,)


def test_what_would_run_is_refused_by_name(tmp_path):
    data = b"".join(pickle.dumps(one, 2) for one in (*HEAD, os.getcwd))
    with pytest.raises(ConfigError, match=r"posix\.getcwd"):
        read(tmp_path, data)


@pytest.mark.parametrize("part", [0.0, 0.3, 0.9, 0.99])
def test_a_damaged_one_is_said_to_be(tmp_path, saved, part):
    with pytest.raises(ConfigError, match=r"weights\.pth: not a checkpoint"):
        read(tmp_path, saved[: int(len(saved) * part)])


def test_one_that_ends_where_a_storage_would_begin_is_said_to_be(tmp_path, saved):
    """What is cut off is the length of the last storage, whichever that is: an empty one ends with it."""
    for missing in range(1, 17):
        with pytest.raises(ConfigError, match=r"weights\.pth: not a checkpoint"):
            read(tmp_path, saved[:-missing])


def test_another_kind_of_file_is_said_to_be(tmp_path):
    for data in (b"PK\3\4 a newer one", pickle.dumps({"a": 1}), pickle.dumps(HEAD[0]) + b"."):
        with pytest.raises(ConfigError):
            read(tmp_path, data)


def test_a_storage_that_claims_more_than_there_is_takes_no_memory(tmp_path, saved):
    keys = saved.rfind((12).to_bytes(8, "little"))  # the length before the matrix's twelve numbers
    with pytest.raises(ConfigError):
        read(tmp_path, saved[:keys] + (2**60).to_bytes(8, "little") + saved[keys + 8 :])

"""The model in this process: whether a photo is what it breaks on, or it is broken."""

import numpy as np
import pytest

from tests.unit.engines.made import EMBEDDER
from windmill.engines.in_process import InProcess
from windmill.errors import ServiceRejected


class Task:
    """Breaks on photos that are None, and on all while it is broken."""

    broken = False

    def preprocess(self, photo):
        return [1.0, 0.0, 0.0, 0.0]

    def predict(self, inputs):
        if self.broken or None in inputs:
            raise ValueError("odd")
        return inputs

    def postprocess(self, given, output):
        return {"embedding": output}


@pytest.fixture
def model():
    made = InProcess.__new__(InProcess)  # the registry has no model that breaks
    made.embedder, made._images = EMBEDDER, Task()
    return made


def test_photos_that_it_breaks_on_are_no_end_even_where_a_batch_has_no_other(model):
    assert [str(one) for one in model.each([None, None])] == ["made broke on it: ValueError: odd"] * 2
    odd, fine = model.each([None, [0.0, 1.0, 0.0, 0.0]])
    assert isinstance(odd, ServiceRejected)
    assert isinstance(fine, np.ndarray)


def test_a_model_that_breaks_on_everything_is_broken(model):
    model._images.broken = True
    with pytest.raises(ServiceRejected, match="made broke on it: ValueError: odd"):
        model.each([[1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0]])

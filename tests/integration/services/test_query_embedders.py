"""The model of an index, asked over HTTP: it is held to be the one that made the index."""

from contextlib import contextmanager
from dataclasses import replace
from io import BytesIO

import numpy as np
import pytest
from PIL import Image as Pictures

from tests import made_index
from tests.serving import serving
from windmill import catalog
from windmill.commands import searchers
from windmill.errors import ConfigError, OtherEmbedder, ServiceUnavailable
from windmill.index.asking import ServiceEmbedder
from windmill.services.app import ServiceApp
from windmill.services.base import ANALYZE, EMBED_IMAGE, EMBED_TEXT, Info, Model, Photo, Task
from windmill.services.embedding import embedded
from windmill.services.host import Limits
from windmill.settings import Settings

EMBEDDER = made_index.EMBEDDER


class Embeds(Task):
    def preprocess(self, asked):
        return asked

    def predict(self, inputs):
        return [(0.6, 0.8, 0.0, 0.0) for _ in inputs]

    def postprocess(self, given, output):
        return embedded(np.array(output, np.float32))


@contextmanager
def embedding(paths=(EMBED_IMAGE, EMBED_TEXT), version="1"):
    """The catalog's entry of a service with such a model."""
    info = Info(framework="none", name=EMBEDDER.name, version=version)
    model = Model(info=info, tasks={path: Embeds() for path in (ANALYZE, *paths)}, dimension=4)
    asks = {path: str if path == EMBED_TEXT else Photo for path in model.tasks}
    app = ServiceApp(EMBEDDER.service, lambda: model, asks=asks, limits=Limits())
    app.host.load()
    with serving(app) as port:
        yield replace(catalog.facts(EMBEDDER.service), port=port)


def asking(service, embedder=EMBEDDER):
    return ServiceEmbedder(service, embedder, timeout=10, most=2**20)


@pytest.fixture
def photo():
    file = BytesIO()
    Pictures.new("RGB", (40, 30)).save(file, "PNG")
    return file.getvalue()


def test_words_and_images_become_vectors(photo):
    with embedding() as service:
        model = asking(service)
        assert model.text("a cat").tolist() == pytest.approx([0.6, 0.8, 0, 0])
        assert model.image("x.png", photo).tolist() == pytest.approx([0.6, 0.8, 0, 0])


def test_a_model_that_reads_no_words_is_told_to_be_one(photo):
    with embedding(paths=(EMBED_IMAGE,)) as service:
        with pytest.raises(ConfigError, match="made reads no words: search by image"):
            asking(service).text("a cat")
        assert len(asking(service).image("x.png", photo)) == 4


@pytest.mark.parametrize("wrong", [{"version": "2"}, {"name": "other"}, {"dimension": 3}])
def test_another_model_than_the_indexs_is_refused(wrong):
    with embedding() as service, pytest.raises(OtherEmbedder, match="the index has vectors of made"):
        asking(service, replace(EMBEDDER, **wrong)).text("a cat")


def test_the_service_of_the_catalog_is_asked_while_it_answers(tmp_path):
    settings = Settings(service_config=tmp_path / "services.json")
    with embedding() as service:
        settings.service_config.write_text(f'{{"made": {{"host": "127.0.0.1", "port": {service.port}}}}}')
        model = searchers.model(EMBEDDER, settings)
        assert model.text("a cat").shape == (4,)
    with pytest.raises(ServiceUnavailable, match="cannot be reached"):
        model.text("a cat")
    with pytest.raises(
        ConfigError, match=r"made does not answer, and it cannot be loaded here .*windmill serve"
    ):
        searchers.model(EMBEDDER, settings)

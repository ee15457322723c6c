"""CLIP, caption scores and BLIP: our loading code on tiny untrained models in the formats of the hub."""

import importlib
import json
import sys
from dataclasses import replace

import numpy as np
import pytest

from tests import made_services, promises
from windmill import catalog
from windmill.core import replies
from windmill.errors import ConfigError
from windmill.services import blip, caption_score, clip, clip_model, pytorch, resnet50
from windmill.services.base import ANALYZE, EMBED_IMAGE, EMBED_TEXT, SCORE, Captioned, Photo
from windmill.services.weights import Weights

RANDOM = np.random.default_rng(3)


def photo(height, width):
    return Photo(data=b"", pixels=RANDOM.integers(0, 256, (height, width, 3), np.uint8))


PHOTOS = [photo(30, 40), photo(64, 48), photo(33, 200)]


def own(name, folder):
    return Weights(name=name, version="own", licence="", folder=folder, files={"model.safetensors": "0" * 64})


@pytest.fixture(scope="module")
def tiny():
    """Who makes the models; here, as PyTorch takes seconds that only these tests shall take."""
    return importlib.import_module("tests.tiny_models")


@pytest.fixture(scope="module")
def clip_weights(tiny, tmp_path_factory):
    folder = tmp_path_factory.mktemp("clip") / "tiny"
    return own("clip", tiny.clip_of_sentence_transformers(folder))


@pytest.fixture(scope="module")
def model(clip_weights):
    return clip.load(clip_weights)


@pytest.fixture(scope="module")
def captioner(tiny, tmp_path_factory):
    return blip.load(own("blip", tiny.blip(tmp_path_factory.mktemp("blip") / "tiny"))).tasks[ANALYZE]


@pytest.fixture(scope="module")
def resnet_weights(tiny, tmp_path_factory):
    return own("resnet50", tiny.resnet(tmp_path_factory.mktemp("resnet") / "tiny"))


@pytest.fixture(scope="module")
def resnet(resnet_weights):
    return resnet50.load(resnet_weights)


def embedding(model, path, asked):
    reply = model.tasks[path].alone(asked)
    assert reply["dimension"] == len(reply["embedding"])
    return np.array(reply["embedding"])


def parsed(service, reply):
    document = {"service": service, "status": "success", **reply, "metadata": {"processing_time": 0.1}}
    return replies.parse(catalog.facts(service), json.dumps(document).encode())


def test_embeddings_have_length_1_and_tell_inputs_apart(model):
    vectors = [embedding(model, EMBED_IMAGE, one) for one in PHOTOS]
    vectors += [embedding(model, EMBED_TEXT, text) for text in ("a cat", "dogs")]
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(np.ones(5), abs=1e-4)
    assert len({tuple(vector) for vector in vectors}) == 5


@pytest.mark.parametrize("path", [EMBED_IMAGE, EMBED_TEXT])
def test_a_batch_gives_what_each_gives_alone(model, path):
    task = model.tasks[path]
    given = [task.preprocess(one) for one in (PHOTOS if path == EMBED_IMAGE else ["a", "a cat", "two cats"])]
    alone = [task.predict([one])[0] for one in given]
    assert np.allclose(task.predict(given), alone, atol=1e-5)


def test_a_text_longer_than_the_model_reads_is_cut(model):
    assert np.isfinite(embedding(model, EMBED_TEXT, "a cat on a mat " * 100)).all()


@pytest.mark.parametrize("shape", [(1, 1), (1, 20_000), (20_000, 1)])
def test_a_photo_of_any_shape_gets_an_answer(model, captioner, resnet, shape):
    assert embedding(model, EMBED_IMAGE, photo(*shape)).shape == (8,)
    assert captioner.alone(photo(*shape))["predictions"]
    assert embedding(resnet, EMBED_IMAGE, photo(*shape)).shape == (resnet.dimension,)


def test_whole_images_get_the_labels_whose_text_is_nearest(model):
    texts = {label: embedding(model, EMBED_TEXT, f"a photo of a {label}") for label in clip.labels()}
    cosines = {label: embedding(model, EMBED_IMAGE, PHOTOS[0]) @ text for label, text in texts.items()}
    reply = model.tasks[ANALYZE].alone(PHOTOS[0])
    assert reply["full_image"][0]["label"] == max(cosines, key=cosines.__getitem__)
    assert reply["predictions"] == []
    assert parsed("clip", reply).detections == ()


def test_a_score_is_the_cosine_of_photo_and_caption(model, clip_weights):
    scorer = caption_score.load(clip_weights).tasks[SCORE]
    asked = [Captioned(photo=one, caption=text) for one, text in zip(PHOTOS, ("a", "b", "c"), strict=True)]
    expected = [
        embedding(model, EMBED_IMAGE, one.photo) @ embedding(model, EMBED_TEXT, one.caption) for one in asked
    ]
    together = scorer.predict([scorer.preprocess(one) for one in asked])
    assert together == pytest.approx(expected, abs=1e-4)
    assert scorer.alone(asked[0]) == {"similarity_score": pytest.approx(expected[0], abs=1e-3)}


def test_services_of_one_process_share_the_model(model, clip_weights):
    assert clip_model.shared(clip_weights) is model.tasks[EMBED_TEXT]._encoder


@pytest.mark.parametrize("kind", ["clip", "siglip"])
def test_other_models_of_the_hub_load_too(tiny, tmp_path, kind):
    loaded = clip.load(own("clip", getattr(tiny, kind)(tmp_path / "other")))
    assert embedding(loaded, EMBED_IMAGE, PHOTOS[0]).shape == embedding(loaded, EMBED_TEXT, "a cat").shape


def test_captions_are_the_same_each_time_and_in_a_batch(captioner):
    alone = [captioner.alone(one)["predictions"][0]["text"] for one in PHOTOS]
    assert captioner.predict([captioner.preprocess(one) for one in PHOTOS]) == alone
    assert all(alone)
    assert parsed("blip", captioner.alone(PHOTOS[0])).text


def test_pooled_features_are_those_of_transformers(resnet, resnet_weights):
    """On pixels prepared by hand: the short side 256, the middle 224 × 224, ImageNet's mean and deviation."""
    from transformers import ResNetModel

    wide = photo(256, 300)
    middle = wide.pixels[16:240, 38:262] / 255
    planes = ((middle - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]).transpose(2, 0, 1)
    torch = pytorch.library("torch")
    with torch.inference_mode():
        own = ResNetModel.from_pretrained(resnet_weights.folder).eval()
        expected = own(torch.tensor(planes[None], dtype=torch.float32)).pooler_output.numpy().ravel()
    found = embedding(resnet, EMBED_IMAGE, wide)
    assert found == pytest.approx(expected / np.linalg.norm(expected), abs=1e-5)
    assert (found.shape, np.linalg.norm(found)) == ((resnet.dimension,), pytest.approx(1, abs=1e-4))


def test_a_batch_of_features_is_what_each_photo_has_alone_each_time(resnet):
    task = resnet.tasks[EMBED_IMAGE]
    given = [task.preprocess(one) for one in PHOTOS]
    alone = [task.predict([one])[0] for one in given]
    assert np.allclose(task.predict(given), alone, atol=1e-6)
    assert np.array_equal(task.predict(given), task.predict(given))
    assert len({tuple(vector) for vector in alone}) == len(PHOTOS)


def test_the_pipeline_gets_the_features_without_a_vote(resnet):
    reply = resnet.tasks[ANALYZE].alone(PHOTOS[0])
    assert reply == {"predictions": [], **resnet.tasks[EMBED_IMAGE].alone(PHOTOS[0])}
    assert parsed("resnet50", reply).detections == ()


@pytest.mark.parametrize("load", [clip.load, blip.load, resnet50.load])
def test_a_folder_without_a_model_is_named(tmp_path, load):
    with pytest.raises(ConfigError, match=str(tmp_path)):
        load(own("x", tmp_path))


def test_a_clip_is_no_resnet(clip_weights):
    with pytest.raises(ConfigError, match="clip is not a ResNet"):
        resnet50.load(replace(clip_weights, folder=clip_weights.folder / "0_CLIPModel"))


def test_a_captioner_is_no_clip(tiny, tmp_path):
    with pytest.raises(ConfigError, match="not CLIP"):
        clip.load(own("clip", tiny.blip(tmp_path / "blip")))


@pytest.mark.parametrize("load", [clip.load, caption_score.load, blip.load, resnet50.load])
def test_without_pytorch_it_says_what_to_install(tmp_path, monkeypatch, load):
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(ConfigError, match=r"torch is missing: pip install 'windmill-images\[torch\]'"):
        load(own("x", tmp_path))


def test_cuda_is_taken_where_there_is_one(monkeypatch):
    torch = pytorch.library("torch")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert pytorch.device() == "cpu"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert pytorch.device() == "cuda"


# Starlette leaves the file of a form that ends in its middle to the collector, which warns of it.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize(("name", "check"), promises.asked(made_services.TORCH))
def test_they_keep_the_contract(served, name, check):
    """As test_contract.py asks of the others; here, so that only this file takes the seconds of PyTorch."""
    promises.keeps(served.target(name), check)

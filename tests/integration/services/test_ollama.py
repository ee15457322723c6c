"""Descriptions through an endpoint like OpenAI's."""

import base64
import io
import threading

import numpy as np
import pytest
from PIL import Image as Pictures

from tests.vision import CAPTION, Endpoint, completion, endpoint_serving
from windmill.errors import ConfigError
from windmill.services import ollama
from windmill.services.base import ANALYZE, Photo, RequestError, UpstreamError
from windmill.settings import Settings


@pytest.fixture
def endpoint():
    with endpoint_serving(Endpoint()) as running:
        yield running


def model(endpoint, **chosen):
    values = {"vision_url": endpoint.url, "vision_model": "seer", "vision_prompt": "Well?"} | chosen
    return ollama.described_by(Settings(**values))


def photo(height=40, width=60):
    return Photo(data=b"", pixels=np.full((height, width, 3), (250, 20, 20), np.uint8))


def test_a_description_becomes_text_and_emoji(endpoint):
    (found,) = model(endpoint).tasks[ANALYZE].alone(photo())["predictions"]
    assert found["text"] == CAPTION
    assert {"emoji": "🐕", "word": "dog"} in found["emoji_mappings"]


def test_the_model_gets_the_prompt_and_a_small_upright_jpeg(endpoint):
    model(endpoint, vision_key="secret").tasks[ANALYZE].alone(photo(2000, 3000))
    ((path, headers, question),) = endpoint.asked
    text, image = question["messages"][0]["content"]
    header, _, data = image["image_url"]["url"].partition(",")
    assert (path, headers["Authorization"]) == ("/v1/chat/completions", "Bearer secret")
    assert (question["model"], text["text"], header) == ("seer", "Well?", "data:image/jpeg;base64")
    with Pictures.open(io.BytesIO(base64.b64decode(data))) as sent:
        assert sent.format == "JPEG"
        assert sent.size == (1024, 683)
        assert sent.getpixel((5, 5)) == pytest.approx((250, 20, 20), abs=3)


def test_its_version_tells_of_another_model_and_another_prompt(endpoint):
    first, other_prompt = model(endpoint).info, model(endpoint, vision_prompt="What?").info
    endpoint.models = (200, {"data": [{"id": "seer", "created": 1700000001}]})
    versions = {first.version, other_prompt.version, model(endpoint).info.version}
    assert len(versions) == 3
    assert first.name == "seer"


def test_two_photos_are_asked_about_at_once(endpoint):
    endpoint.together = threading.Barrier(2)
    task = model(endpoint).tasks[ANALYZE]
    assert task.batch == 2
    assert task.predict([task.preprocess(photo())] * 2) == [CAPTION] * 2


@pytest.mark.parametrize("status", [429, 500, 502, 503])
def test_an_endpoint_that_may_answer_later_is_to_be_asked_later(endpoint, status):
    endpoint.said = (status, {"error": {"message": "model is loading"}})
    with pytest.raises(UpstreamError, match=f"{status}: model is loading"):
        model(endpoint).tasks[ANALYZE].alone(photo())


@pytest.mark.parametrize(
    "said", [b"hello", b"[]", b"{}", {"choices": []}, {"choices": [{"message": "hi"}]}, b"x" * 200_000]
)
def test_an_endpoint_that_speaks_otherwise_is_to_be_asked_later(endpoint, said):
    endpoint.said = (200, said)
    with pytest.raises(UpstreamError):
        model(endpoint).tasks[ANALYZE].alone(photo())


@pytest.mark.parametrize("said", [{"error": {"message": "image too odd"}}, {"error": "image too odd"}])
def test_a_question_that_it_refuses_is_refused_with_its_words(endpoint, said):
    endpoint.said = (400, said)
    with pytest.raises(RequestError, match="400: image too odd"):
        model(endpoint).tasks[ANALYZE].alone(photo())


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (completion(""), "said nothing"),
        (completion("<think>a dog?</think> "), "said nothing"),
        (completion(None), "said nothing"),
        (completion("I’m sorry, but I can't help with that."), "refused: I’m sorry"),
        (completion("A dog.", finish_reason="content_filter"), "refused"),
        ({"choices": [{"message": {"content": None, "refusal": "no people"}}]}, "refused: no people"),
    ],
)
def test_nothing_and_a_refusal_are_no_description(endpoint, said, reason):
    endpoint.said = (200, said)
    with pytest.raises(RequestError, match=reason):
        model(endpoint).tasks[ANALYZE].alone(photo())


@pytest.mark.parametrize(("status", "setting"), [(401, "VISION_KEY"), (404, "VISION_MODEL")])
def test_a_wrong_setting_is_named(endpoint, status, setting):
    endpoint.said = (status, {"error": {"message": "no"}})
    with pytest.raises(ConfigError, match=setting):
        model(endpoint).tasks[ANALYZE].alone(photo())


def test_one_photo_that_fails_does_not_have_the_others_asked_again(endpoint):
    task = model(endpoint).tasks[ANALYZE]
    endpoint.said = (500, {})
    first, second = task.predict([task.preprocess(photo())] * 2)
    assert isinstance(first, UpstreamError)
    assert isinstance(second, UpstreamError)
    assert len(endpoint.asked) == 2


def test_the_check_follows_the_endpoint(endpoint):
    loaded = model(endpoint)
    loaded.check()
    endpoint.models = (503, b"")
    with pytest.raises(UpstreamError, match="503"):
        loaded.check()


def test_nobody_there_is_no_mystery():
    with endpoint_serving(Endpoint()) as gone:
        pass
    with pytest.raises(UpstreamError, match=r"\(VISION_URL\): no connection"):
        model(gone)


@pytest.mark.parametrize(
    ("chosen", "said"),
    [({"vision_model": ""}, "VISION_MODEL"), ({"vision_url": "localhost:11434"}, "VISION_URL")],
)
def test_what_is_not_set_is_named(endpoint, chosen, said):
    with pytest.raises(ConfigError, match=said):
        model(endpoint, **chosen)


def test_a_password_in_the_address_is_refused_and_not_shown(endpoint):
    with pytest.raises(ConfigError, match="VISION_URL") as caught:
        model(endpoint, vision_url="http://me:secret@127.0.0.1:1")
    assert "secret" not in str(caught.value)


def test_an_endpoint_that_is_silent_is_not_waited_for(endpoint):
    task = model(endpoint, request_timeout=0.2).tasks[ANALYZE]
    endpoint.together = threading.Barrier(2)  # nobody else comes
    with pytest.raises(UpstreamError, match="no answer in time"):
        task.alone(photo())
    endpoint.together.abort()

"""One service over real HTTP with a model made here: its limits, its health, its metrics, its failures.

What any caller can see is asked in test_contract.py."""

import io
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest
import requests
from PIL import Image as Pictures

import tests.serving
from tests.waiting import until
from windmill.errors import ConfigError
from windmill.services import host
from windmill.services.app import ServiceApp
from windmill.services.base import ANALYZE, EMBED_TEXT, Info, Model, Photo, Task, analyzer
from windmill.services.host import Limits

SEEN = {"label": "thing", "confidence": 0.5, "emoji": "📦", "bbox": {"x": 0, "y": 0, "width": 1, "height": 1}}


INFO = Info(framework="none", name="stub", version="1", sha256="0" * 64)


class Stub(Task):
    """Sees one thing in everything; fails while told to."""

    def __init__(self):
        self.failing = False
        self.sizes = []
        self.begun, self.open = threading.Event(), threading.Event()
        self.open.set()

    def preprocess(self, asked):
        return asked.width, asked.height

    def predict(self, inputs):
        self.begun.set()
        assert self.open.wait(20)
        if self.failing:
            raise RuntimeError("the secret path is /home/someone")
        self.sizes += inputs
        return [[SEEN] for _ in inputs]

    def postprocess(self, given, output):
        return {"predictions": output}


@contextmanager
def serving(task, limits=Limits(), lazy=False, **options):  # noqa: B008 -- frozen
    app = ServiceApp("stub", lambda: analyzer(INFO, task), asks={ANALYZE: Photo}, limits=limits, **options)
    if not lazy:
        app.host.load()
    with serving_model(app) as address:
        yield address


@contextmanager
def serving_model(app):
    with tests.serving.serving(app) as port:
        yield f"http://127.0.0.1:{port}"


class Hearing(Task):
    """Says what it was told."""

    def preprocess(self, asked):
        return asked

    def predict(self, inputs):
        return inputs

    def postprocess(self, given, output):
        return {"heard": output}


@pytest.fixture
def texts():
    model = Model(info=INFO, tasks={EMBED_TEXT: Hearing()})
    with serving_model(ServiceApp("stub", lambda: model, asks={EMBED_TEXT: str}, limits=Limits())) as address:
        yield address


def text_form(text):
    return f'--b\r\nContent-Disposition: form-data; name="text"\r\n\r\n{text}\r\n--b--\r\n'


@pytest.fixture
def stub():
    return Stub()


@pytest.fixture
def url(stub, tmp_path):
    (tmp_path / "photo.png").write_bytes(picture())
    with serving(stub, file_root=tmp_path) as address:
        yield address


def picture(size=(4, 3), mode="RGB"):
    file = io.BytesIO()
    Pictures.new(mode, size).save(file, "PNG")
    return file.getvalue()


def post(url, data):
    return requests.post(f"{url}/v3/analyze", files={"file": ("photo.png", data)}, timeout=60)


def refused(response, status):
    """The message of an answer that has the contract's error shape."""
    body = response.json()
    assert response.status_code == status
    assert (body["service"], body["status"], body["predictions"]) == ("stub", "error", [])
    assert body["metadata"]["processing_time"] >= 0
    return body["error"]["message"]


def test_a_path_under_the_root_is_read(url):
    assert requests.get(f"{url}/v3/analyze?file=photo.png", timeout=60).json()["predictions"] == [SEEN]


def test_too_many_pixels_are_413_before_they_are_decoded(url, stub):
    bomb = picture((8000, 7000), "1")
    assert "50 megapixels" in refused(post(url, bomb), 413)
    assert (8000, 7000) not in stub.sizes


def chunks(megabytes):
    yield b'--b\r\nContent-Disposition: form-data; name="file"; filename="x"\r\n\r\n'
    for _ in range(megabytes):
        yield bytes(1_000_000)
    yield b"\r\n--b--\r\n"


@pytest.mark.parametrize(
    ("send", "kind"),
    [
        (chunks, "multipart/form-data; boundary=b"),
        (chunks, "image/png"),
        (lambda megabytes: b"".join(chunks(megabytes)), "image/png"),
    ],
    ids=["a form in chunks", "an image in chunks", "a whole image"],
)
def test_too_many_bytes_are_413_and_their_sender_gets_to_read_it(url, send, kind):
    response = requests.post(f"{url}/v3/analyze", data=send(100), headers={"Content-Type": kind}, timeout=60)
    assert "32 MB" in refused(response, 413)


def test_a_form_without_a_boundary_is_400(url):
    kind = {"Content-Type": "multipart/form-data"}
    assert refused(requests.post(f"{url}/v3/analyze", data=b"what", headers=kind, timeout=60), 400)


@pytest.mark.parametrize(
    ("method", "path", "status"), [("GET", "/nothing", 404), ("PUT", "/v3/analyze", 405)]
)
def test_other_refusals_have_the_shape_too(url, method, path, status):
    assert refused(requests.request(method, url + path, timeout=60), status)


def test_an_upload_that_breaks_off_is_no_failure(url, stub, caplog):
    host, port = url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as sender:
        sender.sendall(
            b"POST /analyze HTTP/1.1\r\nHost: x\r\nContent-Length: 99\r\n"
            b"Content-Type: multipart/form-data; boundary=b\r\n\r\n--b\r\n"
        )
    assert post(url, picture()).status_code == 200
    assert "nobody foresaw" not in caplog.text


def test_a_failing_model_is_500_and_tells_no_secrets(url, stub):
    stub.failing = True
    assert refused(post(url, picture()), 500) == "internal error: RuntimeError"


def test_health_is_503_while_the_model_is_broken_and_heals_with_it(url, stub):
    def health():
        response = requests.get(f"{url}/health", timeout=60)
        return response.status_code, response.json()["status"]

    assert health() == (200, "healthy")
    stub.failing = True
    for _ in range(3):
        post(url, picture())
    assert health() == (503, "broken")
    stub.failing = False
    assert health() == (200, "healthy")


def test_three_bad_photos_do_not_make_a_model_broken(url, stub):
    stub.failing = True
    for _ in range(3):
        post(url, picture())
    stub.failing = False
    assert requests.get(f"{url}/health", timeout=60).status_code == 200


def test_who_finds_the_queue_full_is_told_when_to_come_again(stub):
    with serving(stub, Limits(waiting=2)) as address, ThreadPoolExecutor(2) as others:
        stub.begun.clear()
        stub.open.clear()
        waiting = [others.submit(post, address, picture()) for _ in range(2)]
        until(lambda: number(address, "in_hand") == 2, 20)
        refusal = post(address, picture() + bytes(5_000_000))
        assert "2 requests wait" in refused(refusal, 503)
        assert 1 <= int(refusal.headers["Retry-After"]) <= 60
        assert requests.get(f"{address}/health", timeout=60).status_code == 200
        stub.open.set()
        assert [one.result(20).status_code for one in waiting] == [200, 200]
        assert post(address, picture()).status_code == 200
        assert number(address, "full_total") == 1


def number(address, name):
    """A figure of /metrics."""
    lines = requests.get(f"{address}/metrics", timeout=60).text.splitlines()
    return float(next(line for line in lines if line.startswith(f"windmill_service_{name}{{")).split()[-1])


def test_metrics_count_answers_stages_and_batches(url):
    post(url, picture())
    post(url, b"hello")
    text = requests.get(f"{url}/metrics", timeout=60).text
    assert 'request_seconds_count{path="/v3/analyze",service="stub",status="200"} 1.0' in text
    assert 'request_seconds_count{path="/v3/analyze",service="stub",status="400"} 1.0' in text
    assert 'stage_seconds_count{service="stub",stage="predict"} 1.0' in text  # the warm-up is not counted
    assert number(url, "model_loaded") == 1


def test_a_lazy_model_is_loaded_by_the_first_request_and_leaves_when_idle(stub):
    with serving(stub, Limits(idle=0.2), lazy=True) as address:

        def loaded():
            return requests.get(f"{address}/health", timeout=60).json()["loaded"]

        assert not loaded()
        assert post(address, picture()).status_code == 200
        assert stub.sizes == [(64, 64), (4, 3)]  # warmed up first
        until(lambda: not loaded(), 20)
        assert post(address, picture()).status_code == 200


def test_a_lazy_model_that_cannot_be_loaded_says_why_and_heals(stub, monkeypatch):
    monkeypatch.setattr(host, "_PAUSE", 0)
    missing = [ConfigError("thing.onnx is missing")]

    def loading():
        if missing:
            raise missing[0]
        return analyzer(INFO, stub)

    with serving_model(ServiceApp("stub", loading, asks={ANALYZE: Photo}, limits=Limits())) as address:
        assert refused(post(address, picture()), 503) == "thing.onnx is missing"
        health = requests.get(f"{address}/health", timeout=60)
        assert (health.status_code, health.json()["reason"]) == (503, "thing.onnx is missing")
        missing.clear()
        assert requests.get(f"{address}/health", timeout=60).status_code == 200
        assert post(address, picture()).status_code == 200


def test_one_attempt_to_load_answers_all_who_wait(stub):
    attempts = []

    def loading():
        attempts.append(1)
        raise ConfigError("thing.onnx is missing")

    app = ServiceApp("stub", loading, asks={ANALYZE: Photo}, limits=Limits())
    with serving_model(app) as address, ThreadPoolExecutor(8) as clients:
        answers = list(clients.map(lambda _: post(address, picture()).status_code, range(8)))
        assert answers == [503] * 8
        assert requests.get(f"{address}/health", timeout=20).status_code == 503
    assert attempts == [1]


def test_health_does_not_wait_for_a_model_that_is_being_loaded(stub):
    begun, go_on = threading.Event(), threading.Event()

    def loading():
        begun.set()
        assert go_on.wait(20)
        return analyzer(INFO, stub)

    app = ServiceApp("stub", loading, asks={ANALYZE: Photo}, limits=Limits())
    with serving_model(app) as address, ThreadPoolExecutor(1) as client:
        first = client.submit(post, address, picture())
        assert begun.wait(20)
        health = requests.get(f"{address}/health", timeout=20)
        assert (health.status_code, health.json()["loaded"]) == (200, False)
        go_on.set()
        assert first.result(20).status_code == 200


def test_a_model_stays_while_somebody_waits_for_it(stub):
    """Longer than it may be idle: the request is in hand, its input being made."""
    with serving(stub, Limits(idle=0.05)) as address:
        for _ in range(3):
            assert post(address, picture((3000, 3000))).status_code == 200
            assert number(address, "in_hand") == 0


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("application/json", '{"text": "a dog"}'),
        ("Application/JSON", '{"text": "a dog"}'),
        ("application/x-www-form-urlencoded", "text=a+dog"),
        ("multipart/form-data; boundary=b", text_form("a dog")),
    ],
)
def test_a_text_may_come_in_any_form(texts, kind, body):
    answer = requests.post(f"{texts}{EMBED_TEXT}", data=body, headers={"Content-Type": kind}, timeout=20)
    assert answer.json()["heard"] == "a dog"


@pytest.mark.parametrize("body", ['{"text": "\\ud800"}', '{"text": 1}', "[]", "{", '{"text": " "}'])
def test_what_is_no_text_is_400(texts, body):
    answer = requests.post(
        f"{texts}{EMBED_TEXT}", data=body, headers={"Content-Type": "application/json"}, timeout=20
    )
    assert refused(answer, 400)

"""Each check passes a service that keeps the contract, and fails one that does not keep that promise."""

import io
import json
import re
from dataclasses import replace
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest
from PIL import Image as Pictures
from PIL import ImageOps

from tests.talking import talking
from windmill import catalog
from windmill.checking import pictures, refusing, shapes, table
from windmill.checking.calling import Answer, Failed, Gone, HttpCaller, Request, Skipped
from windmill.checking.target import Target

MOST_BYTES, MOST_PIXELS = 32_000_000, 50_000_000
CHECKS = {check.name: check for check in table.CHECKS}


class Service:
    """Keeps the contract: finds what is red, wherever it is. Tests replace what is to go wrong."""

    def __init__(self, name="yolov8"):
        self.name = name

    def __call__(self, request):
        parts = urlsplit(request.path)
        status, body = self.route(request, parts.path, parse_qs(parts.query))
        return Answer(request=request, status=status, body=json.dumps(body).encode(), seconds=0.1)

    def route(self, request, path, query):
        if path == "/health":
            return 200, {"status": "healthy"}
        if path.startswith("/embed/"):
            return 200, {"status": "success", "embedding": [0.6, 0.8], "dimension": 2}
        if path not in ("/v3/analyze", "/analyze", "/score"):
            return error(404, "no such path")
        if request.method == "DELETE":
            return error(405, "GET or POST")
        if request.method == "GET":
            return error(400, "not from there" if query else "no image")
        return self.analyze(request)

    def analyze(self, request):
        file = field(request, "file")
        if file is None or (self.name == "caption_score" and field(request, "caption") is None):
            return error(400, "a field is missing")
        if len(file) > MOST_BYTES:
            return error(413, "more than 32 MB")
        try:
            return self.look(file)
        except (OSError, SyntaxError):
            return error(400, "not an image")

    def look(self, file):
        with Pictures.open(io.BytesIO(file)) as picture:
            if picture.width * picture.height > MOST_PIXELS:
                return error(413, "more than 50 megapixels")
            red = reddest(ImageOps.exif_transpose(picture).convert("RGB"))
        if self.name == "caption_score":
            return 200, {"status": "success", "similarity_score": 0.3}
        return 200, reply(
            *([{"label": "stop sign", "confidence": 0.9, "emoji": "🛑", "bbox": red}] if red else [])
        )


def field(request, name):
    """A form's field; None where the body has none of that name that is whole."""
    found = re.search(rb'name="' + name.encode() + rb'"[^\r]*(?:\r\n[^\r]+)*\r\n\r\n', request.body)
    boundary = request.kind.partition("boundary=")[2].encode()
    if not found or not boundary:
        return None
    end = request.body.find(b"\r\n--" + boundary, found.end())
    return request.body[found.end() : end] if end >= 0 else None


def reddest(picture):
    """The box of what is red."""
    red, green, blue = np.moveaxis(np.asarray(picture, np.int16), 2, 0)
    ys, xs = np.nonzero((red > 150) & (green < 60) & (blue < 60))
    if len(xs) < 100:
        return None
    left, top = int(xs.min()), int(ys.min())
    return {"x": left, "y": top, "width": int(xs.max()) + 1 - left, "height": int(ys.max()) + 1 - top}


def reply(*predictions, **more):
    metadata = {"processing_time": 0.05}
    return {"service": "x", "status": "success", "predictions": predictions, "metadata": metadata, **more}


def error(status, message):
    body = {"service": "x", "status": "error", "predictions": [], "error": {"message": message}}
    return status, {**body, "metadata": {"processing_time": 0.0}}


@pytest.fixture(scope="module")
def photo():
    return pictures.Photo(pictures.drawn().resize((320, 240)))


def target(service, photo, clients=3):
    entry = replace(catalog.facts(service.name), host="127.0.0.1", port=1)
    return Target(service=entry, call=service, photo=photo, clients=clients)


NEEDS_A_PORT = ("keep-alive", "hang-up")


@pytest.mark.parametrize("name", [name for name in CHECKS if name not in NEEDS_A_PORT])
def test_a_service_that_keeps_the_contract_passes(name, photo):
    service = Service("caption_score" if name == "no-caption" else "yolov8")
    result = table.made(CHECKS[name], target(service, photo))
    assert (result.outcome, result.failure) == (table.PASSED, None), result.said


def saying(status, body):
    """Whatever is asked."""
    return lambda *_: (status, body)


def answering(matches, answer):
    """Answers so what matches, and all else rightly."""

    def answered(service):
        right = service.route
        service.route = lambda request, path, query: (
            answer if matches(request, path) else right(request, path, query)
        )

    return answered


def looking(change):
    """Makes of each prediction what `change` makes of it and its picture's size."""

    def looked(service):
        right = service.look

        def look(file):
            status, body = right(file)
            with Pictures.open(io.BytesIO(file)) as picture:
                changed = [change(one, picture.size) for one in body["predictions"]]
            return status, {**body, "predictions": changed}

        service.look = look

    return looked


def moved(prediction, **box):
    return {**prediction, "bbox": {**prediction["bbox"], **box}}


def ignoring_orientation(service):
    def look(file):
        with Pictures.open(io.BytesIO(file)) as picture:
            red = reddest(picture.convert("RGB"))
        return 200, reply({"label": "stop sign", "confidence": 0.9, "emoji": "🛑", "bbox": red})

    service.look = look


def at(path):
    return lambda _, asked: asked == path


def with_what(words):
    return lambda request, _: request.what == words


PLAIN_500 = (500, {"detail": "Internal Server Error"})
TOO_LONG = (200, {**reply(), "metadata": {"processing_time": 50}})
WRONG = {
    "health": answering(at("/health"), (200, {"status": "ok"})),
    "reply": answering(at("/v3/analyze"), (200, {"predictions": {}})),
    "shape": looking(lambda prediction, _: {**prediction, "label": ""}),
    "processing-time": answering(at("/v3/analyze"), TOO_LONG),
    "boxes-inside": looking(lambda prediction, size: moved(prediction, x=size[0] - 20)),
    "boxes-scale": looking(lambda prediction, _: moved(prediction, x=1, y=1, width=40, height=40)),
    "orientation": ignoring_orientation,
    "older-endpoint": answering(at("/analyze"), (200, {"predictions": 1})),
    "url": answering(lambda request, _: "url=http" in request.path, PLAIN_500),
    "url-of-a-file": answering(lambda request, _: "url=file" in request.path, (200, reply())),
    "file": answering(lambda request, _: "?file=" in request.path, PLAIN_500),
    "no-image": answering(lambda request, _: request.method == "GET", (422, {"detail": "missing"})),
    **{name: answering(with_what(what), PLAIN_500) for name, (what, _) in refusing.BAD.items()},
    "no-caption": answering(with_what("a photo without a caption"), PLAIN_500),
    "truncated": answering(with_what("half a JPEG"), PLAIN_500),
    "many-bytes": answering(with_what("a file of 33 MB"), error(400, "too large")),
    "many-pixels": answering(with_what("an image of 51 megapixels"), (200, reply())),
    **{name: answering(with_what(what), PLAIN_500) for name, (what, _) in pictures.ODD.items()},
    "unknown-path": answering(at("/windmill/no/such/path"), (200, {})),
    "other-method": answering(lambda request, _: request.method == "DELETE", (200, {})),
    "embeddings": answering(
        at("/embed/text"), (200, {"status": "success", "embedding": [3.0, 4.0], "dimension": 2})
    ),
    "at-once": answering(with_what("a photo, 3 clients at once"), error(503, "full")),
}


@pytest.mark.parametrize("name", [name for name in CHECKS if name not in NEEDS_A_PORT])
def test_a_service_that_breaks_a_promise_fails_its_check(name, photo):
    service = Service("caption_score" if name == "no-caption" else "yolov8")
    WRONG[name](service)
    result = table.made(CHECKS[name], target(service, photo))
    assert result.outcome == table.FAILED, result.said
    assert all((result.failure.sent, result.failure.expected, result.failure.got))


@pytest.mark.parametrize(("name", "outcome"), [("face_embedding", table.PASSED), ("clip", table.FAILED)])
def test_only_clip_has_to_embed_texts(name, outcome, photo):
    service = Service(name)
    answering(at("/embed/text"), error(404, "no such path"))(service)
    assert table.made(CHECKS["embeddings"], target(service, photo)).outcome == outcome


def test_a_photo_without_what_is_embedded_is_no_broken_promise(photo):
    service = Service("face_embedding")
    answering(at("/embed/image"), (200, {"status": "success", "embedding": None}))(service)
    result = table.made(CHECKS["embeddings"], target(service, photo))
    assert (result.outcome, result.said.endswith("--photo names another")) == (table.SKIPPED, True)


def test_an_error_needs_the_contracts_shape_not_only_its_status(photo):
    service = Service()
    answering(with_what("nothing"), (400, {"detail": "There was an error parsing the body"}))(service)
    result = table.made(CHECKS["empty-body"], target(service, photo))
    assert "missing or wrong: service, status, predictions, error.message" in result.said


@pytest.mark.parametrize("wish", ["5", "Fri, 31 Dec 2100 23:59:59 GMT"])
def test_a_full_service_may_say_when_to_come_again(wish, photo):
    full = Service()
    answering(at("/v3/analyze"), error(503, "full"))(full)
    asked = replace(
        target(full, photo), call=lambda request: replace(full(request), headers={"retry-after": wish})
    )
    assert table.made(CHECKS["at-once"], asked).outcome == table.PASSED


def test_what_sees_nothing_is_skipped_where_boxes_count(photo):
    blind = target(Service(), pictures.Photo(photo.picture.crop((0, 0, 40, 30))))
    for name in ("shape", "boxes-inside", "boxes-scale", "orientation"):
        result = table.made(CHECKS[name], blind)
        assert result.outcome == table.SKIPPED
        assert "--photo" in result.said


def test_checks_that_look_into_the_reply_say_nothing_without_one(photo):
    broken = Service()
    WRONG["reply"](broken)
    for name in ("shape", "processing-time", "boxes-inside", "boxes-scale"):
        result = table.made(CHECKS[name], target(broken, photo))
        assert (result.outcome, "see the check `reply`" in result.said) == (table.SKIPPED, True)


def test_once_a_service_is_gone_nothing_more_is_asked(photo):
    asked = []

    def gone(request):
        asked.append(request)
        raise Gone(sent="x", expected="x", got="no connection")

    entry = catalog.facts("yolov8")
    outcomes = [
        one.outcome for one in table.results(Target(service=entry, call=gone, photo=photo), table.CHECKS)
    ]
    assert outcomes == [table.FAILED] + [table.SKIPPED] * (len(CHECKS) - 1)
    assert len(asked) == 1


ODDITIES = [
    None,
    [],
    5,
    {},
    {"predictions": None, "metadata": None, "similarity_score": 0.1},
    {"predictions": 5, "metadata": "x", "similarity_score": 0.1, "embedding": 5},
    {"predictions": [{}], "embedding": [None], "status": {}},
    {"predictions": [5], "metadata": 5},
    {"predictions": [], "full_image": [{}], "embedding": [1e308, 1e308], "status": "success", "dimension": 2},
    {"predictions": [{"landmarks": 5, "dimensions": 5, "text_regions": 5, "primary": 5, "keypoints": {}}]},
    {"predictions": [{"landmarks": {"a": {"x": "1"}}, "pose_analysis": []}]},
    {
        "predictions": [
            {
                "text": "a",
                "emoji": "💬",
                "has_text": True,
                "emoji_mappings": [],
                "text_regions": [{"text": "a", "confidence": 1, "bbox": {"x": "far"}}],
            }
        ]
    },
]
LOOKING = (
    "health",
    "reply",
    "shape",
    "processing-time",
    "boxes-inside",
    "boxes-scale",
    "orientation",
    "embeddings",
)


@pytest.mark.parametrize("body", ODDITIES, ids=str)
def test_no_reply_however_odd_breaks_a_check(body, photo):
    for name in ("yolov8", "somebody", *shapes.PROMISES):
        service = Service(name)
        service.route = saying(200, body)
        for check in LOOKING:
            result = table.made(CHECKS[check], target(service, photo))
            assert result.outcome != table.PASSED or body, (name, check)


# --- on a real connection ----------------------------------------------------------------------------------

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n"


def listening(port, photo, call=None):
    return replace(
        target(Service(), photo), service=replace(catalog.facts("yolov8"), host="127.0.0.1", port=port)
    )


def test_a_connection_that_is_closed_after_each_reply_is_noticed(photo):
    with talking(lambda: [OK + b"Connection: close\r\n\r\n{}"]) as port:
        result = table.made(CHECKS["keep-alive"], listening(port, photo))
    assert (result.outcome, result.failure.got) == (table.FAILED, "a closed one")


def test_a_service_that_is_ill_after_a_client_has_left_is_noticed(photo):
    with talking(list) as port:
        asked = listening(port, photo)
        ill = replace(asked, call=lambda request: Answer(request=request, status=500, body=b"oops"))
        assert table.made(CHECKS["hang-up"], asked).outcome == table.PASSED
        assert table.made(CHECKS["hang-up"], ill).outcome == table.FAILED


def call(port, timeout=5.0):
    service = replace(catalog.facts("yolov8"), host="127.0.0.1", port=port)
    return HttpCaller(service, timeout=timeout, most=1000)(Request(what="this", path="/x"))


def test_an_answer_is_what_came():
    with talking(lambda: [OK + b"X-A: b\r\n\r\nhi"]) as port:
        answer = call(port)
    assert (answer.status, answer.body, answer.headers["x-a"]) == (200, b"hi", "b")
    assert answer.seconds > 0


@pytest.mark.parametrize(
    ("pieces", "got"),
    [
        ([b""], "the connection was closed"),
        ([b"HTTP/1.1 200 OK\r\n\r\n", b"x" * 1001], r"more than 0\.0\d+ MB"),
        ([b"SSH-2.0\r\n"], "not HTTP"),
    ],
)
def test_no_whole_answer_is_a_failure_that_says_why(pieces, got):
    with talking(lambda: pieces) as port, pytest.raises(Failed, match=f"sent POST /x with this; .*{got}"):
        call(port)


def test_an_answer_that_does_not_come_is_waited_for_no_longer_than_asked():
    with talking(list, listens=False) as port, pytest.raises(Failed, match=r"none within 0\.2 s"):
        call(port, timeout=0.2)


def test_an_answer_that_does_not_end_in_time_is_no_whole_one():
    head = OK + b"Content-Length: 9\r\n\r\n"
    with talking(lambda: [head, b"x"], pause=1) as port, pytest.raises(Failed, match="no whole one within"):
        call(port, timeout=0.2)


def test_skipped_is_not_failed():
    assert not issubclass(Skipped, Failed)

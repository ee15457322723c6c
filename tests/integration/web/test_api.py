"""The web app over real HTTP: what it answers, what it refuses and how, and who may come in."""

import http.client
import io
import json
import logging
import socket
import threading
from contextlib import contextmanager
from types import SimpleNamespace
from urllib.parse import urlsplit

import numpy as np
import pytest
import requests
from PIL import Image as Pictures

import tests.serving
from tests.photo_library import CUTOFF, Photos, library
from tests.waiting import until
from windmill.errors import ConfigError, IndexDamaged, OtherEmbedder, ServiceUnavailable, StoreUnavailable
from windmill.index import answers
from windmill.services import uploads
from windmill.web import shapes
from windmill.web.app import create
from windmill.web.desk import Desk
from windmill.web.guard import Rules

TOKENS = ("t" * 16, "another-one-of-them")


@contextmanager
def serving(made, rules=Rules(tokens=TOKENS)):  # noqa: B008 -- frozen
    with tests.serving.serving(SimpleNamespace(asgi=create(made, rules))) as port:
        yield f"http://127.0.0.1:{port}"


@pytest.fixture(scope="module")
def photos(shared_data):
    return Photos(shared_data / "coco-photos", 12)


@pytest.fixture(scope="module")
def url(photos):
    with serving(library(photos)) as address:
        yield address


def search(url, status=200, **fields):
    response = requests.get(f"{url}/api/search", params=fields, timeout=60)
    assert response.status_code == status, response.text
    return response.json()


def post(url, data, name="photo.jpg", **fields):
    return requests.post(f"{url}/api/search/image", files={"file": (name, data)}, data=fields, timeout=60)


def refused(response, status):
    """The message of an error, which has one shape."""
    assert response.status_code == status, response.text
    (error,) = response.json().values()
    (message,) = error.values()
    return message


# --- searching --------------------------------------------------------------------------------------------


def test_words_find_what_shows_them_with_all_that_is_known_of_it(url, photos):
    answer = search(url, text="a frisbee", top_k=3, min_score="", like="", where="")
    assert answer["fits"]
    assert answer["cutoff"] == CUTOFF
    scores = [hit["score"] for hit in answer["hits"]]
    assert scores == sorted(scores, reverse=True)
    best = answer["hits"][0]
    assert "frisbee" in {label for _, label, _ in best["found"]["votes"]}
    assert best["path"] == str(photos.paths[best["image_id"]])
    assert requests.get(url + best["file"], timeout=60).headers["content-type"] == "image/jpeg"


def test_an_answer_is_what_the_documentation_says_and_what_remote_reads(url):
    answer = search(url, text="a frisbee")
    assert shapes.Answer.model_validate(answer).model_dump(mode="json") == answer
    assert answers.parse(answer).answer.hits[0].score == answer["hits"][0]["score"]


def test_a_photo_of_the_index_finds_itself_and_more_like_it_does_not(url, photos):
    data = photos.paths[3].read_bytes()
    assert post(url, data, top_k=1).json()["hits"][0]["image_id"] == 3
    assert 3 not in {hit["image_id"] for hit in search(url, like=3, min_score=-1)["hits"]}


def test_a_photo_and_words_together_are_between_the_two(url, photos):
    data = photos.paths[1].read_bytes()
    alone = post(url, data, min_score=-1, top_k=12).json()["hits"]
    both = post(url, data, text="teddy bear", min_score=-1, top_k=12).json()["hits"]
    scores = [{hit["image_id"]: hit["score"] for hit in hits} for hits in (alone, both)]
    bears = [
        n for n, photo in photos.photos.items() if "teddy bear" in {o["label"] for o in photo["objects"]}
    ]
    assert scores[1][bears[0]] > scores[0][bears[0]]
    assert scores[1][1] < scores[0][1]


def test_nothing_fits_and_the_nearest_can_be_had_all_the_same(url):
    answer = search(url, text="submarine")
    assert (answer["fits"], answer["hits"]) == (False, [])
    assert answer["best_score"] < CUTOFF
    assert len(search(url, text="submarine", min_score=-1)["hits"]) == 10


def test_a_condition_leaves_out_what_does_not_meet_it(url):
    answer = search(url, text="person", where="votes ? 'frisbee'", top_k=50)
    assert answer["matching"] == len(answer["hits"])
    found = [{label for _, label, _ in hit["found"]["votes"]} for hit in answer["hits"]]
    assert found
    assert all("frisbee" in labels for labels in found)


def test_a_condition_alone_gives_what_meets_it(url):
    found = requests.get(f"{url}/api/images", {"where": "votes ? 'person'", "top_k": 5}, timeout=60).json()
    assert (found["matching"], len(found["images"])) == (12, 5)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({}, "what is looked for"),
        ({"text": "  "}, "what is looked for"),
        ({"text": "dog", "like": 1}, "like is a query by itself"),
        ({"like": 4711}, "image 4711 is not in the index"),
        ({"text": "dog", "top_k": 0}, "top_k: input should be greater than or equal to 1"),
        ({"text": "dog", "top_k": 10**9}, "top_k: input should be less than or equal to 10000"),
        ({"text": "dog", "top_k": "many"}, "top_k: input should be a valid integer"),
        ({"text": "dog", "min_score": "nan"}, "min_score: "),
        ({"text": "dog", "where": "nsfw <"}, "expected a number"),
        ({"text": "dog", "where": f"width > {'9' * 400}"}, "needs more than 64 bits"),
        ({"text": "dog", "topk": 5}, "topk: extra inputs are not permitted"),
        ({"text": "d" * 10_001}, "text: "),
        ({"like": 2**63}, "like: "),
    ],
)
def test_a_query_that_is_none_is_refused_by_name(url, fields, said):
    assert said in search(url, 400, **fields)["error"]["message"]


@pytest.mark.parametrize("path", ["api/images", "images"])
def test_a_number_that_no_image_can_have_is_refused(url, path):
    assert "image_id: " in refused(requests.get(f"{url}/{path}/{10**20}", timeout=60), 400)


# --- images -----------------------------------------------------------------------------------------------


def test_all_that_is_known_of_an_image(url, photos):
    known = requests.get(f"{url}/api/images/1", timeout=60).json()
    assert shapes.Entry.model_validate(known).model_dump(mode="json") == known
    assert known["found"]["captions"] == [["blip", photos.photos[1]["captions"][0]]]
    assert {"width", "height", "group", "boxes", "faces", "colours", "text"} <= known["found"].keys()


def test_an_original_is_the_file_and_a_small_one_is_small(url, photos):
    original = requests.get(f"{url}/images/1", timeout=60)
    assert original.content == photos.paths[1].read_bytes()
    small = requests.get(f"{url}/images/1?size=150", timeout=60)
    assert max(Pictures.open(io.BytesIO(small.content)).size) == 200


def test_a_picture_that_a_browser_has_is_not_sent_again(url):
    first = requests.get(f"{url}/images/1?size=200", timeout=60)
    assert "max-age" in first.headers["cache-control"]
    again = requests.get(
        f"{url}/images/1?size=200", headers={"If-None-Match": first.headers["etag"]}, timeout=60
    )
    assert (again.status_code, again.content) == (304, b"")


@pytest.mark.parametrize(
    "path", ["/images/4711", "/api/images/4711", "/images/../../etc/passwd", "/images/%2e%2e%2fetc%2fpasswd",
             "/js/../../app.py", "/..%2fapp.py", "/nowhere"]
)  # fmt: skip
def test_what_is_not_there_is_not_found(url, path):
    """As it stands: `requests` would tidy it up."""
    host = urlsplit(url).netloc
    connection = http.client.HTTPConnection(host, timeout=60)
    connection.request("GET", path, headers={"Host": host})
    response = connection.getresponse()
    assert response.status in (400, 404)
    assert json.loads(response.read())["error"]["message"]
    connection.close()


def test_what_lies_at_an_images_path_is_shown_only_if_it_is_an_image(photos, tmp_path):
    """Whatever a file has become since it was indexed, no browser runs it as a page of this server."""
    page, gone, turned = tmp_path / "a.jpg", tmp_path / "b.jpg", tmp_path / "c.tiff"
    page.write_text("<script>alert(1)</script>", "utf-8")
    exif = Pictures.Exif()
    exif[0x0112] = 6
    Pictures.new("RGB", (40, 20)).save(turned, exif=exif)
    changed = Photos(photos.paths[1].parent, 3)
    changed.paths = {1: page, 2: gone, 3: turned}
    changed._findings = lambda number: None
    with serving(library(changed, database=False)) as url:
        assert "not an image" in refused(requests.get(f"{url}/images/1", timeout=60), 404)
        assert "No such file" in refused(requests.get(f"{url}/images/2?size=200", timeout=60), 404)
        shown = requests.get(f"{url}/images/3", timeout=60)
        assert shown.headers["content-type"] == "image/jpeg"
        assert Pictures.open(io.BytesIO(shown.content)).size == (20, 40)


def test_without_a_database_there_are_images_and_no_findings(photos):
    with serving(library(photos, database=False)) as url:
        hit = search(url, text="frisbee")["hits"][0]
        assert hit["found"] is None
        assert requests.get(f"{url}{hit['file']}?size=200", timeout=60).ok
        overview = requests.get(f"{url}/api/overview", timeout=60).json()
        assert (overview["conditions"], overview["votes"]) == (False, [])
        assert "database" in search(url, 400, text="dog", where="faces > 1")["error"]["message"]


def test_a_small_picture_goes_with_its_image_whoever_removed_it(photos):
    made = library(photos)
    with serving(made) as url:
        assert requests.get(f"{url}/images/1?size=200", timeout=60).ok
        made._store.delete(np.array([1]))  # as `windmill index delete` does, elsewhere
        assert "not in the index" in refused(requests.get(f"{url}/images/1?size=200", timeout=60), 404)


def test_a_removed_image_is_found_no_more(photos):
    with serving(library(photos)) as url:
        headers = {"Authorization": f"Bearer {TOKENS[1]}"}
        assert requests.get(f"{url}/images/1?size=200", timeout=60).ok
        assert requests.delete(f"{url}/api/images/1", headers=headers, timeout=60).status_code == 204
        assert 1 not in {
            hit["image_id"] for hit in search(url, text="person", min_score=-1, top_k=99)["hits"]
        }
        assert "not in the index" in refused(requests.get(f"{url}/images/1?size=200", timeout=60), 404)
        assert "not in the index" in refused(
            requests.delete(f"{url}/api/images/1", headers=headers, timeout=60), 404
        )
        assert requests.get(f"{url}/health", timeout=60).json() == {"status": "healthy", "images": 11}
        assert photos.paths[1].is_file()


# --- uploads ----------------------------------------------------------------------------------------------


def test_hostile_uploads_are_refused_by_name(url, shared_data):
    assert "not an image" in refused(post(url, b"no image"), 400)
    assert "no image" in refused(
        requests.post(f"{url}/api/search/image", data={"text": "x"}, timeout=60), 400
    )
    for path in sorted((shared_data / "hostile").iterdir())[:6]:
        assert post(url, path.read_bytes()).status_code in (200, 400, 413), path


@pytest.mark.parametrize("chunked", [False, True], ids=["length told", "length not told"])
def test_an_upload_that_is_too_large_is_cut_off(url, monkeypatch, chunked):
    monkeypatch.setattr(uploads, "MOST_BYTES", 1_000_000)
    body = b"--b\r\nContent-Disposition: form-data; name=file; filename=a\r\n\r\n" + bytes(1_200_000)
    response = requests.post(
        f"{url}/api/search/image",
        data=iter([body[:500_000], body[500_000:]]) if chunked else body,
        headers={"Content-Type": "multipart/form-data; boundary=b"},
        timeout=60,
    )
    assert "larger than 1 MB" in refused(response, 413)


def test_a_form_that_is_none_is_refused(url):
    kind = {"Content-Type": "multipart/form-data"}
    assert refused(requests.post(f"{url}/api/search/image", data=b"x", headers=kind, timeout=60), 400)


# --- trouble ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (StoreUnavailable("PostgreSQL is away"), 503),
        (ServiceUnavailable("clip is away", service="clip"), 503),
        (IndexDamaged("photos.faiss is cut short"), 503),
        (OtherEmbedder("the index has vectors of another model"), 503),
    ],
)
def test_what_is_away_is_said_to_be_and_when_to_come_again(photos, error, status, caplog):
    def away(*_):
        raise error

    made = library(photos)
    made._searcher = away
    with serving(made) as url:
        response = requests.get(f"{url}/api/search", {"text": "dog"}, timeout=60)
        assert str(error) in refused(response, status)
        assert int(response.headers["Retry-After"]) > 0
    assert f"/api/search: {error}" in caplog.text


def test_hits_are_shown_while_the_database_is_away(photos, monkeypatch, caplog):
    def away(*_):
        raise StoreUnavailable("PostgreSQL is away")

    made = library(photos)
    monkeypatch.setattr(made, "_known", SimpleNamespace(of=away, matching=away))
    with serving(made) as url, caplog.at_level(logging.WARNING):
        assert search(url, text="frisbee")["hits"][0]["found"] is None
    assert "PostgreSQL is away" in caplog.text


def test_of_an_error_that_nobody_foresaw_a_stranger_learns_only_its_kind(photos, caplog):
    def broken(*_):
        raise RuntimeError("the secret path is /home/someone")

    made = library(photos)
    made._searcher = broken
    with serving(made) as url:
        assert refused(requests.get(f"{url}/api/search", {"text": "dog"}, timeout=60), 500) == (
            "internal error: RuntimeError"
        )
    assert "the secret path" in caplog.text


def test_more_at_once_than_places_are_told_to_come_again(photos, monkeypatch):
    begun, go_on = threading.Event(), threading.Event()
    made = library(photos)
    found = made._searcher

    def slowly(query):
        begun.set()
        assert go_on.wait(20)
        return found(query)

    made._searcher = slowly
    monkeypatch.setattr("windmill.web.app._SEARCHES", (1, 0))
    with serving(made) as url:
        first = threading.Thread(target=search, args=(url,), kwargs={"text": "dog"})
        first.start()
        assert begun.wait(20)
        full = requests.get(f"{url}/api/search", {"text": "dog"}, timeout=60)
        assert int(full.headers["Retry-After"]) > 0
        assert "come again" in refused(full, 503)
        assert "come again" in refused(post(url, photos.paths[1].read_bytes()), 503)
        go_on.set()
        first.join(20)
        assert search(url, text="dog")["hits"] is not None


def test_uploads_that_never_end_keep_no_place_of_a_search(photos, monkeypatch):
    begun, received = threading.Event(), uploads.received

    async def seen(request):
        begun.set()
        return await received(request)

    monkeypatch.setattr("windmill.web.app._SEARCHES", (1, 0))
    monkeypatch.setattr("windmill.web.app._UPLOADS", 1)
    monkeypatch.setattr(uploads, "received", seen)
    with serving(library(photos)) as url:
        host = urlsplit(url)
        start = f"POST /api/search/image HTTP/1.1\r\nHost: {host.netloc}\r\nContent-Length: 999\r\n"
        with socket.create_connection((host.hostname, host.port), 20) as dripping:
            dripping.sendall(f"{start}Content-Type: multipart/form-data; boundary=b\r\n\r\n--b".encode())
            assert begun.wait(20)
            assert search(url, text="frisbee")["hits"]
            assert "come again" in refused(post(url, photos.paths[1].read_bytes()), 503)
        until(lambda: post(url, photos.paths[1].read_bytes()).ok, 20)


def test_a_desk_has_as_many_places_as_it_says():
    desk = Desk(1, 1)
    with desk.place(), desk.place(), pytest.raises(Exception, match="come again"), desk.place():
        pass


def test_health_says_when_the_index_cannot_be_read(photos, monkeypatch):
    def away():
        raise StoreUnavailable("the index is away")

    made = library(photos)
    monkeypatch.setattr(made._store, "count", away)
    with serving(made) as url:
        assert "the index is away" in refused(requests.get(f"{url}/health", timeout=60), 503)


# --- who may come in --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 401),
        ({"Authorization": "Basic dDp0"}, 401),
        ({"Authorization": "Bearer "}, 401),
        ({"Authorization": "Bearer wrong"}, 403),
        ({"Authorization": f"Bearer {TOKENS[0]}x"}, 403),
        ({"Cookie": f"token={TOKENS[0]}"}, 401),
    ],
)
def test_changing_takes_a_token_in_a_header(url, headers, status):
    assert "token" in refused(requests.delete(f"{url}/api/images/2", headers=headers, timeout=60), status)
    assert "token" in refused(
        requests.delete(f"{url}/api/images/2?token={TOKENS[0]}", headers=headers, timeout=60), status
    )


def test_nothing_can_be_changed_where_no_token_is_set(photos):
    with serving(library(photos), Rules()) as url:
        given = {"Authorization": "Bearer "}
        assert "WEB_TOKENS" in refused(requests.delete(f"{url}/api/images/2", headers=given, timeout=60), 403)


def test_reading_can_take_a_token_too_and_the_page_and_health_do_not(photos):
    with serving(library(photos), Rules(tokens=TOKENS, open_reading=False)) as url:
        token = {"Authorization": f"Bearer {TOKENS[0]}"}
        for path in ("/api/search?text=dog", "/api/overview", "/api/images/1", "/images/1"):
            assert "token" in refused(requests.get(url + path, timeout=60), 401)
            assert requests.get(url + path, headers=token, timeout=60).ok
        assert "token" in refused(post(url, photos.paths[1].read_bytes()), 401)
        for path in ("/", "/docs", "/openapi.json", "/health"):
            assert requests.get(url + path, timeout=60).ok


def test_another_sites_name_that_leads_here_is_none(photos):
    """DNS rebinding: its page would otherwise read from this server as if it came from it."""
    with serving(library(photos), Rules(names=("photos.lan",))) as url:
        port = urlsplit(url).port
        for host in (
            f"localhost:{port}",
            f"127.0.0.1:{port}",
            f"[::1]:{port}",
            "photos.lan",
            "Photos.LAN:80",
        ):
            assert requests.get(f"{url}/health", headers={"Host": host}, timeout=60).ok, host
        for host in (f"evil.example:{port}", "photos.lan.evil.example", ""):
            said = refused(requests.get(f"{url}/api/overview", headers={"Host": host}, timeout=60), 421)
            assert "--name" in said


def test_another_site_cannot_ask_in_a_visitors_name(url):
    cross = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "cors"}
    assert "another site" in refused(requests.get(f"{url}/api/overview", headers=cross, timeout=60), 403)
    link = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
    assert requests.get(f"{url}/images/1", headers=link, timeout=60).ok
    assert "access-control-allow-origin" not in requests.get(f"{url}/api/overview", timeout=60).headers


@pytest.mark.parametrize("path", ["/", "/api/search?text=dog", "/images/1", "/nowhere", "/js/page.js"])
def test_every_answer_says_what_a_browser_may_do_with_it(url, path):
    headers = requests.get(url + path, timeout=60).headers
    assert "default-src 'self'" in headers["content-security-policy"]
    assert "frame-ancestors 'none'" in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["cross-origin-resource-policy"] == "same-origin"


def test_a_request_is_one_line_in_the_log_without_what_was_looked_for(url, caplog):

    def lines():
        return [one.getMessage() for one in caplog.records if one.name == "windmill.web.guard"]

    with caplog.at_level(logging.INFO, "windmill.web"):
        search(url, text="a secret wish")
        until(lambda: len(lines()) == 1, 10)  # it is written when the answer is sent
        requests.get(f"{url}/nowhere%0a2026-01-01 INFO forged", timeout=60)
        until(lambda: len(lines()) == 2, 10)
    assert "GET /api/search 200" in lines()[0]
    assert "\n" not in lines()[1]
    assert "secret" not in caplog.text


# --- documentation ----------------------------------------------------------------------------------------


def test_every_operation_is_documented_with_its_errors(url):
    api = requests.get(f"{url}/openapi.json", timeout=60).json()
    deeds = {(path, verb): deed for path, verbs in api["paths"].items() for verb, deed in verbs.items()}
    assert {path for path, _ in deeds} == {
        "/api/search", "/api/search/image", "/api/overview", "/api/images", "/api/images/{image_id}",
        "/images/{image_id}", "/health",
    }  # fmt: skip
    for place, deed in deeds.items():
        assert deed["description"], place
        assert all(one.get("description") for one in deed.get("parameters", [])), place
        assert "422" not in deed["responses"], place
    body = deeds["/api/search/image", "post"]["requestBody"]["content"]["multipart/form-data"]["schema"]
    assert {"file", "text", "top_k", "where", "min_score"} <= body["properties"].keys()


def test_the_overview_is_what_the_documentation_says(url):
    overview = requests.get(f"{url}/api/overview", timeout=60).json()
    assert shapes.Overview.model_validate(overview).model_dump(mode="json") == overview
    assert overview["images"] == 12
    assert overview["votes"][0]["label"] == "person"
    assert {one["group"] for one in overview["groups"]} == {"streets", "parks"}


def test_a_model_that_cannot_be_loaded_is_no_fault_of_who_asks():
    from windmill.web.lending import OneModel

    def load():
        raise ConfigError("clip: no weights")

    with pytest.raises(ServiceUnavailable, match="no weights"):
        OneModel("clip", load)()

"""A search at a Windmill elsewhere, over real HTTP."""

import json
import subprocess
import sys
import threading
from contextlib import contextmanager
from email.parser import BytesParser
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from windmill.errors import ConfigError, ImageError, ServiceUnavailable
from windmill.index import answers
from windmill.index.answers import Told
from windmill.index.remote import RemoteIndex
from windmill.index.searching import Answer, Query
from windmill.index.vectors import Hit

ROOT = Path(__file__).parents[3]
TOLD = Told(Answer(hits=(Hit(image_id=7, path="/nas/cat.jpg", score=0.5),), best=0.5, least=0.2))
QUERY = Query(text="a cat", most=3, least=0.1)


class Elsewhere(BaseHTTPRequestHandler):
    """Says `said` (status, body), and keeps what was asked."""

    def do_GET(self):
        self.server.asked.append((self.path, self.headers, b""))
        status, body = self.server.said
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.do_GET()
        self.server.asked[-1] = (self.path, self.headers, body)

    def log_message(self, *args):
        pass


@contextmanager
def serving(status, body):
    server = ThreadingHTTPServer(("127.0.0.1", 0), Elsewhere)
    server.said, server.asked = (status, body), []
    server.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def elsewhere():
    with serving(200, json.dumps(answers.document(QUERY, TOLD)).encode()) as server:
        yield server


def test_words_are_asked_for(elsewhere):
    there = RemoteIndex(f"{elsewhere.url}/", "a secret")
    assert there.search(QUERY, "nsfw < 0.1") == TOLD
    path, headers, _ = elsewhere.asked[0]
    assert urlsplit(path).path == "/api/search"
    assert parse_qs(urlsplit(path).query) == {
        "text": ["a cat"], "top_k": ["3"], "min_score": ["0.1"], "where": ["nsfw < 0.1"],
    }  # fmt: skip
    assert headers["Authorization"] == "Bearer a secret"


def test_an_image_is_sent_with_all_that_is_asked_beside_it(elsewhere):
    assert RemoteIndex(elsewhere.url).search(Query(image=("cat.jpg", b"\xff\xd8"), text="red")) == TOLD
    path, headers, body = elsewhere.asked[0]
    form = BytesParser().parsebytes(f"Content-Type: {headers['Content-Type']}\r\n\r\n".encode() + body)
    parts = {part.get_param("name", header="content-disposition"): part for part in form.get_payload()}
    assert path == "/api/search/image"
    assert "Authorization" not in headers
    assert parts["file"].get_payload(decode=True) == b"\xff\xd8"
    assert parts["file"].get_filename() == "cat.jpg"
    assert (parts["text"].get_payload(), parts["top_k"].get_payload()) == ("red", "10")


@pytest.mark.parametrize(
    ("status", "body", "error", "said"),
    [
        (400, b'{"error": {"message": "--where: no such field"}}', ConfigError, "no such field"),
        (401, b"{}", ConfigError, "WEB_TOKEN"),
        (503, b'{"error": {"message": "busy"}}', ServiceUnavailable, "busy"),
        (200, b"<html>Welcome</html>", ConfigError, "not answer as a Windmill"),
        (200, b'{"hits": []}', ConfigError, "not answer as a Windmill"),
        (200, b"[]", ConfigError, "not answer as a Windmill"),
        (404, b"not found", ConfigError, "not answer as a Windmill.*status 404"),
        (302, b"", ConfigError, "not answer as a Windmill"),
    ],
)
def test_what_is_no_answer_is_told(status, body, error, said):
    with serving(status, body) as server, pytest.raises(error, match=said):
        RemoteIndex(server.url).search(QUERY)


def test_nobody_there_is_told():
    with serving(200, b"") as server:
        url = server.url
    with pytest.raises(ServiceUnavailable, match=f"{url}: no connection"):
        RemoteIndex(url).search(QUERY)


def test_the_file_of_a_hit_is_fetched():
    with serving(200, b"the file") as server:
        there = RemoteIndex(server.url)
        assert there.file(7, 100) == b"the file"
        assert server.asked[0][0] == "/images/7"
        with pytest.raises(ServiceUnavailable, match="more than"):
            there.file(7, 3)
    with serving(404, b"") as server, pytest.raises(ImageError, match="image 7"):
        RemoteIndex(server.url).file(7, 100)


@pytest.mark.parametrize(
    "url", ["photos.example.org", "ftp://x", "http://", "http://u:p@x", "http://x:0/", "http://x?q"]
)
def test_what_is_no_address_is_told(url):
    with pytest.raises(ConfigError, match="expected http") as raised:
        RemoteIndex(url)
    assert "u:p" not in str(raised.value)


def test_the_command_needs_neither_models_nor_an_index_here(elsewhere, tmp_path):
    """And writes what it found."""
    heavy = ("faiss", "pyarrow", "torch", "onnx", "onnxruntime", "cv2", "tokenizers", "starlette", "pymilvus")
    words = ["search", "a cat", "--remote", elsewhere.url, "--copy-results", str(tmp_path)]
    program = (
        f"import sys; from windmill.cli import main; status = main({words});"
        f" print([name for name in {heavy} if name in sys.modules], status)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, timeout=60, check=True
    )
    assert "/nas/cat.jpg" in done.stdout
    assert done.stdout.endswith("[] 0\n")
    assert [file.suffix for file in tmp_path.iterdir()] == [".jpg"]

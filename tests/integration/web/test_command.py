"""`windmill web` as a command: what it is told, what it says, and an index of files without a database."""

import argparse
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import requests

from tests.waiting import until
from windmill.commands import web
from windmill.errors import ConfigError
from windmill.index.files import create
from windmill.index.vectors import Embedder, Vectors
from windmill.model import Numbering
from windmill.settings import Settings

ROOT = Path(__file__).parents[3]
TOKEN = "0123456789abcdef"
GUARDED = Settings(web_tokens=(TOKEN,))


def parsed(*words):
    parser = argparse.ArgumentParser()
    web.add_arguments(parser)
    return parser.parse_args(words)


def rules(*words, settings=Settings()):  # noqa: B008 -- frozen
    args = parsed(*words)
    made = web._rules(args, settings)
    return made, web._told(args.host, made)


def test_on_loopback_reading_is_open_and_only_own_names_are_answered():
    made, told = rules(settings=GUARDED)
    assert (made.open_reading, made.names) == (True, ())
    assert "whoever can use this machine may search" in told
    assert rules("--name", "Photos.LAN", "--host", "::1")[0].names == ("photos.lan",)


def test_for_other_machines_reading_takes_a_token_if_there_is_one_and_else_is_said_to_be_open():
    assert rules("--host", "0.0.0.0", settings=GUARDED)[0].open_reading is False
    made, told = rules("--host", "0.0.0.0")
    assert (made.open_reading, made.names) == (True, None)
    assert "WHOEVER REACHES THIS ADDRESS" in told
    assert "nothing can be changed" in told
    assert rules("--host", "0.0.0.0", "--reading", "open", settings=GUARDED)[0].open_reading
    assert rules("--reading", "token", settings=GUARDED)[0].open_reading is False


def test_tokens_that_can_be_guessed_or_are_not_there_are_refused():
    with pytest.raises(ConfigError, match="could be guessed") as caught:
        rules(settings=Settings(web_tokens=(TOKEN, "short")))
    assert "short" not in str(caught.value)
    with pytest.raises(ConfigError, match="WEB_TOKENS names none"):
        rules("--reading", "token")


@pytest.fixture
def index(tmp_path, shared_data):
    """Two photos, by a model that is not here."""
    embedder = Embedder(service="elsewhere", name="far", version="1", dimension=2)
    photos = sorted((shared_data / "coco-photos").glob("*.jpg"))[:2]
    prefix = tmp_path / "index" / "photos"
    create(prefix, embedder, Numbering.CONTENT).upsert(
        Vectors(
            ids=np.array([5, 1 << 62], np.int64),
            paths=[str(path) for path in photos],
            embeddings=np.eye(2, dtype=np.float32),
        )
    )
    return prefix


def start(tmp_path, *words):
    with (tmp_path / "log").open("wb") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "windmill", "web", "--port", "0", *words],
            cwd=tmp_path,
            env={**os.environ, "DB_HOST": "127.0.0.1", "DB_PORT": "1", "PYTHONPATH": str(ROOT)},
            stderr=log,
        )


def test_an_index_of_files_is_served_without_database_and_model_until_it_is_told_to_stop(index, tmp_path):
    server, log = start(tmp_path, "--index", str(index)), tmp_path / "log"
    try:
        address = re.compile(r"http://127\.0\.0\.1:\d+")
        until(lambda: address.search(log.read_text()), 60, lambda: server.poll() is None, log)
        url = address.search(log.read_text())[0]
        assert requests.get(f"{url}/health", timeout=60).json()["images"] == 2
        (hit,) = requests.get(f"{url}/api/search?like=5&min_score=-1", timeout=60).json()["hits"]
        assert hit["image_id"] == 1 << 62
        assert requests.get(f"{url}{hit['file']}?size=200", timeout=60).ok
        words = requests.get(f"{url}/api/search?text=dog", timeout=60)
        assert words.status_code == 503
        assert "elsewhere" in words.json()["error"]["message"]
        server.send_signal(signal.SIGTERM)
        assert server.wait(20) == 0
    finally:
        server.kill()
        server.wait()
    assert "images are shown without findings" in log.read_text()


def test_an_index_that_is_not_there_and_a_port_that_is_none_are_named(tmp_path):
    for words, said in (
        (("--index", str(tmp_path / "nowhere")), "nowhere"),
        (("--port", "70000"), "--port 70000"),
    ):
        with pytest.raises(ConfigError, match=said):
            web.run(parsed(*words), Settings())

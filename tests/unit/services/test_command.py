"""`windmill serve`: what the command line may say."""

import argparse
import asyncio
import contextlib
import socket
from dataclasses import replace

import pytest

from windmill.errors import ConfigError
from windmill.services import command, listening, registry, server
from windmill.services.host import Limits
from windmill.services.server import Serving
from windmill.services.weights import store


@pytest.fixture
def served(monkeypatch):
    """What `serve` was called with."""
    calls = []
    monkeypatch.setattr(server, "serve", calls.append)
    return calls


def run(*words):
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    return command.run(parser.parse_args(words))


@pytest.mark.parametrize(
    ("words", "ports"),
    [
        (["colors", "face"], {"colors": 7770, "face": 7772}),
        (["colors=9000", "face"], {"colors": 9000, "face": 7772}),
        (["face", "--port", "9000"], {"face": 9000}),
        (["face", "--port", "0"], {"face": 0}),
        (["colors", "face", "--port", "9000"], {"colors": 9000, "face": 9001}),
        (["colors", "face", "--port", "0"], {"colors": 0, "face": 0}),
        (["face=0", "colors=0"], {"face": 0, "colors": 0}),
        (["all"], {name: registry.port(name) for name in registry.ready()}),
    ],
)
def test_each_service_gets_its_port(served, words, ports):
    assert run(*words) == 0
    assert served == [
        Serving(
            ports=ports,
            host="127.0.0.1",
            limits=Limits(waiting=64, idle=None),
            lazy=False,
            tolerant=words == ["all"],
            file_root=None,
        )
    ]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "which services"),
        (["yolo"], "yolo: no reference service"),
        (["colors", "face", "--port", "65535"], "65536"),
        (["colors", "--unload-after", "0"], "--unload-after 0"),
        (["colors", "--queue", "none"], "--queue none"),
        (["colors", "--file-root", "/no/such"], "no such folder"),
        (["colors", "colors=9000"], "colors: named twice"),
        (["colors=9000", "face=9000"], "face: port 9000 is already for colors"),
        (["colors=70000"], "70000"),
        (["colors="], "no port"),
        (["colors", "--port", "99999"], "99999"),
    ],
)
def test_what_makes_no_sense_is_said(served, words, said):
    with pytest.raises(ConfigError, match=said):
        run(*words)
    assert served == []


def test_the_list_names_every_service(capsys):
    assert run("--list") == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == list(registry.SERVICES)


@pytest.fixture
def port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def test_a_port_that_another_took_while_we_loaded_is_named(monkeypatch, port):
    with listening.bound("other", "127.0.0.1", port) as rival:
        monkeypatch.setattr(server, "_app", lambda *_: rival.listen() or object())
        with pytest.raises(ConfigError, match=rf"colors: cannot listen on 127\.0\.0\.1:{port}"):
            server.serve(Serving(ports={"colors": port}, host="127.0.0.1", limits=Limits()))


def test_all_is_what_needs_nothing_brought(tmp_path, monkeypatch):
    monkeypatch.setenv("WINDMILL_CACHE", str(tmp_path))
    without = registry.ready()
    assert {"colors", "nanodet", "ocr", "label_embedding"} <= set(without)
    assert not {"clip", "blip", "resnet50", "ollama", "yolov8", "nudenet"} & set(without)
    (tmp_path / "best.onnx").write_bytes(b"weights")
    store.add("yolov8", tmp_path / "best.onnx")
    assert set(registry.ready()) == {*without, "yolov8"}


def test_a_reply_does_not_wait_for_its_packets():
    """Nagle's algorithm is off on what is accepted; else each reply on a kept connection waits 40 ms."""

    async def accepted():
        off = asyncio.get_running_loop().create_future()

        def look(_, writer):
            there = writer.get_extra_info("socket")
            off.set_result(there.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
            writer.close()

        bound = listening.bound("colors", "127.0.0.1", 0)
        async with await asyncio.start_server(look, sock=bound):
            with contextlib.closing(socket.create_connection(bound.getsockname())):
                return await asyncio.wait_for(off, 20)

    assert asyncio.run(accepted())


def test_all_leaves_out_what_cannot_be_loaded_and_a_name_does_not(monkeypatch, caplog):
    def load(name):
        raise ConfigError("best.onnx is no network")

    monkeypatch.setattr(registry, "load", load)
    everything = Serving(ports={"colors": 0}, host="127.0.0.1", limits=Limits(), tolerant=True)
    assert server._app("colors", everything) is None
    assert "colors: left out: best.onnx is no network" in caplog.text
    with pytest.raises(ConfigError, match="no network"):
        server._app("colors", replace(everything, tolerant=False))

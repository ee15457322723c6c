"""Decoders: what kills, stops or fattens one costs its image, and nobody else."""

import io
import os
import signal
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest
from PIL import Image as Pictures

from tests.waiting import until
from windmill.decoding.frames import Request, Task
from windmill.decoding.pool import COMMAND, Decoders
from windmill.errors import DecoderError, ImageError, ImageTooLargeError


def photo(width=40, height=20):
    file = io.BytesIO()
    Pictures.new("RGB", (width, height), "red").save(file, "PNG")
    return file.getvalue()


def request(data=b"", *, task=Task.INSPECT, memory=300_000_000, seconds=30.0, pixels=50_000_000):
    return Request(task=task, data=data or photo(), pixels=pixels, memory=memory, seconds=seconds)


def badly(code):
    """The command of a decoder that runs `code` when it inspects a file that begins with BAD."""
    program = f"""
import ctypes, os, signal
from windmill.decoding import child, pixels

def inspect(data, most, real=pixels.inspect):
    if not data.startswith(b"BAD"):
        return real(data, most)
    {code}
    return pixels.Measured(width=1, height=1, as_is=False)

pixels.inspect = inspect
child.main()
"""
    return (sys.executable, "-P", "-c", program)


@pytest.fixture
def decoders():
    made = []

    def make(command=COMMAND, most=1):
        made.append(Decoders(most, command))
        return made[-1]

    yield make
    for one in made:
        one.close()


def size(pool, **options):
    reply = pool.ask("photo.png", request(**options))
    return reply.width, reply.height


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("ctypes.string_at(0)", "bad.jpg: damaged: its decoder died of it (SIGSEGV)"),
        ("os.abort()", "bad.jpg: damaged: its decoder died of it (SIGABRT)"),
        ("os.kill(os.getpid(), signal.SIGKILL)", "bad.jpg: damaged: its decoder died of it (SIGKILL)"),
        ("os._exit(3)", "bad.jpg: damaged: its decoder died of it (exit status 3)"),
        ("bytearray(900_000_000)", "bad.jpg: takes more than 300 MB of memory to decode"),
    ],
    ids=["segmentation-fault", "abort", "killed", "exit", "memory"],
)
def test_what_kills_a_decoder_is_an_image_error_and_the_next_image_goes_through(decoders, code, said):
    pool = decoders(badly(code))
    assert size(pool) == (40, 20)
    with pytest.raises(ImageError) as caught:
        pool.ask("bad.jpg", request(b"BAD"))
    assert str(caught.value) == said
    assert size(pool) == (40, 20)


@pytest.mark.parametrize("code", ["while True: pass", "ctypes.CDLL(None).sleep(60)"])
def test_what_takes_too_long_is_ended_in_python_and_in_c(decoders, code):
    pool = decoders(badly(code))
    size(pool)
    started = time.monotonic()
    with pytest.raises(ImageError, match=r"bad.jpg: not decoded within 0\.1 s"):
        pool.ask("bad.jpg", request(b"BAD", seconds=0.1))
    assert time.monotonic() - started < 8  # by its own alarm: its parent waits 10 s longer
    assert size(pool) == (40, 20)


def test_a_decoder_that_does_not_even_get_its_alarm_is_ended(decoders, monkeypatch):
    monkeypatch.setattr("windmill.decoding.pool._GRACE", 0.1)
    pool = decoders(badly("os.kill(os.getpid(), signal.SIGSTOP)"))
    with pytest.raises(ImageError, match="not decoded within"):
        pool.ask("bad.jpg", request(b"BAD", seconds=0.1))
    assert size(pool) == (40, 20)


def test_a_decoder_that_died_while_it_was_idle_costs_no_image(decoders):
    pool = decoders()
    assert size(pool) == (40, 20)
    (before,) = pool.pids
    os.kill(before, signal.SIGKILL)
    assert size(pool) == (40, 20)
    assert pool.pids != [before]


def test_an_image_is_not_refused_for_what_others_left_in_a_decoder(decoders):
    pool = decoders(badly("most in (1, 2) and globals().setdefault('worn', most) != most and os._exit(3)"))
    pool.ask("first.jpg", request(b"BAD", pixels=1))
    assert pool.ask("second.jpg", request(b"BAD", pixels=2)).width == 1


def test_decoders_are_started_when_needed_and_no_more_than_allowed(decoders):
    pool = decoders(most=2)
    assert pool.pids == []
    with ThreadPoolExecutor(8) as threads:
        assert set(threads.map(lambda _: size(pool), range(40))) == {(40, 20)}
    assert 1 <= len(pool.pids) <= 2


def test_a_decoder_knows_no_password_and_no_other_socket_and_goes_first_when_memory_is_short(
    decoders, monkeypatch
):
    monkeypatch.setenv("DB_PASSWORD", "correct horse")
    pool = decoders()
    size(pool)
    child = psutil.Process(pool.pids[0])
    assert "DB_PASSWORD" not in child.environ()
    assert os.getpgid(child.pid) == child.pid  # Ctrl-C in a terminal does not reach it
    assert Path(f"/proc/{child.pid}/oom_score_adj").read_text("ascii") == "1000\n"
    assert child.num_fds() == 4  # its socket, twice, and nowhere for what it prints


def test_a_decoder_ends_with_its_pool_and_outlives_what_tells_others_to_stop(decoders):
    pool = decoders()
    size(pool)
    child = psutil.Process(pool.pids[0])
    for number in (signal.SIGINT, signal.SIGTERM):
        os.kill(child.pid, number)
    assert size(pool) == (40, 20)
    assert pool.pids == [child.pid]
    pool.close()
    until(lambda: not child.is_running(), 60)


def test_a_decoder_that_does_not_start_is_no_fault_of_the_image(decoders):
    with pytest.raises(DecoderError, match="exit status 4"):
        size(decoders((sys.executable, "-c", "raise SystemExit(4)")))
    with pytest.raises(DecoderError, match="No such file"):
        size(decoders(("/nowhere/python",)))


def test_errors_of_a_decoder_keep_their_class(decoders):
    pool = decoders()
    with pytest.raises(ImageTooLargeError, match=r"photo\.png: 40×20 pixels is more than"):
        size(pool, pixels=100)
    with pytest.raises(ImageError, match=r"^photo\.png: not an image"):
        size(pool, data=b"BAD")


def test_pixels_come_back_upright_in_rgb(decoders):
    reply = decoders().ask("photo.png", request(task=Task.DECODE))
    assert (reply.width, reply.height, bytes(reply.data)) == (40, 20, bytes((255, 0, 0)) * 800)

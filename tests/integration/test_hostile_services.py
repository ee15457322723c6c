"""Services that flood, drip, lie and break off: each call ends in time, in little memory."""

import gzip
import itertools
import select
import socket
import threading
import time
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from tests.talking import talking
from windmill.catalog import Service
from windmill.errors import BadReply, ServiceBusy, ServiceError, ServiceRejected, ServiceUnavailable
from windmill.service_http import HttpService

SLACK = 5.0  # seconds beyond its timeout that a call may take on a busy machine
LIMIT = 100_000  # bytes of a reply, in these tests
OK = b"HTTP/1.1 200 OK\r\n"


def saying(*pieces):
    return talking(lambda: pieces)


def caller(port, timeout=5.0):
    return HttpService(Service(name="blip", host="127.0.0.1", port=port), timeout=timeout, most=LIMIT)


def refused(port, kind, said, timeout=5.0, picture=b"jpeg"):
    """Calls the service, which must be refused within its time, in one line."""
    began = time.monotonic()
    with pytest.raises(kind, match=said) as caught:
        caller(port, timeout).analyze(picture)
    assert time.monotonic() - began < timeout + SLACK
    assert str(caught.value).isprintable()
    assert str(caught.value).startswith(f"blip at http://127.0.0.1:{port}/v3/analyze")
    return caught.value


@pytest.mark.parametrize(
    "head",
    [
        OK + b"Content-Length: 100001\r\n\r\n",
        OK + b"\r\n",
        OK + b"Transfer-Encoding: chunked\r\n\r\n186a1\r\n",
    ],
    ids=["length", "until closed", "chunked"],
)
def test_a_reply_that_is_too_large_is_off_the_contract_and_its_start_is_kept(head):
    with saying(head, b"x" * 100_001, b"\r\n0\r\n\r\n") as port:
        error = refused(port, BadReply, r"more than 0\.09\d* MB \(MAX_REPLY_MB\)")
        assert set(error.body) == {"x"}


def test_a_reply_of_just_the_largest_size_passes():
    with saying(OK + b"Content-Length: 100000\r\n\r\n" + b"x" * 100_000) as port:
        assert len(caller(port).analyze(b"")) == LIMIT


@pytest.mark.parametrize("layers", [1, 2])
def test_a_bomb_is_stopped_before_it_unfolds(layers):
    bomb = gzip.compress(b"\0" * 100_000_000)
    bomb = gzip.compress(bomb) if layers == 2 else bomb
    encoding = ", ".join(["gzip"] * layers).encode()
    head = OK + b"Content-Encoding: %b\r\nContent-Length: %d\r\n\r\n" % (encoding, len(bomb))
    with saying(head + bomb) as port:
        tracemalloc.start()
        try:
            refused(port, BadReply, "MAX_REPLY_MB")
            assert tracemalloc.get_traced_memory()[1] < 20 * LIMIT
        finally:
            tracemalloc.stop()


def test_a_compressed_reply_is_read():
    body = gzip.compress(b'{"predictions": []}')
    head = OK + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(body)
    with saying(head + body) as port:
        assert caller(port).analyze(b"") == b'{"predictions": []}'


def test_a_compressed_reply_that_is_cut_is_no_whole_answer():
    cut = gzip.compress(b'{"predictions": []}')[:-9]
    with saying(OK + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(cut) + cut) as port:
        refused(port, ServiceUnavailable, "it broke off in the middle")


def test_what_cannot_be_decompressed_is_off_the_contract():
    with saying(OK + b"Content-Encoding: gzip\r\nContent-Length: 4\r\n\r\nabcd") as port:
        refused(port, BadReply, r"cannot be decompressed \(gzip\)")


@pytest.mark.parametrize(
    ("start", "drop"),
    [
        (b"", b"H"),
        (OK, b"X"),
        (OK + b"Content-Length: 5000\r\n\r\n", b"x"),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n"),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n", b"0"),
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
        (b"", b"HTTP/1.1 103 Early Hints\r\n\r\n"),
    ],
    ids=["status", "headers", "body", "chunks", "chunk size", "continue", "hints"],
)
def test_a_service_that_drips_holds_a_thread_no_longer_than_its_timeout(start, drop):
    with talking(lambda: itertools.chain([start], itertools.repeat(drop)), pause=0.02) as port:
        said = r"gave no whole answer within 0\.3 s \(REQUEST_TIMEOUT\)"
        error = refused(port, ServiceUnavailable, said, timeout=0.3)
        assert error.timed_out


def test_a_service_that_does_not_take_the_picture_is_slow_too():
    with talking(list, listens=False) as port:
        picture = bytes(20_000_000)
        error = refused(port, ServiceUnavailable, "gave no answer within", timeout=0.3, picture=picture)
        assert error.timed_out


@pytest.mark.parametrize(
    ("start", "flood"),
    [
        (OK, b"X-Header: yes\r\n"),
        (OK + b"X-Header: ", b"y" * 65536),
        (b"", b"\0\xff" * 4096),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n", b"0" * 65536),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n0\r\n", b"X-Trailer: yes\r\n" * 1000),
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 1000),
        (b"", b"HTTP/1.1 103 Early Hints\r\n\r\n" * 1000),
    ],
    ids=["headers", "one header", "garbage", "chunk size", "trailers", "continue", "hints"],
)
def test_a_flood_ends_at_once_in_little_memory(start, flood):
    with talking(lambda: itertools.chain([start], itertools.repeat(flood))) as port:
        tracemalloc.start()
        try:
            refused(port, ServiceError, "gave no whole answer: .|MAX_REPLY_MB", timeout=60)
            assert tracemalloc.get_traced_memory()[1] < 100 * LIMIT
        finally:
            tracemalloc.stop()


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"\n",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"HTTP/1.1\r\n\r\n",
        b"HTTP/1.1 abc OK\r\n\r\n",
        OK + b"Content-Length: 10\r\n\r\nshort",
        OK + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
        OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nab",
        OK + b"Transfer-Encoding: chunked\r\n\r\n-5\r\nab",
    ],
)
def test_what_is_no_whole_answer_leaves_the_job_for_later(answer):
    with saying(answer) as port:
        error = refused(port, ServiceUnavailable, "gave no whole answer: .")
        assert not error.timed_out


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (
            OK + b"Content-Length: abc\r\n\r\n{}",
            r"its body has a length that is none \(Content-Length: abc\)",
        ),
        (
            OK + b"Transfer-Encoding: chunked\r\n\r\n-5\r\nab",
            r"its body has a length that is none \(a chunk of a negative size\)",
        ),
        (
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\n\r\n",
            "it answered 101, which is no answer yet",
        ),
    ],
)
def test_what_is_wrong_with_an_answer_is_said_in_words(answer, said):
    with saying(answer) as port:
        refused(port, ServiceUnavailable, f"gave no whole answer: {said}")


def test_what_comes_before_the_answer_is_read_over():
    hints = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n" * 2
    with talking(lambda: [hints, body(b"first")]) as port:
        service = caller(port)
        assert [service.analyze(b"") for _ in range(2)] == [b"first"] * 2


def test_an_answer_that_nobody_asked_for_is_not_taken_for_the_next():
    said = [[body(b"first"), body(b"a stray one")], [body(b"second")]]
    with talking(lambda: said.pop(0)) as port:
        service = caller(port)
        assert service.analyze(b"") == b"first"
        assert select.select(service._host._kept, [], [], SLACK)[0]  # it has arrived
        assert service.analyze(b"") == b"second"


def body(text):
    return OK + b"Content-Length: %d\r\n\r\n%b" % (len(text), text)


def test_a_service_that_reads_slowly_holds_a_thread_no_longer_than_its_timeout():
    over = threading.Event()

    def read_slowly(listening):
        connection, _ = listening.accept()
        with connection:
            while not over.wait(0.1) and connection.recv(65_536):
                pass

    with socket.create_server(("127.0.0.1", 0)) as listening, ThreadPoolExecutor(1) as pool:
        pool.submit(read_slowly, listening)
        error = refused(
            listening.getsockname()[1], ServiceUnavailable, "gave no answer within", 1.0, b"x" * 30_000_000
        )
        over.set()
    assert error.timed_out


def test_lengths_that_contradict_each_other_are_no_answer():
    with saying(OK + b"Content-Length: 10, 11\r\n\r\n0123456789") as port:
        refused(port, ServiceUnavailable, "gave no whole answer: ")


def test_a_kept_connection_that_the_service_has_closed_costs_nothing():
    with saying(OK + b"Content-Length: 4\r\n\r\nmine") as port:  # and it closes, without a word
        service = caller(port)
        assert [service.analyze(b"") for _ in range(50)] == [b"mine"] * 50


def test_what_comes_after_a_reply_is_not_taken_for_the_next_one():
    with saying(OK + b"Content-Length: 4\r\n\r\nmine" + OK + b"Content-Length: 4\r\n\r\nbad!") as port:
        service = caller(port)
        assert [service.analyze(b"") for _ in range(3)] == [b"mine"] * 3


def test_an_answer_before_all_of_the_picture_was_read_is_heard():
    answer = b"HTTP/1.1 413 No\r\nConnection: close\r\nContent-Length: 9\r\n\r\ntoo large"
    with talking(lambda: [answer], reads=2000) as port:
        refused(port, ServiceRejected, "answered 413: too large", picture=bytes(6_000_000))


def test_a_redirection_is_refused_with_the_address_that_it_names():
    head = b"HTTP/1.1 307 Elsewhere\r\nLocation: http://evil.example/\x1b[2J\r\nContent-Length: 0\r\n\r\n"
    with saying(head) as port:
        refused(
            port, ServiceRejected, "answered 307, a redirection to http://evil.example/�.2J: a service must"
        )


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b'{"error": {"message": "no\\u001b[31m\\nspace"}}', "answered 500: no�.31m space"),
        (b"\xff\xfe plain\r\ntext", "answered 500: �� plain text"),
        (b"[" * 20_000, r"answered 500: \[\["),
        (b'{"error": null}', "answered 500: .*null"),
        (b"", "answered 500: nothing"),
    ],
)
def test_what_an_error_says_is_one_plain_line(body, said):
    head = b"HTTP/1.1 500 Oops\r\nContent-Length: %d\r\n\r\n" % len(body)
    with saying(head + body) as port:
        error = refused(port, ServiceBusy, said)
        assert len(str(error)) < 700


def test_a_status_decides_even_where_the_rest_breaks_off():
    with saying(b"HTTP/1.1 422 No\r\nContent-Length: 10\r\n\r\nshort") as port:
        refused(port, ServiceRejected, "answered 422: ")


@pytest.mark.parametrize(
    ("value", "low", "high"),
    [
        ("17", 17, 17),
        (" 0 ", 0, 0),
        ("9" * 400, 600, 600),
        ("-5", None, None),
        ("soon", None, None),
        ("Tue, 99 Xyz 2030", None, None),
        ("Wed, 01 Jan 2020 00:00:00 GMT", 0, 0),
        ("Fri, 31 Dec 9999 23:59:59 GMT", 600, 600),
    ],
)
def test_retry_after_is_seconds_or_a_date_within_bounds(value, low, high):
    head = b"HTTP/1.1 429 Busy\r\nRetry-After: %b\r\nContent-Length: 0\r\n\r\n" % value.encode()
    with saying(head) as port:
        wish = refused(port, ServiceBusy, "429").retry_after
        assert wish is None if low is None else low <= wish <= high


def test_a_date_to_come_is_so_many_seconds_from_now():
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=300), usegmt=True)
    head = b"HTTP/1.1 500 Later\r\nRetry-After: %b\r\nContent-Length: 0\r\n\r\n" % date.encode()
    with saying(head) as port:
        assert 200 < refused(port, ServiceBusy, "500").retry_after <= 300


@pytest.mark.parametrize(
    ("answer", "well"),
    [
        (OK + b"Content-Length: 2\r\n\r\n{}", True),
        (OK + b"Content-Length: 9999999\r\n\r\n" + b"x" * 99_999, True),
        (b"HTTP/1.1 302 Found\r\nLocation: http://evil.example/\r\nContent-Length: 0\r\n\r\n", True),
        (OK + b"Content-Length: 9\r\n\r\n{}", False),
        (b"SSH-2.0-OpenSSH_9.2\r\n", False),
        (b"", False),
    ],
)
def test_health_is_asked_with_the_same_care(answer, well):
    with saying(answer) as port:
        assert caller(port).healthy() is well

"""What strangers send: each gets a contract error or a right answer, and the process does not grow of it."""

import socket
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest

from windmill.checking import crowd, pictures, refusing

NAMES = ("face", "colors", "metadata")
CLIENTS = 200
GROWTH = 25_000_000  # bytes; eight rounds were seen to differ by 3 million


@pytest.fixture(scope="module")
def hostile(shared_data):
    return {path.name: path.read_bytes() for path in sorted((shared_data / "hostile").iterdir())}


@pytest.mark.parametrize("name", NAMES)
def test_hostile_files_are_answered_or_refused(served, hostile, name):
    target = served.target(name)
    for file, data in hostile.items():
        assert target.check_answered(target.upload(data, file))
    assert target.get("", "/health").status == 200


def test_two_hundred_clients_are_each_answered_or_told_when_to_come_again(served):
    counts = crowd.at_once(served.target("face", clients=CLIENTS))
    assert "× 200" in counts


def test_hostile_files_of_two_hundred_clients_hurt_nobody_else(served, hostile):
    target = served.target("face", clients=CLIENTS)
    files = [*hostile.items()]

    def send(number):
        file, data = files[number % len(files)]
        answer = target.upload(data, file)
        return answer.status if answer.status == 503 else target.check_answered(answer)

    with ThreadPoolExecutor(CLIENTS) as pool:
        outcomes = Counter(pool.map(send, range(CLIENTS)))
    assert sum(outcomes.values()) == CLIENTS
    target.check_reply(served.target("face").upload(target.photo.jpeg, "a photo, afterwards"))


def test_the_process_does_not_grow(served, hostile):
    """After the first round of all that is bad, it holds no more memory, threads or descriptors."""
    targets = [served.target(name) for name in NAMES]
    round_of_all(targets, hostile)
    process = psutil.Process(served.pid)
    before = size(process)
    for _ in range(2):
        round_of_all(targets, hostile)
    after = size(process)
    assert after["memory"] - before["memory"] < GROWTH
    assert after["threads"] - before["threads"] <= 8  # idle ones come and go
    assert after["descriptors"] - before["descriptors"] <= 10
    assert after["children"] <= before["children"] + 2


def round_of_all(targets, hostile):
    """From each its share of the hostile files; from all what is too large, odd, or leaves."""
    for number, target in enumerate(targets):
        for file in [*hostile][number :: len(targets)]:
            target.check_answered(target.upload(hostile[file], file))
        for name in pictures.ODD:
            refusing.odd(name, target)
        for name in refusing.BAD:
            refusing.bad(name, target)
        refusing.many_bytes(target)
        refusing.many_pixels(target)
        crowd.hung_up(target)
        crowd.at_once(target)


def size(process):
    with process.oneshot():
        return {
            "memory": process.memory_info().rss,
            "threads": process.num_threads(),
            "descriptors": process.num_fds(),
            "children": len(process.children(recursive=True)),
        }


def test_clients_that_send_nothing_more_hold_nobody_up(served):
    """Forty connections that stop in the middle of an upload, while others are served."""
    target = served.target("metadata")
    where = (target.service.host, target.service.port)
    head = b"POST /v3/analyze HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=b\r\n"
    stuck = [socket.create_connection(where, timeout=10) for _ in range(40)]
    try:
        for connection in stuck:
            connection.sendall(head + b"Content-Length: 1000\r\n\r\n--b\r\n")
        target.check_reply(target.upload(target.photo.jpeg, "a photo"))
    finally:
        for connection in stuck:
            connection.close()

"""Images per second through a service's HTTP, against the same model called directly in a loop.

`python -m bench.services [SERVICE…] [--rounds N] [--photos DIR]`. The loop is what somebody would write
without Windmill: Pillow opens a photo and turns it upright, the model looks at it, one after the other. The
service is `windmill serve` in a process of its own; clients share the machine with it.
"""

from __future__ import annotations

import argparse
import http.client
import io
import itertools
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from threading import local

import cv2
import numpy as np
from PIL import Image, ImageOps
from rich.console import Console
from rich.table import Table

from tests.servers.base import free_port
from tests.waiting import until
from windmill.services import onnx_session, registry
from windmill.services.base import ANALYZE, Photo

PHOTOS = Path(__file__).parents[1].parent / "shared" / "data" / "coco-photos"
CLIENTS = (1, 8, 32)
BOUNDARY = "bench"
STARTING = 120.0  # seconds for a service to load


def directly(name: str) -> Iterator[float]:
    """Images per second of the model in a loop, again and again; photos are sent in."""
    model = registry.load(name)
    task = model.tasks[ANALYZE]
    photos = yield 0.0
    while True:
        started = time.perf_counter()
        for data in photos:
            with Image.open(io.BytesIO(data)) as picture:
                pixels = np.asarray(ImageOps.exif_transpose(picture).convert("RGB"))
            task.alone(Photo(data=data, pixels=pixels))
        photos = yield len(photos) / (time.perf_counter() - started)


@contextmanager
def served(name: str) -> Iterator[int]:
    """The service in a process of its own; gives its port."""
    port = free_port()
    command = [sys.executable, "-m", "windmill", "serve", f"{name}={port}"]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        until(lambda: healthy(port), STARTING, lambda: process.poll() is None)
        yield port
    finally:
        process.terminate()
        process.wait(15)


def healthy(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/health")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


def through_http(port: int, photos: Sequence[bytes], clients: int) -> float:
    """Images per second of so many clients at once, each on a connection that it keeps."""
    kept = local()
    headers = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}

    def post(body: bytes) -> None:
        if not hasattr(kept, "connection"):
            kept.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        kept.connection.request("POST", ANALYZE, body, headers)
        response = kept.connection.getresponse()
        response.read()
        assert response.status == 200, response.status

    bodies = [form(data) for data in photos]
    with ThreadPoolExecutor(clients) as pool:
        started = time.perf_counter()
        list(pool.map(post, bodies))
        return len(bodies) / (time.perf_counter() - started)


def form(data: bytes) -> bytes:
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="p.jpg"\r\n\r\n'
    return head.encode() + data + f"\r\n--{BOUNDARY}--\r\n".encode()


def measured(name: str, photos: Sequence[bytes], rounds: int) -> Mapping[str, list[float]]:
    """Images per second of each way, a figure for each round; the first round only warms up."""
    loop = directly(name)
    next(loop)
    with served(name) as port:
        found = [
            {"direct": loop.send(photos)} | {str(n): through_http(port, photos, n) for n in CLIENTS}
            for _ in range(rounds + 1)
        ]
    return {way: [one[way] for one in found[1:]] for way in found[0]}


def cells(figures: Mapping[str, list[float]]) -> list[str]:
    """Medians of images per second, and of the ratio to direct within each round with its span."""
    shown = [f"{statistics.median(figures['direct']):.1f}"]
    for clients in map(str, CLIENTS):
        ratios = sorted(
            ours / direct for ours, direct in zip(figures[clients], figures["direct"], strict=True)
        )
        shown.append(f"{statistics.median(figures[clients]):.1f}")
        shown.append(f"{statistics.median(ratios):.2f} ({ratios[0]:.2f}–{ratios[-1]:.2f})")
    return shown


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("services", nargs="*", default=["ssdlite", "nanodet", "face", "colors"])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--images", type=int, default=160, help="a round (default: %(default)s)")
    parser.add_argument("--photos", type=Path, default=PHOTOS, metavar="DIR")
    args = parser.parse_args()
    cv2.setNumThreads(onnx_session.THREADS)
    files = [path.read_bytes() for path in sorted(args.photos.glob("*.jpg"))]
    photos = list(itertools.islice(itertools.cycle(files), args.images))
    columns = [cell for n in CLIENTS for cell in (f"HTTP, {n} at once", "of direct")]
    table = Table("service", "direct, images/s", *columns)
    for name in args.services:
        table.add_row(name, *cells(measured(name, photos, args.rounds)))
    Console(width=150).print(table)


if __name__ == "__main__":
    main()

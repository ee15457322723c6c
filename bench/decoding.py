"""What decoding in processes of its own costs: `python -m bench.decoding [--rounds N] [FOLDER]`."""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
from rich.console import Console
from rich.table import Table

from windmill.decoding import pixels
from windmill.decoding.pool import shared
from windmill.images import ImageFiles
from windmill.settings import Settings

PHOTOS = Path(__file__).parents[1].parent / "shared" / "data" / "coco-photos"
MOST = 50_000_000
SIZE = (80_000, 120_000)  # bytes of the files that are taken


def parts() -> Mapping[str, tuple[Callable[[bytes], object], Callable[[bytes], object]]]:
    """Each thing that is done to a file, in process and by a decoder."""
    files = ImageFiles(Settings())
    return {
        "inspect (ingest)": (
            lambda data: pixels.inspect(data, MOST),
            lambda data: files.inspect("photo", data),
        ),
        "upright (each job)": (
            lambda data: pixels.upright(data, MOST),
            lambda data: files.prepared("photo", data),
        ),
        "decode (an image's crops)": (
            lambda data: pixels.decode(data, MOST),
            lambda data: files.decode("photo", data),
        ),
    }


def timed(work: Callable[[bytes], object], photos: list[bytes], threads: int) -> tuple[float, float]:
    """Seconds by the clock and of CPU, ours and the decoders', for each photo."""
    before, started = cpu(), time.perf_counter()
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(work, photos))
    return (time.perf_counter() - started) / len(photos), (cpu() - before) / len(photos)


def cpu() -> float:
    decoders = (psutil.Process(pid).cpu_times() for pid in shared().pids)
    return time.process_time() + sum(spent.user + spent.system for spent in decoders)


def cells(rounds: list[list[tuple[float, float]]]) -> list[str]:
    """Medians; of the ratio of CPU within a round, which neighbours disturb on both sides, its span too."""
    ratios = sorted(theirs[1] / ours[1] for ours, theirs in rounds)
    ratio = f"{statistics.median(ratios):.2f} ({ratios[0]:.2f}–{ratios[-1]:.2f})"
    medians = [
        f"{statistics.median(1e6 * one[side][kind] for one in rounds):,.0f}"
        for kind in (1, 0)
        for side in (0, 1)
    ]
    return [*medians[:2], ratio, *medians[2:]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path, default=PHOTOS)
    parser.add_argument("--rounds", type=int, default=15)
    args = parser.parse_args()
    found = [path.read_bytes() for path in sorted(args.folder.glob("*.jpg"))]
    photos = [data for data in found if SIZE[0] <= len(data) <= SIZE[1]] * 4
    table = Table(
        "part", "threads", "CPU in process, µs", "by decoders, µs", "ratio", "clock, µs", "by decoders, µs"
    )
    for name, works in parts().items():
        for threads in (1, 2):
            rounds = [[timed(work, photos, threads) for work in works] for _ in range(args.rounds + 1)][1:]
            table.add_row(name, str(threads), *cells(rounds))
    Console(width=130).print(table)
    sizes = ", ".join(f"{psutil.Process(pid).memory_full_info().uss / 1e6:.0f}" for pid in shared().pids)
    print(f"{len(photos)} photos, {os.cpu_count()} cores; decoders' own memory: {sizes} MB")


if __name__ == "__main__":
    main()

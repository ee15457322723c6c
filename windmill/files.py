"""Image files on disk: regular ones, below IMAGE_ROOTS, of a bounded size."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from windmill.errors import ConfigError, ImageError, ImageTooLargeError

_REMEDIES: Mapping[type[OSError], str] = {
    FileNotFoundError: "; is it on this machine too?",
    PermissionError: "; may this user read it?",
}
_OPEN = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK  # a pipe that came in the file's place is not waited for


def read_file(path: Path, most: int, roots: Sequence[Path] = ()) -> bytes:
    """The bytes of a regular file of at most `most` bytes, below one of `roots`. Raises `ImageError`."""
    with _naming(path):
        if roots:
            _check_place(path, os.path.realpath(path), roots)  # not even looked at elsewhere
        _check_kind(path, path.stat(), most)  # not even opened: to open some devices does something
        descriptor = os.open(path, _OPEN)
        try:
            about = os.fstat(descriptor)
            _check_kind(path, about, most)
            if roots:
                _check_place(path, _opened(path, descriptor), roots)
            data = _read(descriptor, about.st_size, most + 1)
        finally:
            os.close(descriptor)
    return sized(str(path), data, most)


def _read(descriptor: int, size: int, most: int) -> bytes:
    """What is in the file, up to `most` bytes: in one piece, unless it has become larger than `size`."""
    data = part = os.read(descriptor, min(size + 1, most))
    while part and len(data) < most and len(data) != size:
        part = os.read(descriptor, most - len(data))
        data += part
    return data


def check_roots(roots: Sequence[Path]) -> None:
    """Raises `ConfigError` for a folder that is not there: every image would fail, and for good."""
    for root in roots:
        if not root.is_dir():
            raise ConfigError(f"IMAGE_ROOTS: {root} is no folder on this machine; is it mounted?")


def sized(name: str, data: bytes, most: int) -> bytes:
    """`data`, which is something, and not too much. Raises `ImageError`."""
    if not data:
        raise ImageError(f"{name}: the file is empty")
    if len(data) > most:
        raise _too_large(name, most)
    return data


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as exc:
        remedy = _REMEDIES.get(type(exc), "")
        raise ImageError(f"{path}: cannot read it: {exc.strerror}{remedy}") from exc
    except ValueError as exc:  # a NUL or half a surrogate pair
        raise ImageError(f"{str(path)!r:.200}: no file can be called that: {exc}") from exc


def _check_kind(path: Path, about: os.stat_result, most: int) -> None:
    if not stat.S_ISREG(about.st_mode) and not stat.S_ISDIR(about.st_mode):
        raise ImageError(f"{path}: not a file but a pipe, a socket or a device")  # may be read for ever
    if about.st_size > most:
        raise _too_large(str(path), most)


def _opened(path: Path, descriptor: int) -> str:
    """Where the file lies that is open, whatever its name leads to by now."""
    try:
        return str(Path(f"/proc/self/fd/{descriptor}").readlink())
    except FileNotFoundError:  # no Linux: the same file as the one that was opened, or none
        real = os.path.realpath(path)
        if not os.path.samestat(Path(real).lstat(), os.fstat(descriptor)):
            raise ImageError(f"{path}: replaced while it was opened") from None
        return real


def _check_place(path: Path, real: str, roots: Sequence[Path]) -> None:
    if not any(Path(real).is_relative_to(os.path.realpath(root)) for root in roots):
        raise ImageError(f"{path}: not below a folder of IMAGE_ROOTS once links are resolved")


def _too_large(name: str, most: int) -> ImageTooLargeError:
    return ImageTooLargeError(f"{name}: the file is larger than {most / 1e6:g} MB (MAX_IMAGE_MB)")

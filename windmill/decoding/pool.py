"""The decoders of this process: started when they are needed, replaced when they die."""

from __future__ import annotations

import functools
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Sequence

from windmill.decoding.frames import READY, Reply, Request, Said, receive, receive_reply, send
from windmill.errors import DecoderError, ImageError, ImageTooLargeError

COMMAND = (sys.executable, "-P", "-m", "windmill.decoding.child")
_STARTING = 60.0  # seconds for a decoder to come up, on a box where everything does at once
_GRACE = 10.0  # seconds beyond a request's own: a decoder that is late is not even able to end itself
_LAST = 1.0  # seconds from the end of the socket to the end of the process
_ROOM = 1 << 20  # bytes that a reply may have beside four for each pixel
# What Python itself may need to start. Nothing else of ours is handed on: no password, no proxy.
_HANDED_ON = ("PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "TMPDIR")

# glibc: a decoder keeps the MB that a photo took, instead of having the kernel clear them for the next one.
_KEPT = {"MALLOC_MMAP_THRESHOLD_": str(8 << 20), "MALLOC_TRIM_THRESHOLD_": str(24 << 20)}


class _Lost(Exception):
    """A decoder ended, or was ended for taking too long, before it answered."""

    def __init__(self, status: int, *, late: bool) -> None:
        super().__init__(status)
        self.status = status
        self.late = late


class Decoders:
    """Up to `most` child processes, each of which decodes one file at a time. Thread-safe."""

    def __init__(self, most: int | None = None, command: Sequence[str] = COMMAND) -> None:
        self._command = command
        self._places = threading.BoundedSemaphore(most or os.cpu_count() or 1)
        self._lock = threading.Lock()
        self._idle: list[_Decoder] = []
        self.close = weakref.finalize(self, _end_all, self._idle)

    def ask(self, name: str, request: Request) -> Reply:
        """What becomes of a file. Raises `ImageError`, `DecoderError`.

        A decoder may end for any reason, or be worn by what it did before. So a file is refused only for what
        it does to two, the second of which is new; but one that takes too long has had its time.
        """
        with self._places:
            try:
                return self._answer(name, request, self._take() or _Decoder(self._command))
            except (_Lost, MemoryError) as exc:
                if isinstance(exc, _Lost) and exc.late:
                    raise _too_slow(name, request) from exc
            return self._asked_again(name, request)

    @property
    def pids(self) -> Sequence[int]:
        """Process ids of the decoders that wait for work."""
        with self._lock:
            return [decoder.pid for decoder in self._idle]

    def _asked_again(self, name: str, request: Request) -> Reply:
        try:
            return self._answer(name, request, _Decoder(self._command))
        except MemoryError as exc:
            most = f"{request.memory / 1e6:.0f} MB of memory"
            raise ImageError(f"{name}: takes more than {most} to decode") from exc
        except _Lost as exc:
            if exc.late:
                raise _too_slow(name, request) from exc
            raise ImageError(f"{name}: damaged: its decoder died of it ({_cause(exc.status)})") from exc

    def _answer(self, name: str, request: Request, decoder: _Decoder) -> Reply:
        """Raises `ImageError`, `_Lost`, and `MemoryError` where the decoder had too little."""
        reply = decoder.ask(request)
        if reply.said is Said.NO_MEMORY:
            decoder.end()
            raise MemoryError
        with self._lock:
            self._idle.append(decoder)
        if reply.said is Said.DONE:
            return reply
        kind = ImageTooLargeError if reply.said is Said.TOO_LARGE else ImageError
        raise kind(f"{name}: {reply.data.decode('utf-8', 'replace')}")

    def _take(self) -> _Decoder | None:
        """The decoder that was at work last, whose memory is warm; None if all that were idle have ended."""
        with self._lock:
            while self._idle:
                decoder = self._idle.pop()
                if decoder.alive():
                    return decoder
        return None


@functools.cache
def shared() -> Decoders:
    """The decoders of all parts of this process: what they may do comes with each request."""
    return Decoders()


class _Decoder:
    """One child process and our end of its socket."""

    def __init__(self, command: Sequence[str]) -> None:
        """Returns once it is ready. Raises `DecoderError`."""
        self._connection, theirs = socket.socketpair()
        try:
            with theirs:
                self._process = _started(command, theirs)
        except OSError as exc:
            self._connection.close()
            raise DecoderError(f"cannot start a decoder: {exc.strerror}") from exc
        try:
            receive(self._connection, len(READY), time.monotonic() + _STARTING)
        except (EOFError, OSError) as exc:
            status = self.end()
            raise DecoderError(f"a decoder did not start ({_cause(status)}); its reason is above") from exc

    @property
    def pid(self) -> int:
        return self._process.pid

    def alive(self) -> bool:
        """False once it has ended; then nothing of it is left."""
        if self._process.poll() is None:
            return True
        self._connection.close()
        return False

    def ask(self, request: Request) -> Reply:
        """Raises `_Lost`; then nothing of the decoder is left."""
        deadline = time.monotonic() + request.seconds + _GRACE
        try:
            self._connection.settimeout(request.seconds + _GRACE)
            send(self._connection, request)
            return receive_reply(self._connection, 4 * request.pixels + _ROOM, deadline)
        except TimeoutError as exc:
            raise _Lost(self.end(), late=True) from exc
        except (EOFError, OSError, ValueError) as exc:
            status = self.end(_LAST)
            raise _Lost(status, late=status == -signal.SIGALRM) from exc

    def end(self, patience: float = 0.0) -> int:
        """Kills it unless it ends by itself; gives its status as `subprocess` does."""
        self._connection.close()
        try:
            return self._process.wait(patience)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()


def _started(command: Sequence[str], connection: socket.socket) -> subprocess.Popen[bytes]:
    """In a process group of its own: Ctrl-C in a terminal is for us, who may yet need it.

    On any core that our main thread may use: the one that starts it may be bound to one (`one_core`).
    """
    process = subprocess.Popen(  # noqa: S603 -- ourselves
        command,
        stdin=connection.fileno(),
        stdout=subprocess.DEVNULL,
        env=_environment(),
        process_group=0,
    )
    if sys.platform == "linux":
        anywhere = os.sched_getaffinity(os.getpid())
        if os.sched_getaffinity(0) != anywhere:
            os.sched_setaffinity(process.pid, anywhere)
    return process


def _end_all(decoders: list[_Decoder]) -> None:
    while decoders:
        decoders.pop().end()


def _environment() -> dict[str, str]:
    paths = os.pathsep.join(os.path.abspath(path) for path in sys.path)  # noqa: PTH100 -- "" is this folder
    return {key: os.environ[key] for key in _HANDED_ON if key in os.environ} | _KEPT | {"PYTHONPATH": paths}


def _cause(status: int) -> str:
    """What ended a process, in a word or two."""
    if status >= 0:
        return f"exit status {status}"
    return signal.Signals(-status).name if -status in set(signal.Signals) else f"signal {-status}"


def _too_slow(name: str, request: Request) -> ImageError:
    return ImageError(f"{name}: not decoded within {request.seconds:g} s")

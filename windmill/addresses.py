"""Reading web addresses that strangers name: public ones, and no others unless ALLOW_PRIVATE_URLS lists them.

Whoever names an address must not learn through us what only we can reach. So each host is resolved once,
all its IP addresses are checked, and the connection goes to the very one that was checked: a name that says
something else when it is asked again (DNS rebinding) gains nothing. Each redirect starts anew. Proxies of the
environment are not used, as they would resolve the name once more.
"""

from __future__ import annotations

import base64
import functools
import http.client
import ipaddress
import socket
import ssl
import threading
import time
import zlib
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from urllib.parse import SplitResult, unquote_to_bytes, urljoin, urlsplit

from windmill.core.urls import quoted, shown
from windmill.errors import ImageError, ImageTooLargeError, ImageUnavailable

PATIENCE = 120.0  # seconds for everything: a sender that drips must not keep a thread
_CONNECTING = 10.0  # seconds for each IP address of a host
_STALLED = 30.0  # seconds without a byte
_LATER = frozenset({408, 425, 429})  # beside what begins with 5
_MOST_REDIRECTS = 5
_REDIRECTS = (301, 302, 303, 307, 308)
_CHUNK = 1 << 16
_UNICAST = ipaddress.ip_network("2000::/3")
_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class _Place:
    """A host and what is asked of it; `name` is the address as messages give it."""

    name: str
    parts: SplitResult
    host: str
    port: int


@dataclass(frozen=True, slots=True)
class _Answer:
    """A body, or where else to look."""

    body: bytes
    location: str | None = None


class WebAddresses:
    """Reads http and https addresses. Thread-safe."""

    def __init__(self, allowed: Sequence[str] = (), *, patience: float = PATIENCE) -> None:
        """`allowed`: private host names, IP addresses and networks that may be read all the same."""
        networks = {text: _network(text) for text in allowed}
        self._networks = [network for network in networks.values() if network is not None]
        self._names = {text.lower().rstrip(".") for text, network in networks.items() if network is None}
        self._patience = patience

    def read(self, url: str, most: int) -> bytes:
        """The body at an address, of at most `most` bytes, after at most 5 redirects. Raises `ImageError`."""
        deadline = time.monotonic() + self._patience
        name = first = shown(url)
        for _ in range(_MOST_REDIRECTS + 1):
            place = _place(name, url)
            answer = self._ask(place, most, deadline)
            if answer.location is None:
                return answer.body
            url = _joined(place, url, answer.location)
            name = f"{first}: redirected to {shown(url)}"
        raise ImageError(f"{first}: redirected more than {_MOST_REDIRECTS} times")

    def _ask(self, place: _Place, most: int, deadline: float) -> _Answer:
        over = threading.Event()
        try:
            with ExitStack() as stack:
                connection = stack.enter_context(self._connected(place, deadline))
                stack.enter_context(_ended(connection, deadline, over))
                answer = _answer(place, stack.enter_context(_secured(place, connection)), most)
        except (http.client.HTTPException, OSError, ValueError, zlib.error) as exc:
            if not over.is_set():
                passing = isinstance(exc, http.client.HTTPException | OSError)
                kind = ImageUnavailable if passing and not isinstance(exc, ssl.SSLError) else ImageError
                raise kind(f"{place.name}: cannot fetch it: {_reason(exc)}") from exc
        if over.is_set():
            raise ImageUnavailable(f"{place.name}: not all there after {self._patience:g} s")
        return answer

    @contextmanager
    def _connected(self, place: _Place, deadline: float) -> Iterator[socket.socket]:
        """A connection to the first of the checked IP addresses that answers."""
        found = self._checked(place)
        for number, (family, kind, protocol, _, address) in enumerate(found, 1):
            with socket.socket(family, kind, protocol) as connection:
                try:
                    connection.settimeout(max(0.001, min(_CONNECTING, deadline - time.monotonic())))
                    connection.connect(address)
                except OSError:
                    if number == len(found):
                        raise
                    continue
                connection.settimeout(_STALLED)
                yield connection
                return

    def _checked(self, place: _Place) -> Sequence[tuple[int, int, int, str, tuple[str | int, ...]]]:
        """What `socket.getaddrinfo` says of a host. Raises `ImageError` unless all of it may be read."""
        try:
            found = socket.getaddrinfo(place.host, place.port, type=socket.SOCK_STREAM)
        except (OSError, ValueError) as exc:  # ValueError: what no host can be called
            if isinstance(exc, socket.gaierror) and exc.errno == socket.EAI_AGAIN:
                raise ImageUnavailable(f"{place.name}: no name server says where that is") from exc
            raise ImageError(f"{place.name}: no such host") from exc
        if place.host.lower() not in self._names and not all(self._may_read(str(i[4][0])) for i in found):
            raise ImageError(f"{place.name}: a private address, which ALLOW_PRIVATE_URLS does not list")
        return found  # type: ignore[return-value]  # whose members are enums, which are ints

    def _may_read(self, text: str) -> bool:
        address = ipaddress.ip_address(text)
        return is_public(text) or any(address in network for network in self._networks)


def is_public(text: str) -> bool:
    """True for an IP address that the whole Internet may reach.

    IPv6 addresses that carry an IPv4 one (mapped, NAT64, 6to4, Teredo) are not: what they lead to is the
    network's secret.
    """
    address = ipaddress.ip_address(text)
    if isinstance(address, ipaddress.IPv6Address):
        tunnelled = address.sixtofour is not None or address.teredo is not None
        return address.is_global and address in _UNICAST and not tunnelled
    return address.is_global and not address.is_multicast


def _network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    """The network or single address that `text` is; None for a name."""
    with suppress(ValueError):
        return ipaddress.ip_network(text, strict=False)
    return None


def _place(name: str, url: str) -> _Place:
    """The parts of an address. Raises `ImageError`, without `urllib`'s reason, which may quote a password."""
    try:
        parts = urlsplit(url)
        port = parts.port
        host = _ascii(parts.hostname or "")
    except ValueError as exc:
        raise ImageError(f"{name}: not an address") from exc
    if parts.scheme not in _PORTS or not host:
        raise ImageError(f"{name}: expected http:// or https:// and a host")
    return _Place(name, parts, host, port or _PORTS[parts.scheme])


def _ascii(host: str) -> str:
    """A host as DNS, TLS and HTTP spell it. Raises `ValueError`."""
    return host.rstrip(".") if host.isascii() else host.encode("idna").decode().rstrip(".")


def _joined(place: _Place, url: str, location: str) -> str:
    """Where a redirect leads. Servers write UTF-8 where HTTP says Latin-1."""
    try:
        return urljoin(url, location.encode("latin-1").decode("utf-8", "replace"))
    except ValueError as exc:
        raise ImageError(f"{place.name}: redirected to what is no address") from exc


@contextmanager
def _ended(connection: socket.socket, deadline: float, over: threading.Event) -> Iterator[None]:
    """Ends the connection at the deadline, wherever it waits then: in a handshake, a header or a body."""
    with connection.dup() as handle:

        def end() -> None:
            over.set()
            with suppress(OSError):  # the other side was quicker
                handle.shutdown(socket.SHUT_RDWR)

        timer = threading.Timer(max(0.0, deadline - time.monotonic()), end)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()
            timer.join()


def _secured(place: _Place, connection: socket.socket) -> socket.socket:
    """The connection, for https with TLS in the name of the host, which the certificate has to be for."""
    if place.parts.scheme == "http":
        return connection
    return _trust().wrap_socket(connection, server_hostname=place.host)


@functools.cache
def _trust() -> ssl.SSLContext:
    return ssl.create_default_context()


def _answer(place: _Place, connection: socket.socket, most: int) -> _Answer:
    client = http.client.HTTPConnection(place.host, place.port)
    client.sock = connection
    target = place.parts._replace(scheme="", netloc="", fragment="").geturl()
    path = quoted(target if target.startswith("/") else f"/{target}")
    client.request("GET", path, headers=_headers(place))
    with closing(client.getresponse()) as response:
        location = response.headers["Location"]
        if response.status in _REDIRECTS and location:
            return _Answer(b"", location)
        if response.status != http.client.OK:
            reason = http.client.responses.get(response.status, "")
            message = f"{place.name}: the server answered {response.status} {reason}"
            if response.status in _LATER or response.status >= http.client.INTERNAL_SERVER_ERROR:
                wish = response.headers.get("Retry-After", "")
                raise ImageUnavailable(message, retry_after=float(wish) if wish.isdecimal() else None)
            raise ImageError(message)
        return _Answer(_body(place, response, most))


def _headers(place: _Place) -> dict[str, str]:
    host = place.host.partition("%")[0]
    host = f"[{host}]" if ":" in host else host
    headers = {"Host": host if place.port == _PORTS[place.parts.scheme] else f"{host}:{place.port}"}
    headers["User-Agent"] = "windmill-images"
    if place.parts.username is not None:
        pair = (unquote_to_bytes(part or "") for part in (place.parts.username, place.parts.password))
        headers["Authorization"] = f"Basic {base64.b64encode(b':'.join(pair)).decode()}"
    return headers


def _body(place: _Place, response: http.client.HTTPResponse, most: int) -> bytes:
    data = bytearray()
    while chunk := response.read1(_CHUNK):
        data += chunk
        if len(data) > most:
            break
    else:
        if response.length:
            missing = f"the server stopped {response.length} bytes before the end"
            raise ImageUnavailable(f"{place.name}: {missing}")
    if response.headers["Content-Encoding"] in ("gzip", "x-gzip"):  # unasked, as some stores do
        data[:] = zlib.decompressobj(31).decompress(data, most + 1)
    if len(data) > most:
        raise ImageTooLargeError(f"{place.name}: the file is larger than {most / 1e6:g} MB (MAX_IMAGE_MB)")
    return bytes(data)


def _reason(error: Exception) -> str:
    """What went wrong, in a few words."""
    return str(getattr(error, "strerror", None) or error or type(error).__name__)

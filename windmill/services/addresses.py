"""Reading public web addresses, and no others: a service must not look for a stranger where only it can."""

from __future__ import annotations

import ipaddress
import socket
import time
from urllib.parse import SplitResult, urlsplit

import urllib3

from windmill.errors import ImageError, ImageTooLargeError

_TIMEOUT = urllib3.Timeout(connect=10, read=10)
_PATIENCE = 30.0  # seconds for the whole body: a sender that drips must not keep a thread
_CHUNK = 1 << 16
_UNICAST = ipaddress.ip_network("2000::/3")
_PORTS = {"http": 80, "https": 443}


def read_public(url: str, most: int) -> bytes:
    """The body at a public http or https address, of at most `most` bytes. Raises `ImageError`.

    The name is resolved once, and the connection goes to the address that was checked: a name that says
    something else when it is asked again (DNS rebinding) gains nothing. For the same reason neither
    redirects nor proxies are followed.
    """
    parts, port = _split(url)
    with _connected(parts, port, _checked_address(url, str(parts.hostname), port)) as pool:
        return _body(url, pool, parts, most)


def is_public(text: str) -> bool:
    """True for an IP address that the whole Internet may reach.

    IPv6 addresses that carry an IPv4 one (mapped, NAT64, 6to4, Teredo) are not: what they lead to is the
    network's secret.
    """
    address = ipaddress.ip_address(text)
    if isinstance(address, ipaddress.IPv6Address):
        return address.is_global and address in _UNICAST and address.sixtofour is None
    return address.is_global and not address.is_multicast


def _split(url: str) -> tuple[SplitResult, int]:
    """The parts of an address and its port. Raises `ImageError`."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as exc:
        raise ImageError(f"{url}: not an address: {exc}") from exc
    if parts.scheme not in _PORTS or not parts.hostname:
        raise ImageError(f"{url}: expected http:// or https:// and a host")
    return parts, port or _PORTS[parts.scheme]


def _checked_address(url: str, host: str, port: int) -> str:
    """The first IP address of a host, all of which are public. Raises `ImageError`."""
    try:
        found = [str(info[4][0]) for info in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]
    except (OSError, ValueError) as exc:  # ValueError: what no host can be called
        raise ImageError(f"{url}: no such host") from exc
    if not all(map(is_public, found)):
        raise ImageError(f"{url}: a private address; upload the file instead")
    return found[0]


def _connected(parts: SplitResult, port: int, address: str) -> urllib3.HTTPConnectionPool:
    """Connections to `address` in the name of the host, which is what a certificate has to be for."""
    if parts.scheme == "http":
        return urllib3.HTTPConnectionPool(address, port, timeout=_TIMEOUT, retries=False)
    host = str(parts.hostname)
    return urllib3.HTTPSConnectionPool(
        address, port, timeout=_TIMEOUT, retries=False, server_hostname=host, assert_hostname=host
    )


def _body(url: str, pool: urllib3.HTTPConnectionPool, parts: SplitResult, most: int) -> bytes:
    path = parts._replace(scheme="", netloc="", fragment="").geturl() or "/"
    headers = {"Host": parts.netloc.rpartition("@")[2]}
    deadline = time.monotonic() + _PATIENCE
    try:
        response = pool.urlopen("GET", path, headers=headers, redirect=False, preload_content=False)
        if response.status != 200:
            raise ImageError(f"{url}: the server answered {response.status}")
        data = bytearray()
        for chunk in response.stream(_CHUNK, decode_content=True):
            data += chunk
            if len(data) > most:
                raise ImageTooLargeError(f"{url}: larger than {most / 1e6:g} MB")
            if time.monotonic() > deadline:
                raise ImageError(f"{url}: not all there after {_PATIENCE:g} s")
    except (urllib3.exceptions.HTTPError, OSError, ValueError) as exc:
        raise ImageError(f"{url}: cannot fetch it: {exc}") from exc
    return bytes(data)

"""The HTTP side of ML services; the only place that calls them, and where requests' errors become ours."""

from __future__ import annotations

import requests
from requests.adapters import HTTPAdapter

from windmill.catalog import Service
from windmill.core import replies
from windmill.errors import ServiceBusy, ServiceRejected, ServiceUnavailable

_AGAIN = frozenset({408, 425, 429})
_CONNECT_TIMEOUT = 5.0  # seconds; a service on the same network answers at once or is down
_HEALTH_TIMEOUT = 5.0


class HttpService:
    """Calls one service over kept-alive connections, one for each of `concurrency` threads."""

    def __init__(self, service: Service, *, timeout: float, concurrency: int = 1) -> None:
        self._service = service
        self._timeout = (min(_CONNECT_TIMEOUT, timeout), timeout)
        self._session = requests.Session()
        self._session.trust_env = False  # services are neighbours: no proxy, no netrc
        self._session.mount("http://", HTTPAdapter(pool_maxsize=concurrency))

    def analyze(self, picture: bytes) -> bytes:
        return self._post({}, picture)

    def score(self, picture: bytes, caption: str) -> bytes:
        return self._post({"caption": caption}, picture)

    def healthy(self) -> bool:
        """Whether the service answers `/health` with anything but a server error; one without it is well."""
        try:
            return self._session.get(self._service.health_url, timeout=_HEALTH_TIMEOUT).status_code < 500
        except requests.RequestException:
            return False

    def version(self) -> str:
        """The version of the model that `/health` tells; "" where it tells none or does not answer."""
        try:
            answer = self._session.get(self._service.health_url, timeout=_HEALTH_TIMEOUT).json()
        except (requests.RequestException, ValueError):
            return ""
        return replies.version(answer.get("model")) if isinstance(answer, dict) else ""

    def _post(self, fields: dict[str, str], picture: bytes) -> bytes:
        try:
            response = self._session.post(
                self._service.url, data=fields, files={"file": ("image", picture)}, timeout=self._timeout
            )
        except requests.RequestException as exc:
            raise self._unavailable(exc) from exc
        self._refuse(response)
        return response.content

    def _unavailable(self, exc: requests.RequestException) -> ServiceUnavailable:
        name, url = self._service.name, self._service.url
        if isinstance(exc, requests.ReadTimeout):
            message = f"{name} at {url} gave no answer within {self._timeout[1]:g} s (REQUEST_TIMEOUT)"
            return ServiceUnavailable(message, service=name, timed_out=True)
        cause = "no connection" if isinstance(exc, requests.ConnectionError) else str(exc)
        return ServiceUnavailable(f"{name} at {url} cannot be reached: {cause}", service=name)

    def _refuse(self, response: requests.Response) -> None:
        """Raises for whatever is not a 2xx."""
        status, name = response.status_code, self._service.name
        if status < 300:
            return
        message = f"{name} at {self._service.url} answered {status}: {_said(response)}"
        if status == 503:
            raise ServiceUnavailable(message, service=name)
        if status in _AGAIN or status >= 500:
            raise ServiceBusy(message, service=name, retry_after=_retry_after(response))
        raise ServiceRejected(message, service=name)


def _said(response: requests.Response) -> str:
    """The contract's error message if there is one, else the start of what came."""
    try:
        return str(response.json()["error"]["message"])[:500]
    except (ValueError, KeyError, TypeError):
        return response.text[:200].strip() or "nothing"


def _retry_after(response: requests.Response) -> float | None:
    """Seconds from `Retry-After`; a date there is rare enough between neighbours to be left out."""
    value = response.headers.get("Retry-After", "")
    return float(value) if value.isdecimal() else None

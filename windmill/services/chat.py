"""A client for OpenAI's chat completions with a picture, as others serve them too
(https://platform.openai.com/docs/api-reference/chat)."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import urllib3
from urllib3 import BaseHTTPResponse, PoolManager, Timeout
from urllib3.exceptions import HTTPError

from windmill.errors import ConfigError
from windmill.plain import line
from windmill.services.base import RequestError, UpstreamError

_COMPLETIONS, _MODELS = "/v1/chat/completions", "/v1/models"
_MOST_BYTES = 100_000  # of a reply
_MOST_TOKENS = 300
_CONNECTING, _LOOKING = 5.0, 10.0  # seconds to connect, and to say which models there are
_LATER = frozenset({408, 425, 429})  # beside what begins with 5
_CHUNK = 1 << 14
_THOUGHTS = re.compile(r"<think>.*?</think>", re.DOTALL)
_REFUSAL = re.compile(
    r"(i'm|i am) (very )?(sorry|unable|not able)"
    r"|i (can't|cannot|won't) (\w+ )?(assist|help|describe|provide|comply)",
    re.IGNORECASE,
)
_WHERE = "the vision endpoint (VISION_URL)"  # strangers read this, so its address stays here
_WRONG = {401: "VISION_KEY", 403: "VISION_KEY", 404: "VISION_MODEL or VISION_URL"}


class Chat:
    """One endpoint. Thread-safe. A call takes about `patience` seconds at most, beside its headers.

    Raises `UpstreamError` where it may answer later, `ConfigError` where a setting is wrong, and
    `RequestError` where it will not answer this question.
    """

    def __init__(self, url: str, key: str, patience: float) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ConfigError("VISION_URL: expected http:// or https:// and a host")
        if parts.username or parts.password:
            raise ConfigError("VISION_URL: no name and password in it, please; VISION_KEY is sent as a token")
        self._base = url.rstrip("/").removesuffix("/v1")
        self._patience = patience
        self._headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._pool = PoolManager(retries=False)

    def made(self, model: str) -> str:
        """When the endpoint says that its model was made (seconds since 1970), "" where it says nothing."""
        return created(self._asked("GET", _MODELS, None, _LOOKING), model)

    def describe(self, model: str, prompt: str, picture: str) -> str:
        """What the model says of a picture (a data URI)."""
        content = [
            {"type": "text", "text": prompt},
            {"type": "image_url", "image_url": {"url": picture}},
        ]
        question = {
            "model": model,
            "messages": [{"role": "user", "content": content}],
            "max_tokens": _MOST_TOKENS,
            "temperature": 0,
        }
        return answer(self._asked("POST", _COMPLETIONS, question, self._patience))

    def _asked(self, method: str, path: str, question: Mapping[str, Any] | None, patience: float) -> Any:
        until = time.monotonic() + patience
        try:
            response = self._pool.request(
                method,
                self._base + path,
                json=question,
                headers=self._headers,
                timeout=Timeout(connect=min(_CONNECTING, patience), read=patience),
                redirect=False,
                preload_content=False,
            )
            try:
                body = _body(response, until)
            finally:
                response.close()
        except (HTTPError, OSError) as exc:
            raise UpstreamError(f"{_WHERE}: {_reason(exc)}") from exc
        self._check(response.status, body)
        return _document(body)

    def _check(self, status: int, body: bytes) -> None:
        if status == 200:
            return
        message = f"{_WHERE} answered {status}: {_complaint(body)}"
        if status in _LATER or status >= 500:
            raise UpstreamError(message)
        if status in _WRONG:
            raise ConfigError(f"{message}; {_WRONG[status]} may be wrong")
        raise RequestError(message)


def answer(document: Any) -> str:
    """The text in a chat completion. Raises `RequestError` for none or a refusal."""
    try:
        choice = document["choices"][0]
        message = choice["message"]
        content, refusal = message.get("content") or "", message.get("refusal")
        text = _THOUGHTS.sub("", content).strip()
    except (AttributeError, IndexError, KeyError, TypeError) as exc:
        raise UpstreamError(f"the endpoint's answer is no chat completion: {line(document, 200)}") from exc
    if refusal or choice.get("finish_reason") == "content_filter" or _REFUSAL.match(text.replace("’", "'")):
        raise RequestError(f"the model refused: {line(refusal or text or 'filtered', 200)}")
    if not text:
        raise RequestError("the model said nothing")
    return text


def created(document: Any, model: str) -> str:
    """`created` of a model in a list of models. A model that is not listed may be there all the same."""
    try:
        listed = {entry["id"]: entry.get("created", "") for entry in document["data"] or ()}
    except (AttributeError, KeyError, TypeError) as exc:
        raise UpstreamError(f"the endpoint's answer is no list of models: {line(document, 200)}") from exc
    return str(listed.get(model, listed.get(f"{model}:latest", "")))


def _body(response: BaseHTTPResponse, until: float) -> bytes:
    data = bytearray()
    while chunk := response.read1(_CHUNK):  # what is there: who drips has no more time than others
        data += chunk
        if len(data) > _MOST_BYTES:
            raise HTTPError(f"more than {_MOST_BYTES} bytes")
        if time.monotonic() > until:
            raise HTTPError("not all there in time")
    return bytes(data)


def _document(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as exc:
        raise UpstreamError(
            f"the endpoint's answer is not JSON: {line(body[:200].decode(errors='replace'))}"
        ) from exc


def _complaint(body: bytes) -> str:
    """An error's message, as OpenAI writes it or as Ollama does, else its start."""
    try:
        error = json.loads(body)["error"]
        return line(error["message"] if isinstance(error, dict) else error, 300)
    except (ValueError, KeyError, TypeError, RecursionError):
        return line(body[:300].decode(errors="replace"), 300)


def _reason(exc: Exception) -> str:
    if isinstance(exc, urllib3.exceptions.NewConnectionError):  # a TimeoutError, too
        return "no connection"
    if isinstance(exc, urllib3.exceptions.TimeoutError):
        return "no answer in time"
    return line(getattr(exc, "reason", None) or exc, 200)

"""`windmill web`: the search page and the API beside it."""

from __future__ import annotations

import argparse
import ipaddress
import logging
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import numpy as np

from windmill.commands import one_image, searchers
from windmill.errors import ConfigError, StoreError, WindmillError
from windmill.extras import needs
from windmill.images import ImageFiles
from windmill.index.cutoffs import Cutoffs
from windmill.index.searching import Known, Searcher
from windmill.index.store import VectorStore
from windmill.model import Numbering
from windmill.postgres.facts import PostgresFacts
from windmill.settings import Settings

with needs("web"):
    from windmill.services import registry
    from windmill.services.base import EMBED_TEXT
    from windmill.web import serving
    from windmill.web.guard import Rules
    from windmill.web.lending import Lent, OneModel
    from windmill.web.library import Library

log = logging.getLogger(__name__)

_CONNECTIONS = 4  # to the database, for as many searches at once
_SHORTEST = 16  # characters of a token: fewer can be guessed

HELP = """\
Serves a page to search in an index by words, by a photo or by more of the same, and the same as JSON:

  /               the page: type, drop a photo, filter; boxes, votes, colours and text of each image
  /docs           the API: GET /api/search, POST /api/search/image, GET /api/images/ID, …
  /images/ID      an image, upright; ?size=400 a small one

Everything comes from this server; nothing else is asked. It listens on loopback unless --host says otherwise.
To change anything takes one of the tokens of WEB_TOKENS, and so does reading from other machines, once there
are any; docs/security.md says how to put it behind HTTPS.

  windmill web
  windmill web --index /srv/index/photos --host 0.0.0.0 --name photos.lan
  windmill web --data demo --index demo/index     with the database of `windmill demo`"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--index", metavar="PREFIX", help="the index (default: INDEX_PREFIX)")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=int, default=8080, help="0 is any that is free (default: %(default)s)")
    parser.add_argument(
        "--name", action="append", default=[], help="a name by which browsers reach it; can be repeated"
    )
    parser.add_argument(
        "--reading",
        choices=("open", "token"),
        help="who may search (default: token, where WEB_TOKENS is set and others than this machine can ask)",
    )
    parser.add_argument(
        "--data",
        type=Path,
        metavar="DIR",
        help="ask the database in the folder that `windmill run` or `windmill demo` filled",
    )


def run(args: argparse.Namespace, settings: Settings) -> int:
    if not 0 <= args.port < 1 << 16:
        raise ConfigError(f"--port {args.port}: expected 0 to 65535")
    rules = _rules(args, settings)
    with one_image.database(args, settings) as own, _library(args.index, own) as library:
        log.info("%s images; %s", f"{library.count():,}", _told(args.host, rules))
        serving.serve(library, rules, args.host, args.port)
    return 0


def _rules(args: argparse.Namespace, settings: Settings) -> Rules:
    """Who may come in. Raises `ConfigError` for a token that can be guessed."""
    if any(len(token) < _SHORTEST for token in settings.web_tokens):
        raise ConfigError(f"WEB_TOKENS: one has fewer than {_SHORTEST} characters, and could be guessed")
    alone = _is_loopback(args.host)
    if args.reading == "token" and not settings.web_tokens:
        raise ConfigError("--reading token: WEB_TOKENS names none")
    guarded = args.reading == "token" or (args.reading is None and not alone and bool(settings.web_tokens))
    names = tuple(name.lower() for name in args.name)
    return Rules(
        tokens=settings.web_tokens,
        open_reading=not guarded,
        names=names if alone or names else None,
    )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _told(host: str, rules: Rules) -> str:
    """Who may do what, in words."""
    writing = "changing takes a token" if rules.tokens else "nothing can be changed (no WEB_TOKENS)"
    if not rules.open_reading:
        return f"reading and {writing}"
    readers = "whoever can use this machine" if _is_loopback(host) else "WHOEVER REACHES THIS ADDRESS"
    return f"{readers} may search and see them, {writing}"


@contextmanager
def _library(address: str | None, settings: Settings) -> Iterator[Library]:
    """The index, its model and its database. Raises `ConfigError`."""
    with ExitStack() as stack:
        index = stack.enter_context(closing(searchers.store(address or settings.index_prefix, settings)))
        asked = OneModel(index.embedder.service, lambda: searchers.model(index.embedder, settings))
        threading.Thread(target=_warm, args=(asked,), name="model", daemon=True).start()
        facts = [
            stack.enter_context(closing(PostgresFacts(settings, "windmill web"))) for _ in range(_CONNECTIONS)
        ]
        known = _known(Lent(facts), index)
        searcher = Searcher(store=index, asked=asked, cutoff=Cutoffs(index.embedder, asked), facts=known)
        yield Library(searcher, ImageFiles(settings), known, reads_words=_reads_words(index.embedder.service))


def _warm(asked: OneModel) -> None:
    """Loads the model before anybody waits for it."""
    try:
        asked()
    except WindmillError as exc:
        log.warning("searches by words and photos are refused for now: %s", exc)


def _known(facts: Lent, index: VectorStore) -> Known | None:
    """What the database knows; None where the index was built without one, and none answers."""
    try:
        facts.of(np.array([0]), index.numbering)
    except StoreError as exc:
        needed = index.numbering is Numbering.IMAGES
        log.log(logging.WARNING if needed else logging.INFO, "images are shown without findings: %s", exc)
        return facts if needed else None
    return facts


def _reads_words(service: str) -> bool:
    """Of one that is not ours nobody knows before it is asked."""
    return service not in registry.SERVICES or EMBED_TEXT in registry.SERVICES[service].asks

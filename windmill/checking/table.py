"""Every check, in the order in which they are made, and making them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from windmill.checking import basics, crowd, embedding, pictures, places, refusing, shapes
from windmill.checking.calling import Failed, Gone, Skipped
from windmill.checking.target import Target
from windmill.errors import ConfigError

PASSED, FAILED, SKIPPED = "passed", "failed", "skipped"


@dataclass(frozen=True, slots=True)
class Check:
    """A promise of the contract. `why` says what happens where it is not kept.

    `look` returns what it saw in a few words; it raises `Failed` or `Skipped`.
    """

    name: str
    why: str
    look: Callable[[Target], str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What became of a check, and what it saw, or why not; `failure` has a failed one's details."""

    check: Check
    outcome: str
    said: str
    seconds: float
    failure: Failed | None = None


_RETRIED = "a worker takes a 5xx for something that passes, and sends the same bad image again and again"
_ODD = "such files are in every pile of photos: one that is a failure costs retries, or the service"

CHECKS: Sequence[Check] = (
    Check("health", "workers and people cannot tell whether it works", basics.health),
    Check("reply", "a worker gives the job up: the image gets no result of this service", basics.reply),
    Check("shape", "merging, voting and search do not find in the reply what they need", shapes.shape),
    Check("processing-time", "monitoring and the consensus add wrong times", basics.processing_time),
    Check("boxes-inside", "merged boxes and crops lie beside the thing, or nowhere", places.inside),
    Check("boxes-scale", "boxes in the model's pixels do not meet other services' boxes", places.scaled),
    Check("orientation", "whoever posts a camera's file gets boxes on the wrong pixels", places.turned),
    Check("keep-alive", "each image costs a new connection", basics.keep_alive),
    Check("older-endpoint", "only a note", basics.older_endpoint),
    Check("url", "clients that send addresses get no answer that they understand", basics.by_url),
    Check("url-of-a-file", "strangers read the service's files", basics.url_of_a_file),
    Check("file", "clients that send paths get no answer that they understand", basics.by_file),
    Check("no-image", _RETRIED, basics.no_image),
    *(Check(name, _RETRIED, partial(refusing.bad, name)) for name in refusing.BAD),
    Check("no-caption", _RETRIED, refusing.no_caption),
    Check("truncated", _RETRIED, refusing.truncated),
    Check("many-bytes", "a few large files fill its memory", refusing.many_bytes),
    Check("many-pixels", "a small file that unfolds fills its memory", refusing.many_pixels),
    *(Check(name, _ODD, partial(refusing.odd, name)) for name in pictures.ODD),
    Check("unknown-path", "a wrong endpoint looks like a service that works", basics.unknown_path),
    Check("other-method", "a wrong call looks like one that worked", basics.other_method),
    Check("embeddings", "search by meaning cannot use it", embedding.embeddings),
    Check("hang-up", "each client that dies takes a part of the service with it", crowd.hung_up),
    Check("at-once", "a fleet's workers get failures, or wait for nothing", crowd.at_once),
)  # fmt: skip


def selected(names: Sequence[str]) -> Sequence[Check]:
    """The checks of these names, or all. Raises `ConfigError`."""
    known = {check.name: check for check in CHECKS}
    for name in names:
        if name not in known:
            raise ConfigError(f"--only {name}: no such check; there are {', '.join(known)}")
    return [check for check in CHECKS if check.name in names] if names else CHECKS


def results(target: Target, checks: Sequence[Check]) -> Iterator[Result]:
    """What becomes of each, as it is known; once the service is gone, the others are skipped."""
    gone = ""
    for check in checks:
        if gone:
            yield Result(check=check, outcome=SKIPPED, said=gone, seconds=0.0)
            continue
        result = made(check, target)
        if isinstance(result.failure, Gone):
            gone = f"the service is gone since the check `{check.name}`"
        yield result


def made(check: Check, target: Target) -> Result:
    started = time.perf_counter()
    failure = None
    try:
        outcome, said = PASSED, check.look(target)
    except Skipped as exc:
        outcome, said = SKIPPED, str(exc)
    except Failed as exc:
        outcome, said, failure = FAILED, str(exc), exc
    seconds = time.perf_counter() - started
    return Result(check=check, outcome=outcome, said=said, seconds=seconds, failure=failure)

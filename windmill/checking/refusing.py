"""What is no image, or too large a one, is refused in the contract's words; what is merely odd may be."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping

from windmill.catalog import SCORER
from windmill.checking import pictures
from windmill.checking.calling import Answer, Skipped
from windmill.checking.target import CAPTION, Target, check_refused

MOST_BYTES = 33_000_000  # a million more than the contract's limit
_MULTIPART = "multipart/form-data; boundary=b"
_HALF_A_FORM = b'--b\r\nContent-Disposition: form-data; name="file"; filename="x"\r\n\r\nnever ends'

# What is sent in an image's place, and what it is in words.
BAD: Mapping[str, tuple[str, Callable[[Target, str], Answer]]] = {
    "no-file": (
        "a form without a file",
        lambda target, what: target.form({"colour": "blue", "caption": CAPTION}, what),
    ),
    "empty-body": ("nothing", lambda target, what: target.send(b"", "", what)),
    "empty-file": ("a file of 0 bytes", lambda target, what: target.upload(b"", what)),
    "wrong-field": (
        "a photo as field `image`",
        lambda target, what: target.form({"image": ("image", target.photo.jpeg), "caption": CAPTION}, what),
    ),
    "not-an-image": (
        "a text as field `file`",
        lambda target, what: target.upload(b"This is no image.\n" * 20, what),
    ),
    "text-body": (
        "a text/plain body",
        lambda target, what: target.send(b"This is no form.\n", "text/plain", what),
    ),
    "broken-multipart": (
        "a form that ends in its middle",
        lambda target, what: target.send(_HALF_A_FORM, _MULTIPART, what),
    ),
}


def bad(name: str, target: Target) -> str:
    """Refused with the contract's error, by a status that says not to try again."""
    what, send = BAD[name]
    answer = send(target, what)
    check_refused(answer)
    return f"refused with {answer.status}"


def truncated(target: Target) -> str:
    """Half a JPEG: some decoders make the best of it."""
    return target.check_answered(
        target.upload(target.photo.jpeg[: len(target.photo.jpeg) // 2], "half a JPEG")
    )


def odd(name: str, target: Target) -> str:
    """Answered or refused, but not with a failure."""
    what, _ = pictures.ODD[name]
    return target.check_answered(target.upload(target.photo.odd(name), what))


def many_bytes(target: Target) -> str:
    """Over the limit of 32 MB."""
    check_refused(target.upload(_bytes(), "a file of 33 MB"), status=413)
    return "refused with 413"


def many_pixels(target: Target) -> str:
    """Over the limit of 50 megapixels, in a file of a few kilobytes."""
    answer = target.upload(pictures.too_many_pixels(), "an image of 51 megapixels")
    check_refused(answer, status=413)
    return "refused with 413"


def no_caption(target: Target) -> str:
    """What a scorer is asked without saying of which caption."""
    if target.service.name != SCORER:
        raise Skipped(f"only {SCORER} takes a caption")
    check_refused(target.form({"file": ("image", target.photo.jpeg)}, "a photo without a caption"))
    return "refused"


@functools.cache
def _bytes() -> bytes:
    return bytes(MOST_BYTES)

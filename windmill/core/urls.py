"""Web addresses as people may see them."""

from __future__ import annotations

import re
from urllib.parse import quote, urlsplit

_USERINFO = re.compile(r"^([^/?#]*//)[^/?#]*@")
# Where a password ends is anybody's guess in what is no address: all before the last @ goes, of any form.
_MAYBE = re.compile(r"^((?:[^/?#@\\]*[/\\]+)?).*[@﹫＠]", re.DOTALL)
_AS_IT_IS = "!#$%&'()*+,/:;=?@[]~"  # what has a meaning in a path or a query, and the % of what is quoted


def quoted(target: str) -> str:
    """A path, or a path and a query, as a request may hold it; what is quoted already stays."""
    return quote(target, _AS_IT_IS)


def shown(url: str) -> str:
    """The address without a user name and password: what errors, logs and results may hold."""
    return (_USERINFO if _well_formed(url) else _MAYBE).sub(r"\1", url)


def _well_formed(url: str) -> bool:
    try:
        parts = urlsplit(url)
        named = parts.hostname is not None and (parts.port is None or parts.port >= 0)
    except ValueError:
        return False
    return named

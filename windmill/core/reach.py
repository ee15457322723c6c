"""How many jobs to take in advance: few, so that others get theirs, unless one is through them at once.

What is handled waits for the commit, and counts as in hand until then: a worker of a fast service would spend
its time waiting for the disk. One of a slow service must not hold jobs that another could be at.
"""

from __future__ import annotations

AHEAD = 0.2  # seconds of a worker's work that it takes in advance where that is more than the usual number
_WINDOW = 0.5  # seconds over which one measures
MORE = 100  # beyond the usual number, at most: a batch of the committer's


class Reach:
    """The number of jobs to have in hand: `ahead` seconds of work, but at least the `usual` number, and at
    most so many `more`. Where it is `fixed`, it is the usual one.

    Who gathers what is handled settles many at once and then none for a while: only `silence` of so many
    seconds says that it has become slow.
    """

    def __init__(
        self,
        usual: int,
        *,
        ahead: float = AHEAD,
        more: int = MORE,
        silence: float = _WINDOW,
        fixed: bool = False,
    ) -> None:
        self.size = usual
        self._ahead = ahead
        self._silence = silence
        self._usual = usual
        self._most = usual if fixed else usual + more
        self._since: float | None = None
        self._settled = 0

    def note(self, settled: int, now: float) -> None:
        """That so many jobs were settled; to be told now and then also that it was none. `now` in seconds."""
        if self._since is None:
            self._since = now
            return
        self._settled += settled
        elapsed = now - self._since
        if elapsed < _WINDOW or (elapsed < self._silence and not self._settled):
            return
        wanted = round(self._ahead * self._settled / elapsed)
        self._since, self._settled = now, 0
        if wanted > 2 * self.size or 4 * wanted < self.size:  # so that it does not change all the time
            self.size = max(self._usual, min(wanted, self._most))

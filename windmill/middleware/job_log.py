"""A job's life in one line of the log."""

from __future__ import annotations

import logging

from windmill.model import Ack, Again, Bury, Handled

log = logging.getLogger(__name__)


class JobLog:
    """Writes what became of each job: debug when all is well, a warning when it is not.

    A job that is parked is no worse than it was: that its service is down is said by `parked`, once.
    """

    def settled(self, handled: Handled) -> None:
        what, milliseconds = _subject(handled), 1000 * handled.seconds
        match handled.decision:
            case Again(attempt=attempt) if attempt == handled.delivery.attempt:
                log.info("%s: back to its queue, no attempt spent: %s", what, handled.error)
            case Again(delay=delay, attempt=attempt):
                log.warning("%s: attempt %d in %.1f s: %s", what, attempt + 1, delay, handled.error)
            case Bury(reason=reason):
                log.error("%s: given up after %d: %s", what, handled.delivery.attempt + 1, reason)
            case Ack() if handled.error is not None:
                log.info("%s: nothing left to do: %s", what, handled.error)
            case Ack():
                log.debug("%s: done in %.0f ms", what, milliseconds)

    def parked(self, reason: str) -> None:
        log.warning("waiting: %s; jobs stay queued, none is lost", reason)

    def resumed(self) -> None:
        log.info("back to work")


def _subject(handled: Handled) -> str:
    if handled.job is None:
        return f"{handled.delivery.service}: message"
    box = f" box {handled.job.box.key}" if handled.job.box else ""
    return f"{handled.delivery.service}: image {handled.job.image.image_id}{box}"

"""Everything that can go wrong, as one tree; each error says what is to become of the job that met it."""

from __future__ import annotations

from enum import Enum


class Verdict(Enum):
    """What is to become of a job that met an error; `core.retrying` turns it into a decision."""

    ACK = "ack"  # nothing is left to do
    AGAIN = "again"  # later, a limited number of times
    PARK = "park"  # later, as often as it takes: the job has no part in it
    BURY = "bury"  # it would fail again: set it aside, with the reason
    FATAL = "fatal"  # no job's fault: this process cannot work


class WindmillError(Exception):
    """Base of all errors that Windmill foresees. Details are attributes, never parsed from the text."""

    verdict = Verdict.FATAL


class ConfigError(WindmillError):
    """A setting, the catalog or the command line is wrong; the text names the key and where it stands."""


class IndexDamaged(ConfigError):
    """Files of an index are not what was written: cut short, or of different merges."""


class OtherEmbedder(ConfigError):
    """Vectors, or a query, of another model or dimension than the index has: nothing could be compared."""


class ChildDiedError(WindmillError):
    """A child process of this command ended by itself; the text holds the end of its log."""


class ClusterError(WindmillError):
    """A cluster of Ray or Spark cannot be reached, or could not do the work; the text holds what it said."""


class MessageError(WindmillError):
    """A message's bytes are not a job."""

    verdict = Verdict.BURY


class DeliveryLimit(WindmillError):
    """A message was handed out again and again, and no worker lived to say what became of it."""

    verdict = Verdict.BURY


class ImageError(WindmillError):
    """An image is missing, unreadable, not an image, or too large."""

    verdict = Verdict.BURY


class ImageTooLargeError(ImageError):
    """More bytes or more pixels than MAX_IMAGE_MB and MAX_IMAGE_MEGAPIXELS allow."""


class ImageUnavailable(ImageError):
    """The server of an image's address does not answer for now; `retry_after`: its wish, in seconds."""

    verdict = Verdict.AGAIN

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class ServiceError(WindmillError):
    """Base of what a service call can end with."""

    verdict = Verdict.BURY

    def __init__(self, message: str, *, service: str) -> None:
        super().__init__(message)
        self.service = service


class ServiceUnavailable(ServiceError):
    """Refused, unreachable, timed out or 503: jobs wait until the service is healthy again.

    With a healthy service behind it (`/health` answers, yet this image timed out) it counts as an attempt;
    also when it `broke_off` in the middle of this image: the image may be what it died of.
    """

    verdict = Verdict.AGAIN

    def __init__(
        self, message: str, *, service: str, timed_out: bool = False, broke_off: bool = False
    ) -> None:
        super().__init__(message, service=service)
        self.timed_out = timed_out
        self.broke_off = broke_off


class ServiceDown(ServiceUnavailable):
    """Unavailable, and `/health` says so too: the job goes back to its queue, without an attempt spent."""

    verdict = Verdict.PARK


class ServiceFull(ServiceUnavailable):
    """503 with a time to come again, `retry_after` seconds: too many ask at once, and no attempt is spent."""

    verdict = Verdict.PARK

    def __init__(self, message: str, *, service: str, retry_after: float) -> None:
        super().__init__(message, service=service)
        self.retry_after = retry_after


class ServiceBusy(ServiceError):
    """408, 425, 429, or a 5xx other than 503; `retry_after` is the service's wish in seconds, if any."""

    verdict = Verdict.AGAIN

    def __init__(self, message: str, *, service: str, retry_after: float | None = None) -> None:
        super().__init__(message, service=service)
        self.retry_after = retry_after


class ServiceRejected(ServiceError):
    """A 4xx, its `status`, or a reply that says "error" (0): this image will not do."""

    def __init__(self, message: str, *, service: str, status: int = 0) -> None:
        super().__init__(message, service=service)
        self.status = status


class ServiceChanged(ServiceError):
    """An embedding service has another model than the index: jobs wait until it has that one again."""

    verdict = Verdict.PARK


class BadReply(ServiceError):
    """Not JSON, or not the contract. `body` holds the start of what came instead."""

    def __init__(self, message: str, *, service: str, body: str) -> None:
        super().__init__(message, service=service)
        self.body = body


class BrokerError(WindmillError):
    """The broker is unreachable or refused a message; nothing that was to be settled has been."""

    verdict = Verdict.AGAIN


class DecoderError(WindmillError):
    """No process can be started to decode images in: out of memory, processes or descriptors."""

    verdict = Verdict.AGAIN


class StoreError(WindmillError):
    """The database refused a row."""

    verdict = Verdict.BURY


class StoreUnavailable(StoreError):
    """The database is unreachable, or rolled back for a reason that passes (deadlock, restart)."""

    verdict = Verdict.AGAIN


class StaleBox(StoreError):
    """The box a job is about was replaced meanwhile; its successor has a job of its own."""

    verdict = Verdict.ACK

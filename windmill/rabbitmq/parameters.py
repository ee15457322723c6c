"""How to reach RabbitMQ: from settings to pika's parameters, and from pika's errors to ours."""

from __future__ import annotations

import ssl

import pika
import pika.exceptions

from windmill import tls
from windmill.errors import BrokerError, ConfigError
from windmill.settings import Settings

HEARTBEAT = 15  # seconds; a peer that is silent for twice as long is gone


def parameters(settings: Settings, name: str) -> pika.ConnectionParameters:
    """pika's parameters; the broker shows the connection as `name`. Raises `ConfigError`."""
    return pika.ConnectionParameters(
        host=settings.queue_host,
        port=settings.queue_port,
        virtual_host=settings.queue_vhost,
        credentials=pika.PlainCredentials(settings.queue_user, settings.queue_password),
        ssl_options=_ssl_options(settings) if settings.queue_tls.wanted else None,
        client_properties={"connection_name": name},
        heartbeat=HEARTBEAT,
        socket_timeout=5.0,
        stack_timeout=15.0,
    )


def address(settings: Settings) -> str:
    """`host:port`, for messages."""
    return f"{settings.queue_host}:{settings.queue_port}"


def diagnose(error: BaseException, settings: Settings) -> ConfigError | BrokerError:
    """What a failed attempt to connect means: a `ConfigError` for what does not pass by itself."""
    root, where = _root(error), f"RabbitMQ at {address(settings)}"
    if _is_refusal(root, pika.exceptions.ProbableAuthenticationError, "(403)"):
        local = (
            "; guest may log in on the broker's own machine only" if settings.queue_user == "guest" else ""
        )
        return ConfigError(
            f"QUEUE_USER, QUEUE_PASSWORD: {where} refuses user {settings.queue_user!r}"
            f" with the password given{local}"
        )
    if _is_refusal(root, pika.exceptions.ProbableAccessDeniedError, "(530)"):
        return ConfigError(
            f"QUEUE_VHOST: {where} has no vhost {settings.queue_vhost!r} that user"
            f" {settings.queue_user!r} may use"
        )
    if found := tls.refusal(root, settings.queue_tls, where):
        return found
    return BrokerError(f"{where} cannot be reached ({_text(root)}){_hint(root, settings)}")


def lost(error: BaseException | None, settings: Settings) -> str:
    """Why an open connection or channel ended, in one line."""
    return f"RabbitMQ at {address(settings)}: {_text(_root(error)) if error else 'connection closed'}"


def _ssl_options(settings: Settings) -> pika.SSLOptions:
    return pika.SSLOptions(tls.context(settings.queue_tls), settings.queue_host)


def _is_refusal(root: BaseException, kind: type[BaseException], code: str) -> bool:
    """pika guesses from where the handshake broke off; only the broker's own code makes it certain.

    A vhost that is down (the broker is starting) has the same code as one that does not exist.
    """
    return isinstance(root, kind) and code in str(root) and "is down" not in str(root)


def _root(error: BaseException) -> BaseException:
    """The error inside pika's wrappers."""
    inner = getattr(error, "exceptions", None) or [getattr(error, "exception", None), *error.args[:1]]
    nested = [item for item in inner if isinstance(item, BaseException)]
    return _root(nested[-1]) if nested else error


def _text(error: BaseException) -> str:
    if isinstance(error, pika.exceptions.ConnectionClosed | pika.exceptions.ChannelClosed):
        return f"{error.reply_code} {error.reply_text}"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__


def _hint(root: BaseException, settings: Settings) -> str:
    if isinstance(root, ssl.SSLError):
        return "; if that port speaks no TLS, set QUEUE_SSL=false"
    if isinstance(root, pika.exceptions.IncompatibleProtocolError) and not settings.queue_ssl:
        return "; if that port wants TLS, set QUEUE_SSL=true"
    return "; start it, or set QUEUE_HOST and QUEUE_PORT"

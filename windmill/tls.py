"""TLS with verification, for every server alike: the files, and what a failed handshake means in one line."""

from __future__ import annotations

import re
import ssl

from windmill.errors import ConfigError
from windmill.settings import Tls

_REASON = re.compile(r"\[SSL: (\w+)\]")
_OTHER_NAME = (62, 64)  # OpenSSL's X509_V_ERR_HOSTNAME_MISMATCH and …_IP_ADDRESS_MISMATCH
_NOT_YET_VALID, _EXPIRED = 9, 10
_NO_TLS = ("WRONG_VERSION_NUMBER", "HTTP_REQUEST")
# What a server says that wants a certificate of ours, or another one.
_WANTS_OURS = ("CERTIFICATE_REQUIRED", "HANDSHAKE_FAILURE", "BAD_CERTIFICATE", "ALERT_UNKNOWN_CA")


def context(tls: Tls) -> ssl.SSLContext:
    """A context that verifies chain and name, by `tls.ca` alone, or by the system's CAs if it is empty.

    Raises `ConfigError` that names the setting of a file that will not do.
    """
    ca, cert, key = tls.names
    try:
        made = ssl.create_default_context(cafile=tls.ca or None)
    except OSError as exc:  # ssl.SSLError is one
        raise ConfigError(f"{ca}: {tls.ca}: not a file of certificates: {_reason(exc)}") from exc
    if tls.cert:
        try:
            made.load_cert_chain(tls.cert, tls.key, password="")
        except OSError as exc:
            pair = f"{tls.cert} and {tls.key}"
            raise ConfigError(
                f"{cert}, {key}: {pair}: not a certificate and its key without passphrase: {_reason(exc)}"
            ) from exc
    return made


def refusal(error: BaseException, tls: Tls, where: str) -> ConfigError | None:
    """What a failed handshake with the server `where` means; None if nothing that has to be set right."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return _distrusted(error, tls, where)
    found = _REASON.search(str(error))  # of some errors pika keeps no more than the text
    reason = found.group(1) if found else ""
    if any(word in reason for word in _NO_TLS):
        return no_tls(tls, where)
    if any(word in reason for word in _WANTS_OURS):
        return unwelcome(tls, where)
    return None


def no_tls(tls: Tls, where: str) -> ConfigError:
    """The server speaks plain text only."""
    return ConfigError(
        f"{tls.switch}: {where} speaks no TLS on that port; turn it on there, or name its TLS port"
    )


def unwelcome(tls: Tls, where: str) -> ConfigError:
    """The server wants a client certificate."""
    _, cert, key = tls.names
    wish = "does not accept this client certificate" if tls.cert else "wants a client certificate"
    return ConfigError(f"{cert}, {key}: {where} {wish}; set both to one that its CA has signed")


def unknown_ca(tls: Tls, where: str, said: str) -> ConfigError:
    """Nobody whom we trust vouches for the server."""
    vouching = f"no CA in {tls.ca}" if tls.ca else "no CA of this system"
    return ConfigError(
        f"{tls.names[0]}: {vouching} vouches for the certificate of {where} ({said});"
        f" set {tls.names[0]} to a file with the certificate of its CA"
    )


def other_name(tls: Tls, where: str, said: str) -> ConfigError:
    """The server's certificate is in order, but not for it."""
    return ConfigError(
        f"{tls.host}: the certificate of {where} is for another name ({said});"
        f" set {tls.host} to a name that stands in it"
    )


def _distrusted(error: ssl.SSLCertVerificationError, tls: Tls, where: str) -> ConfigError:
    said = error.verify_message.rstrip(".")
    if error.verify_code in _OTHER_NAME:
        return other_name(tls, where, said)
    if error.verify_code == _EXPIRED:
        return ConfigError(f"{tls.switch}: the certificate of {where} has expired; renew it there")
    if error.verify_code == _NOT_YET_VALID:
        return ConfigError(f"{tls.switch}: the certificate of {where} is not valid yet; compare the clocks")
    return unknown_ca(tls, where, said)


def _reason(error: OSError) -> str:
    """What OpenSSL or the system says, without OpenSSL's line numbers."""
    return re.sub(r" \(_ssl\.c:\d+\)$", "", error.strerror or str(error))

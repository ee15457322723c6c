"""Certificates for the private servers and their clients, from a CA that lives as long as the test."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import trustme


class Certificates:
    """A CA; `ca`, `cert` and `key` are the files of a client, in a folder of the test's own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._authority = trustme.CA()
        self.ca = self._file("ca.pem", self._authority.cert_pem.bytes())
        client = self._authority.issue_cert("client@windmill.test", common_name="windmill")
        self.cert = self._file("client.pem", client.cert_chain_pems[0].bytes())
        self.key = self._file("client.key", client.private_key_pem.bytes())

    def server(self, name: str = "127.0.0.1", *, expired: bool = False) -> dict[str, bytes]:
        """What a server's folder needs, by file name: a certificate for `name`."""
        past = datetime.now(UTC) - timedelta(days=1) if expired else None
        issued = self._authority.issue_cert(name, not_after=past)
        return {
            "ca.pem": self._authority.cert_pem.bytes(),
            "cert.pem": b"".join(pem.bytes() for pem in issued.cert_chain_pems),
            "key.pem": issued.private_key_pem.bytes(),
        }

    def _file(self, name: str, content: bytes) -> str:
        path = self._folder / name
        path.write_bytes(content)
        path.chmod(0o600)
        return str(path)

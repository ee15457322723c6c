"""The test servers themselves: they start, keep their data, and leave nothing behind."""

import psutil
import pytest

from tests.servers import MariaDB, Postgres, RabbitMQ
from tests.servers.base import MissingServerError


@pytest.mark.parametrize("kind", [Postgres, MariaDB, RabbitMQ])
def test_a_server_leaves_no_process_and_no_folder(kind):
    try:
        server = kind()
    except MissingServerError as exc:
        pytest.skip(str(exc))
    server.start()
    server.restart()
    assert server.answers()
    server.remove()
    assert not server.folder.exists()
    mine = [
        p for p in psutil.process_iter(["cmdline"]) if str(server.folder) in " ".join(p.info["cmdline"] or [])
    ]
    assert mine == []

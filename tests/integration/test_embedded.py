"""The embedded PostgreSQL and the children of one command: started here, gone with their parent."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import textwrap
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from tests.contract.test_store import add_images
from tests.waiting import until
from windmill.children import Children
from windmill.embedded import data_home, embedded, existing
from windmill.errors import ChildDiedError, ConfigError
from windmill.postgres.ledger import PostgresLedger
from windmill.settings import Settings

PATIENCE = 60.0

PARENT = textwrap.dedent(
    """
    import sys, threading
    from pathlib import Path
    from windmill.children import Children
    from windmill.embedded import embedded
    from windmill.settings import Settings

    with Children() as children, embedded(Path(sys.argv[1]), Settings(), children) as own:
        print(own.db_port, flush=True)
        threading.Event().wait()
    """
)


@pytest.fixture
def data(tmp_path):
    yield tmp_path / "data"
    shutil.rmtree(data_home(tmp_path / "data"), ignore_errors=True)


def servers(data):
    home = str(data_home(data))
    return [p for p in psutil.process_iter(["cmdline"]) if home in " ".join(p.info["cmdline"] or [])]


def test_it_starts_with_the_tables_and_again_with_the_same_data(data):
    for count, opened in enumerate((embedded, existing)):
        with Children() as children, opened(data, Settings(), children) as own:
            with closing(PostgresLedger(own, "test")) as ledger:
                assert sum(ledger.groups().values()) == count
            add_images(own, 1)
    assert servers(data) == []


def test_only_who_knows_the_password_gets_in(data):
    with Children() as children, embedded(data, Settings(), children) as own:
        with pytest.raises(ConfigError, match="DB_PASSWORD"):
            PostgresLedger(replace(own, db_password="guess"), "test").groups()
        assert (data_home(data) / "password").stat().st_mode & 0o077 == 0
        assert own.db_password not in "".join(" ".join(p.cmdline()) for p in servers(data))


def test_to_ask_makes_no_database(data):
    with Children() as none, pytest.raises(ConfigError, match="no data"), existing(data, Settings(), none):
        pass
    assert not data_home(data).exists()


def test_a_second_command_on_the_same_data_may_ask_and_else_is_refused_in_one_line(data):
    with Children() as first, embedded(data, Settings(), first) as own, Children() as second:
        with existing(data, Settings(), second) as shared:
            assert (shared.db_port, shared.db_password) == (own.db_port, own.db_password)
        refused = pytest.raises(ConfigError, match="another windmill is at work here")
        with refused, embedded(data, Settings(), second):
            pass


def test_the_server_ends_with_a_parent_that_was_killed_and_the_next_goes_on(data):
    parent = subprocess.Popen([sys.executable, "-c", PARENT, str(data)], stdout=subprocess.PIPE, text=True)
    with parent:
        assert parent.stdout is not None
        assert int(parent.stdout.readline())
        assert servers(data)
        parent.send_signal(signal.SIGKILL)
    until(lambda: not servers(data), PATIENCE)
    with Children() as children, embedded(data, Settings(), children):
        assert servers(data)


def test_a_child_that_dies_is_named_with_the_end_of_its_log(tmp_path):
    command = [sys.executable, "-c", "print('I cannot go on'); raise SystemExit(3)"]
    with Children() as children:
        children.start("painter", command, env={}, log=tmp_path / "painter.log")
        with pytest.raises(
            ChildDiedError, match=r"painter ended by itself \(status 3\)(.|\n)*I cannot go on"
        ):
            until(lambda: children.check() or False, PATIENCE)


def test_children_stop_in_the_reverse_order_of_their_start(tmp_path):
    script = tmp_path / "child.py"
    diary = tmp_path / "diary"
    script.write_text(
        "import signal, sys, threading\n"
        "stop = threading.Event()\n"
        "signal.signal(signal.SIGTERM, lambda *_: stop.set())\n"
        "print('up', flush=True)\n"
        "stop.wait()\n"
        "open(sys.argv[2], 'a').write(sys.argv[1])\n",
        "utf-8",
    )
    with Children() as children:
        for name in "abc":
            log = tmp_path / f"{name}.log"
            children.start(name, [sys.executable, str(script), name, str(diary)], env={}, log=log)
            until(lambda log=log: "up" in log.read_text("utf-8"), PATIENCE)
    assert Path(diary).read_text("utf-8") == "cba"

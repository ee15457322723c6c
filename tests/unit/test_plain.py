"""What services, files and workers say cannot give orders where it is shown: terminal, log, page, JSON."""

import io
import json
import logging
import re
from pathlib import Path

import pytest
from rich.console import Console

from windmill import cli, log, plain, report
from windmill.commands import ingest, workers
from windmill.errors import ChildDiedError, ConfigError
from windmill.findings import Findings, FoundBox
from windmill.images import ImageFiles
from windmill.ingesting import Admitted
from windmill.model import Box
from windmill.pictures import annotate
from windmill.progress import plain as cell
from windmill.settings import Settings
from windmill.supervision import Process

HOSTILE = (
    "a\x1b[2J\x1b]0;t\x07b\x9b31m\u202ec\r\nERROR x: fake\x00\ud800 [red]d[/red] "
    "<b>e</b>\"'&\u2028f 👩\u200d🚀"
)
ORDERS = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e\u2028\ud800-\udfff]")


def harmless(text):
    text.encode()
    return not ORDERS.search(text)


def test_a_line_is_one_line_and_keeps_what_can_be_read():
    shown = plain.line(HOSTILE)
    assert harmless(shown)
    assert "\n" not in shown
    assert "c ERROR x: fake" in shown
    assert "[red]d[/red] <b>e</b>\"'& f 👩\u200d🚀" in shown


def test_a_line_is_not_endless():
    assert plain.line("x" * 10_000) == "x" * 2000 + "…"
    assert plain.line("x" * 10_000, 5) == "xxxxx…"


@pytest.mark.parametrize(
    "text", ["🫨 2 eyes", "👨‍👩‍👧‍👦", "🏴\U000e0067\U000e007f", "नमस्ते", "a  b.jpg", "é", "☔️"]
)  # noqa: RUF100
def test_what_harms_nobody_stays_as_it_is(text):
    assert plain.line(text) == text


def test_a_block_keeps_its_lines():
    assert plain.block("one\x1b[1m\ntwo\r\nthree") == "one�[1m\ntwo\nthree"


@pytest.fixture
def logged():
    """Logs as a command does; gives what it wrote."""
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    log.configure("INFO", "test")
    written = io.StringIO()
    root.handlers[0].setStream(written)
    yield written.getvalue
    root.handlers[:] = before
    root.setLevel(level)


def test_an_event_is_one_line_of_the_log(logged):
    logging.getLogger("windmill.x").warning("image 7: %s", HOSTILE)
    (written,) = logged().splitlines()
    assert harmless(written)
    assert "WARNING test: image 7: a" in written


def test_no_line_of_a_traceback_can_be_taken_for_an_event(logged):
    try:
        Path(HOSTILE.replace("\0", "")).read_bytes()
    except (OSError, ValueError):
        logging.getLogger("windmill.x").exception("nobody foresaw this")
    first, *trace = logged().splitlines()
    assert first.endswith("nobody foresaw this")
    assert len(trace) > 3
    assert all(line.startswith("  | ") and harmless(line) for line in trace)


@pytest.mark.parametrize(
    ("error", "lines"), [(ConfigError(HOSTILE), 1), (ChildDiedError("died:\n  one\n  two\x1b[2J"), 3)]
)
def test_a_command_that_fails_says_why_in_plain_lines(error, lines, monkeypatch, capsys):
    def fail(*_):
        raise error

    monkeypatch.setattr(cli, "_run", fail)
    assert cli.main(["schema"]) > 0
    said = capsys.readouterr().err
    assert harmless(said)
    assert said.count("\n") == lines


def test_a_bad_file_is_one_line_however_it_is_named(capsys):
    ingest._bad(HOSTILE)
    done = Admitted()
    done.seen, done.duplicate_count = 1, 1
    done.duplicates.append((HOSTILE, 1))
    ingest._summary(done, type("Args", (), {"source": HOSTILE, "dry_run": False}))
    said = capsys.readouterr().err
    assert harmless(said)
    assert said.count("\n") == 2


def test_a_worker_that_died_of_odd_words_is_told_in_one_line(tmp_path, capsys):
    (tmp_path / "log").write_text("fine\n" + HOSTILE.replace("\ud800", "").replace("\r\n", " "), "utf-8")
    dead = Process(
        worker="blip",
        number=1,
        state="FATAL",
        pid=0,
        uptime=0,
        description=HOSTILE,
        log=tmp_path / "log",
    )
    assert workers._show([dead], as_json=False) == 1
    said = capsys.readouterr()
    assert harmless(said.err)
    assert said.err.count("\n") == 1
    assert harmless(said.out)


FOUND = Findings(
    image_id=1,
    filename=f"javascript:alert(1)//{HOSTILE}.jpg",
    path="/p/cat.jpg",
    width=100,
    height=80,
    votes=((HOSTILE, HOSTILE, 3),),
    boxes=(
        FoundBox(label=HOSTILE, box=Box(x=-1e9, y=-1e9, width=2e9, height=2e9), detection_count=2, score=0.7),
    ),
    faces=(Box(x=-1e9, y=0, width=2e9, height=1e9),),
    colours=(('red;background:url("//evil")', HOSTILE), ("#ff0000", "Crimson")),
    text=HOSTILE,
    errors=(f"ocr: ServiceRejected: {HOSTILE}",),
)


def test_the_table_of_findings_gives_no_orders():
    console = Console(width=200, force_terminal=False)
    with console.capture() as capture:
        console.print(report.table([FOUND]))
    assert harmless(capture.get())
    assert "[red]d[/red]" in capture.get()


def test_the_page_holds_nothing_that_a_browser_would_obey():
    page = report.page([FOUND], {1: report.picture_name(FOUND)})
    assert harmless(page)
    assert page.count("<b>") == 0
    assert set(re.findall(r'(?:href|src)="([^"]*)"', page)) == {report.picture_name(FOUND)}
    assert re.findall(r'style="([^"]*)"', page) == ["background:#ff0000"]
    assert page.count("&lt;b&gt;e&lt;/b&gt;&quot;&#x27;&amp;") >= 5


@pytest.mark.parametrize("name", [FOUND.filename, "x" * 300, "..", "", "a?b#c%2f.jpg", "日" * 200, "-rf.png"])
def test_a_picture_has_a_name_that_links_and_file_systems_take_as_it_is(name):
    given = report.picture_name(Findings(image_id=7, filename=name, path=None, width=1, height=1))
    assert re.fullmatch(r"[\w.-]*-7\.jpg", given)
    assert len(given.encode()) <= 255
    assert not given.startswith((".", "--"))


def test_the_document_is_json_that_gives_no_orders():
    text = report.document([FOUND], {})
    assert harmless(text)
    assert "👩\u200d🚀" in text
    (one,) = json.loads(text)
    assert one["text"] == HOSTILE


def test_shapes_far_outside_and_odd_labels_are_drawn_at_once(tmp_path):
    source, target = Path(__file__).parents[2] / "docs" / "demo.jpg", tmp_path / "drawn.jpg"
    found = Findings(
        image_id=1,
        filename="a.jpg",
        path=str(source),
        width=1,
        height=1,
        boxes=(FoundBox(label="x\n" * 200, box=FOUND.boxes[0].box, detection_count=1, score=0.1),),
        faces=FOUND.faces,
    )
    annotate(ImageFiles(Settings()), found, target)
    assert target.is_file()


def test_a_cell_is_neither_markup_nor_an_order():
    text = cell(HOSTILE, 30)
    assert harmless(text.plain)
    assert not text.spans
    assert len(text.plain) <= 31

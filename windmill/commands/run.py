"""`windmill run`: the whole pipeline on a folder, with nothing to set up."""

from __future__ import annotations

import argparse
import json
import logging
import shlex
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from windmill import lineup, pictures, report, wiring
from windmill.catalog import MERGER, VOTER, facts
from windmill.children import Children
from windmill.commands.ingest import read
from windmill.commands.produce import send
from windmill.core import replies
from windmill.core.nearest import nearest
from windmill.embedded import data_home, embedded
from windmill.errors import ConfigError, ImageError
from windmill.findings import Findings
from windmill.ingesting import candidates, ingest
from windmill.model import Missing, StagesAgain, Which
from windmill.plain import line
from windmill.ports import FindingsReader
from windmill.postgres.findings import PostgresFindings
from windmill.producing import Pace
from windmill.progress import meter, plain
from windmill.service_http import HttpService
from windmill.settings import Settings

log = logging.getLogger(__name__)

_WINDMILL = (sys.executable, "-m", "windmill")
_NEAREST = 3  # photos that are shown for words
_PATIENCE = 30.0  # seconds for a service to say what words mean
_LOOK = 0.2  # seconds between looks at the progress
_REST = 9  # times as long as a look took: of millions of rows, looks take a tenth of the time

HELP = """\
Runs everything on a folder of photos: a PostgreSQL of its own (database and broker), the reference services
that need nothing brought (three object detectors, a classifier, faces, poses, text, nudity, colours,
metadata, labels to search by; a captioner and CLIP once `windmill models pull blip clip` brought them) and
the pipeline's workers, as children of this one command; all of them end with it. No server to install, no
root, no GPU.

  windmill run ~/Photos/2024                    results in ./windmill-data
  windmill run ~/Photos/2024 --json > found.json
  windmill run ~/Photos/2024 --find "a dog on a beach"
  windmill run ~/Photos/2024 --keep             leaves the database up to look around, until Ctrl-C

What is done is done: the same command again does only what is new, or was cut short.
Models (330 MB of packages) are fetched once into ~/.cache/windmill."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", metavar="FOLDER", help="photos, here and below")
    add_options(parser, data=Path("windmill-data"))


def add_options(parser: argparse.ArgumentParser, *, data: Path) -> None:
    """What `run` and `demo` have in common."""
    parser.add_argument(
        "--data", type=Path, default=data, metavar="DIR", help="where all is kept (default: ./%(default)s)"
    )
    parser.add_argument("--group", default="photos", metavar="NAME", help="group (default: %(default)s)")
    parser.add_argument(
        "--find", action="append", metavar="WORDS", help="show the photos nearest to WORDS; may be repeated"
    )
    parser.add_argument("--json", action="store_true", help="the findings as JSON on standard output")
    parser.add_argument("--keep", action="store_true", help="keep the database up until Ctrl-C")


def run(args: argparse.Namespace, settings: Settings) -> int:
    return pipeline(args.folder, args, settings)


def pipeline(folder: str, args: argparse.Namespace, settings: Settings) -> int:
    """Everything, on one folder."""
    if not Path(folder).is_dir():
        raise ConfigError(f"{folder}: no such folder")
    words = [phrase.strip() for phrase in args.find or ()]
    if not all(words):
        raise ConfigError("--find: which words?")
    console = Console(stderr=args.json)
    settings = replace(settings, enable_monitoring=False)
    with Children() as children, embedded(args.data, settings, children) as own:
        place = Place(data_home(args.data), own, children, console, lineup.entries(_weights_here()))
        bad = place.admit(folder, args.group)
        with closing(PostgresFindings(own, "windmill run")) as reader:
            with place.work(reader, args.group, bool(words)):
                matches = place.search(reader, args.group, words)
            found = reader.of_group(args.group)
            if not found:
                raise ConfigError(f"{folder}: no image in it that could be read ({len(bad)} bad files)")
            drawn = place.draw(found)
            if args.json:
                sys.stdout.write(report.document(found, matches) + "\n")
            place.tell(reader, found, matches)
            place.tell_files(bad, drawn, found)
        if args.keep:
            place.keep()
    return 1 if bad or any(one.errors for one in found) else 0


Matches = Mapping[str, Sequence[report.Match]]  # words → the nearest photos


@dataclass(frozen=True, slots=True)
class Place:
    """One run's folder, its database and its children."""

    home: Path
    settings: Settings
    children: Children
    console: Console
    entries: lineup.Entries

    def admit(self, folder: str, group: str) -> Sequence[str]:
        """Ingests the folder; gives a line for each bad file."""
        images = wiring.images(self.settings)
        with wiring.image_registry(self.settings) as registry, meter("reading", "photos", None) as progress:
            done = ingest(
                candidates(folder, group, sys.stdin),
                registry,
                read=lambda one: read(images, one),
                measure=images.inspect,
                meter=progress,
            )
        log.info("%d new photos, %d known, %d bad", done.added, len(done.duplicates), len(done.bad))
        return done.bad

    @contextmanager
    def work(self, reader: PostgresFindings, group: str, searching: bool) -> Iterator[None]:
        """Sends what is missing, works until nothing is left to do, and keeps up what may be asked then."""
        wanted = Missing(services=lineup.submitted(self.entries), group=group)
        pace = Pace(max_queue_depth=sys.maxsize)  # rows beside the results; and nobody takes any as yet
        with wiring.ledger(self.settings) as ledger:
            total = ledger.count_images(wanted)
            send(wanted, ledger, self.settings, pace, threading.Event(), total)
            for stage in (MERGER, VOTER):  # what another rule or another calibration made
                rule = wiring.stage_rule(stage, self.settings)
                stale = StagesAgain(services=(stage,), which=Which.STALE, rule=rule, group=group)
                if count := sum(ledger.count(stale).values()):
                    send(stale, ledger, self.settings, pace, threading.Event(), count)
        if reader.progress().open_jobs == 0:
            self.console.print("All photos are done already: nothing was done twice.")
            names = self._serve([lineup.SEARCHER]) if searching else ()
        else:
            names = (*self._serve(lineup.served(self.entries)), *self._start_workers())
        try:
            self._watch(reader)
            yield
        finally:
            self.children.close_together(names)

    def _serve(self, services: Iterable[str]) -> Sequence[str]:
        """Starts services in a child; gives its name."""
        ports = lineup.served(self.entries)
        _pull(services)
        self._child("services", ["serve", *(f"{name}={ports[name]}" for name in services)], {})
        return ("services",)

    def _start_workers(self) -> Sequence[str]:
        """Starts a worker for each entry of the catalog; gives the children's names."""
        catalog = self.home / "service_config.json"
        catalog.write_text(json.dumps(self.entries, indent=1), "utf-8")
        environment = _environment(self.settings, catalog)
        for name in self.entries:
            self._child(name, ["work", name], environment)
        return tuple(self.entries)

    def search(self, reader: PostgresFindings, group: str, words: Sequence[str]) -> Matches:
        """The photos of the group that lie nearest to what each of `words` means."""
        if not words:
            return {}
        service = replace(facts(lineup.SEARCHER), **self.entries[lineup.SEARCHER])
        caller = HttpService(service, timeout=_PATIENCE)
        pause = threading.Event()
        while not caller.healthy():
            self.children.check()
            pause.wait(_LOOK)
        stored = reader.embeddings(group, lineup.SEARCHER)
        return {
            phrase: _nearest(replies.parse_embedding(service, caller.embed_text(phrase)), stored)
            for phrase in words
        }

    def _child(self, name: str, words: Sequence[str], environment: Mapping[str, str]) -> None:
        command = [*_WINDMILL, *words]
        self.children.start(name, command, env=environment, log=self.home / "logs" / f"{name}.log")

    def _watch(self, reader: FindingsReader) -> None:
        pause = threading.Event()
        with meter("finding", "results", None) as progress:
            while True:
                self.children.check()
                began = time.monotonic()
                now = reader.progress()
                progress.update(now.settled, max(now.total, now.settled + now.open_jobs))
                if now.open_jobs == 0:
                    return
                pause.wait(max(_LOOK, _REST * (time.monotonic() - began)))

    def draw(self, found: Sequence[Findings]) -> Path:
        """One annotated picture a photo, and a page of them all; gives the page."""
        folder = self.home / "pictures"
        folder.mkdir(exist_ok=True)
        images, drawn = wiring.images(self.settings), {}
        for one in found:
            name = report.picture_name(one)
            try:
                pictures.annotate(images, one, folder / name)
                drawn[one.image_id] = name
            except ImageError as error:
                log.debug("no picture: %s", error)  # the table says what is wrong with the photo
        page = folder / "index.html"
        page.write_text(report.page(found, drawn), "utf-8")
        return page

    def tell(self, reader: PostgresFindings, found: Sequence[Findings], matches: Matches) -> None:
        """What was found, unless standard output is JSON's."""
        if self.console.stderr:
            return
        self.console.print(report.table(found))
        for title, statement in report.QUERIES.items():
            self._say(f"\n-- {title}\n{statement}")
            self.console.print(_result(*reader.table(statement)))
        if matches:
            self._say("\n-- photos by meaning: labels embedded by MiniLM, not CLIP (docs/services.md)")
            self.console.print(report.search(matches))

    def tell_files(self, bad: Sequence[str], page: Path, found: Sequence[Findings]) -> None:
        """Where all is, and how to go on."""
        for told in bad:
            self._say(f"bad file: {line(told)}")
        self._say(f"\npictures  {page}\ndata      {self.home} (PostgreSQL)")
        richest = max(found, key=lambda one: len(one.boxes))
        if richest.boxes:
            asked = f"{richest.image_id} --data {shlex.quote(str(self.home))}"
            self._say(f"a box     windmill show {asked}    windmill why {asked} --box 1")
        self._say("again     the same command does only what is new; --keep leaves the database up")

    def _say(self, text: str) -> None:
        """Lines as they are: neither wrapped nor read as markup."""
        self.console.print(Text(text), soft_wrap=True)

    def keep(self) -> None:
        """Waits for Ctrl-C with the database up."""
        own = self.settings
        path = self.home / "password"
        address = f"host={own.db_host} port={own.db_port} dbname={own.db_name} user={own.db_user}"
        self._say(f'\nPGPASSWORD=$(cat {path}) psql "{address}"     (Ctrl-C ends)')
        _wait_until_interrupted(self.children.check)


def _nearest(query: Sequence[float], stored: Mapping[str, Sequence[float]]) -> Sequence[report.Match]:
    try:
        return nearest(query, stored, _NEAREST)
    except ValueError as exc:
        raise ConfigError(
            f"--find: another model embedded the photos ({exc});"
            f" `windmill rerun --service {lineup.SEARCHER} --stale` embeds them anew"
        ) from exc


def _weights_here() -> Collection[str]:
    """Models whose weights are in the cache."""
    command = [*_WINDMILL, "models", "ls", "--json"]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=False)  # noqa: S603 -- ourselves
    if done.returncode != 0:
        raise ConfigError("the models cannot be listed; the lines above say why")
    return [model["name"] for model in json.loads(done.stdout) if model["present"]]


def _pull(services: Iterable[str]) -> None:
    """Has the models there before the clock runs; the first time it takes a while, and says so."""
    command = [*_WINDMILL, "models", "pull", *services]
    done = subprocess.run(command, stdout=subprocess.DEVNULL, check=False)  # noqa: S603 -- ourselves
    if done.returncode != 0:
        raise ConfigError("the models are not there; the lines above say why")


def _wait_until_interrupted(check: Callable[[], None]) -> None:
    pause = threading.Event()
    try:
        while not pause.wait(1.0):
            check()
    except KeyboardInterrupt:
        log.info("stopping")


def _result(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> Table:
    table = Table(*columns)
    for row in rows:
        table.add_row(*(plain("" if cell is None else cell) for cell in row))
    return table


def _environment(settings: Settings, catalog: Path) -> dict[str, str]:
    """What the children are told; a password stands in their environment, never in a command line."""
    return {
        "BROKER": "postgres",
        "QUEUE_HOST": "",
        "DB_HOST": settings.db_host,
        "DB_PORT": str(settings.db_port),
        "DB_NAME": settings.db_name,
        "DB_USER": settings.db_user,
        "DB_PASSWORD": settings.db_password,
        "DB_SSLMODE": settings.db_sslmode,
        **dict.fromkeys(("DB_SSLROOTCERT", "DB_SSLCERT", "DB_SSLKEY"), ""),
        "SERVICE_CONFIG": str(catalog),
        "ENABLE_MONITORING": "false",
        "WORKER_ID": "",
    }

"""What people and their commands ask of the tables, each as the command asks it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import closing, suppress
from datetime import UTC, datetime

from bench.filling import SERVICES
from windmill.core import where
from windmill.dead import Matching
from windmill.model import (
    BoxesAgain,
    ImagesAgain,
    LostCaptions,
    LostCrops,
    LostDispatches,
    LostStage,
    Missing,
    Numbering,
    Selection,
    StagesAgain,
    Which,
)
from windmill.postgres.broker import connect as connect_broker
from windmill.postgres.connection import connect
from windmill.postgres.facts import PostgresFacts
from windmill.postgres.findings import PostgresFindings
from windmill.postgres.graveyard import PostgresGraveyard
from windmill.postgres.histories import PostgresHistories
from windmill.postgres.ledger import PostgresLedger
from windmill.settings import Settings

Question = Callable[[Settings], object]

NEW = (*SERVICES, "label_embedding")  # the last of these no image was sent to
IMAGE = 777
WINDOW = 100


class Enough(Exception):
    """Ends the sending of a window before it is noted."""


def window(selection: Selection, after: int = 0) -> Question:
    """The next window of a selection; nothing is sent, and nothing noted."""

    def stop(_: object) -> None:
        raise Enough

    def asked(settings: Settings) -> None:
        with closing(PostgresLedger(settings, "bench")) as ledger, suppress(Enough):
            _counted(ledger, selection)
            ledger.send(selection, stop, after=after, limit=WINDOW)

    return asked


def count(selection: Selection) -> Question:
    """All of a selection, as it is counted before it is sent."""

    def asked(settings: Settings) -> None:
        with closing(PostgresLedger(settings, "bench")) as ledger:
            _counted(ledger, selection)
            ledger.count_images(selection) if isinstance(selection, Missing) else ledger.count(selection)

    return asked


def _counted(ledger: PostgresLedger, selection: Selection) -> None:
    """The queues are empty, so that whatever is open counts as lost."""
    if type(selection).__name__.startswith("Lost"):
        ledger.begin_count()
        ledger.end_count()


def statement(text: str) -> Question:
    """A statement by hand; what it changes is undone."""

    def asked(settings: Settings) -> None:
        with closing(connect(settings, "bench")) as connection, connection.cursor() as cursor:
            cursor.execute(text)

    return asked


def found(name: str) -> Question:
    def asked(settings: Settings) -> None:
        with closing(PostgresHistories(settings, "bench")) as histories:
            histories.find(name)

    return asked


def why(settings: Settings) -> None:
    with closing(PostgresHistories(settings, "bench")) as histories:
        histories.case(IMAGE)


def dead(matching: Matching, *, listed: bool) -> Question:
    def asked(settings: Settings) -> None:
        with closing(PostgresGraveyard(settings, "bench")) as graveyard:
            graveyard.groups(matching) if listed else graveyard.jobs(matching, after=0, limit=10)

    return asked


def progress(settings: Settings) -> None:
    with closing(PostgresFindings(settings, "bench")) as findings:
        findings.progress()


def of_group(settings: Settings) -> None:
    with closing(PostgresFindings(settings, "bench")) as findings:
        findings.of_group("group0")


def meeting(condition: str) -> Question:
    """The images that meet a condition, as a search asks for them."""

    def asked(settings: Settings) -> None:
        with closing(PostgresFacts(settings, "bench")) as facts:
            facts.matching(where.parse(condition), Numbering.IMAGES)

    return asked


def ledger(ask: Callable[[PostgresLedger], object]) -> Question:
    def asked(settings: Settings) -> None:
        with closing(PostgresLedger(settings, "bench")) as opened:
            ask(opened)

    return asked


def depths(settings: Settings) -> None:
    with closing(connect_broker(settings, "bench")) as broker:
        broker.queue_states([*SERVICES, "yolo_oi7"])


ONE, NOW = "000000000777.jpg", datetime(2100, 1, 1, tzinfo=UTC)
_STALE = {"services": ("bbox_merger",), "which": Which.STALE}
_BOXES = {"services": ("bbox_colors",), "kept_as": "colors"}

QUESTIONS: Mapping[str, Question] = {
    "produce: first window of a new service": window(Missing(services=NEW)),
    "produce: a window of a group": window(Missing(services=NEW, group="group0")),
    "produce: nothing is missing": window(Missing(services=SERVICES)),
    "produce: nothing is missing in a group": window(Missing(services=SERVICES, group="group0")),
    "produce: count before a new service": count(Missing(services=NEW)),
    "rerun --group, window": window(ImagesAgain(services=("ocr",), which=Which.ALL, group="group0")),
    "rerun --failed, window": window(ImagesAgain(services=("ocr",), which=Which.FAILED)),
    "rerun --failed, count": count(ImagesAgain(services=("ocr",), which=Which.FAILED)),
    "rerun --stale, window": window(ImagesAgain(services=("ocr",), which=Which.STALE, version="2")),
    "rerun --stale, count": count(ImagesAgain(services=("ocr",), which=Which.STALE, version="2")),
    "rerun the merger --stale, count": count(StagesAgain(**_STALE, rule="rule 1")),
    "rerun colours of boxes --stale, window": window(BoxesAgain(**_BOXES, which=Which.STALE, version="2")),
    "rerun colours of boxes --failed, count": count(BoxesAgain(**_BOXES, which=Which.FAILED)),
    "reconcile: lost dispatches, window": window(LostDispatches(services=SERVICES, before=NOW)),
    "reconcile: lost dispatches, count": count(LostDispatches(services=SERVICES, before=NOW)),
    "reconcile: lost merges, count": count(LostStage(services=("bbox_merger",), before=NOW)),
    "reconcile: lost votes, count": count(LostStage(services=("consensus",), before=NOW)),
    "reconcile: lost crops, count": count(LostCrops(**_BOXES, before=NOW)),
    "reconcile: lost captions, count": count(
        LostCaptions(services=("caption_score",), captioners=("blip",), before=NOW)
    ),
    "reconcile: open services": ledger(PostgresLedger.open_services),
    "service_progress": statement("SELECT * FROM service_progress"),
    "pipeline_status": statement("SELECT * FROM pipeline_status"),
    "image_progress of an image": statement("SELECT * FROM image_progress WHERE image_id = 777"),
    "image_progress of a group": statement("SELECT * FROM image_progress WHERE image_group = 'group0'"),
    "run: progress": progress,
    "run: findings of a group": of_group,
    "search: won votes, by few": meeting("votes ? '🚗'"),
    "search: won votes, by all": meeting("votes ? '🐕'"),
    "search: boxes": meeting("boxes ? 'traffic light'"),
    "search: boxes by number": meeting("boxes['dog'] >= 2"),
    "search: text": meeting("text ? 'stop'"),
    "search: captions": meeting("captions ? 'beach'"),
    "search: colours": meeting("colours ? 'Poppy Red'"),
    "search: faces": meeting("faces >= 2"),
    "search: nsfw": meeting("nsfw < 0.1"),
    "search: metadata": meeting("metadata['Make'] = 'Canon'"),
    "search: size": meeting("width >= 640"),
    "search: in a group": meeting("votes ? '🐕' and group = 'group0' and nsfw < 0.9"),
    "groups": ledger(PostgresLedger.groups),
    "last hour": ledger(lambda opened: opened.last_hour("ocr")),
    "monitor: depths of queues": depths,
    "why": why,
    "find by number": found(str(IMAGE)),
    "find by file name": found(ONE),
    "find by path": found(f"/photos/0/{ONE}"),
    "dead ls": dead(Matching(), listed=True),
    "dead show --service": dead(Matching(service="ocr"), listed=False),
    "dead show --image": dead(Matching(image_id=IMAGE), listed=False),
    "delete an image": statement("DELETE FROM images WHERE image_id = 777"),
    "delete a group of 10,000": statement("DELETE FROM images WHERE image_group = 'group0'"),
}

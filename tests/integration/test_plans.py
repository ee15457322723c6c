"""Every statement that a worker sends goes by an index, however many rows there are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from bench.asking import QUESTIONS
from bench.filling import TABLES, fill
from bench.statements import broker_round, lookup_round, recording, send_round, store_round
from bench.tables import plan
from windmill.postgres.queries import named, queries
from windmill.settings import Settings

FACTS = Path(__file__).parents[2] / "windmill" / "postgres" / "facts.sql"
VECTORS = Path(__file__).parents[2] / "windmill" / "postgres" / "vectors.sql"
IMAGES = 1500  # enough that no plan is better for a table's smallness

MUCH_DIED = """
    INSERT INTO dead_jobs (service, image_id, body, attempts, error_class, error)
    SELECT 'ocr', n, n::text::bytea, 3, 'ImageError', 'truncated' FROM generate_series(1, 5000) AS n;
    ANALYZE dead_jobs;
"""

# What these send may take as long as the tables are large, or has no table.
OTHERS = {
    "the producer, rerun, reconcile, run's watch, the whole of a group": {
        "ImagesAgain_failed", "StagesAgain", "BoxesAgain", "BoxesAgain_failed", "LostDispatches", "LostStage",
        "LostCrops", "LostCaptions", "count_selected", "count_selected_images", "forget_count",
        "begin_count", "counted", "end_count", "analyze_count", "open_services", "versions", "make_current",
        "last_hour", "groups", "run_progress", "embeddings", "findings", "census",
    },
    "all that is dead": {"dead_groups", "drop_dead", "delete_dead"},
    "a search by a condition on all images": {"matching", "without_compiler"},
    "ingest": {"known_images", "add_images"},
    "setting up": {"database_exists", "create_database"},
    "no plan": {"listen", "as_of_one_moment", "do_not_wait_for_disk", "never_wait_for_disk"},
    "parts of statements": {"about_a_box", "about_an_image", "dead_matching", "of_group", "of_images"},
    "an index of embeddings, whose plans pgvector chooses": named(VECTORS.read_text("utf-8")).keys(),
    "parts of `matching`": named(FACTS.read_text("utf-8")).keys() - {"image", "numbered_by_content"},
}  # fmt: skip
OF_FEW = {"jobs_held"}  # it has what workers have in hand, and no more
WITHOUT_PLAN = OTHERS["no plan"]
SENT = sorted(queries().keys() - set().union(*OTHERS.values()))


@pytest.fixture(scope="module")
def filled(postgres_server) -> Iterator[Settings]:
    name = postgres_server.new_database()
    settings = Settings(
        db_host=postgres_server.host, db_port=postgres_server.port, db_name=name, db_user="windmill"
    )
    fill(settings, IMAGES)
    postgres_server.run(MUCH_DIED, name)
    yield settings
    postgres_server.drop(name)


@pytest.fixture(scope="module")
def plans(filled, postgres_server) -> Mapping[str, list[Any]]:
    """The plans of each statement that was sent, by its name."""
    images = range(700, 705)
    with recording() as sent:
        store_round(filled, images)
        broker_round(filled, images)
        lookup_round(filled, images[0])
        send_round(filled, IMAGES)
    found: dict[str, list[Any]] = {}
    with closing(postgres_server.connect(filled.db_name)) as connection, connection.cursor() as cursor:
        for one in sent:
            if one.name not in WITHOUT_PLAN:
                cursor.execute(b"EXPLAIN (FORMAT JSON) " + one.text)
                found.setdefault(one.name, []).append(cursor.fetchone()[0][0]["Plan"])
    return found


def read_throughout(plan: Any) -> list[str]:
    """The scans that read a whole table, or a whole index."""
    found = [scan for child in plan.get("Plans", ()) for scan in read_throughout(child)]
    kind, table, index = plan["Node Type"], plan.get("Relation Name"), plan.get("Index Name")
    by_index = "Index Cond" in plan or index in OF_FEW
    if kind == "Seq Scan" and table in TABLES:
        found.append(f"{table}, all of it")
    elif kind in ("Index Scan", "Index Only Scan", "Bitmap Index Scan") and not by_index:
        found.append(f"{index}, all of it")
    return found


@pytest.mark.parametrize("name", SENT)
def test_it_goes_by_an_index(name, plans):
    assert name in plans, "sent by nobody in the round of bench/statements.py: add it there, or to OTHERS"
    for one in plans[name]:
        assert read_throughout(one) == []


def test_a_scan_of_a_whole_table_is_noticed(filled, postgres_server):
    with closing(postgres_server.connect(filled.db_name)) as connection, connection.cursor() as cursor:
        for statement in ("SELECT count(*) FROM results", "SELECT * FROM images WHERE width = 9"):
            cursor.execute(f"EXPLAIN (FORMAT JSON) {statement}")
            assert read_throughout(cursor.fetchone()[0][0]["Plan"])


@pytest.mark.parametrize("name", QUESTIONS)
def test_the_plan_of_what_people_ask_can_be_shown(name, filled):
    assert ": " in plan(QUESTIONS[name], filled, whole=False)


def test_what_few_images_won_is_found_by_an_index(filled):
    assert "consensus_emoji" in plan(QUESTIONS["search: won votes, by few"], filled, whole=False)

"""schema.sql: safe to run twice, with the columns of the data sheet and views that run."""

from __future__ import annotations

import threading
from contextlib import closing

import pytest

from windmill.postgres import schema

SHEET = {
    "images": "image_id image_filename image_path image_url image_group image_created",
    "results": "result_id image_id service data status processing_time result_created worker_id",
    "merged_boxes": "merged_id image_id source_result_ids merged_data status created worker_id",
    "consensus": "consensus_id image_id consensus_data processing_time consensus_created worker_id",
    "postprocessing": "postprocessing_id image_id merged_box_id service data status result_created worker_id",
    "dispatches": "image_id service state",
}


def rows(server, settings, statement):
    with closing(server.connect(settings.db_name)) as connection, connection.cursor() as cursor:
        cursor.execute(statement)
        return cursor.fetchall()


def test_it_can_be_applied_twice_and_by_two_at_once(empty_database, postgres_server):
    failures = []

    def apply():
        try:
            schema.apply(empty_database)
        except Exception as error:  # noqa: BLE001 -- whatever it is, the test shows it
            failures.append(error)

    threads = [threading.Thread(target=apply) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    schema.apply(empty_database)
    assert failures == []
    assert rows(postgres_server, empty_database, "SELECT * FROM pipeline_status") == [(0,) * 8]


@pytest.mark.parametrize("table", SHEET)
def test_the_columns_of_the_data_sheet_are_there(table, database, postgres_server):
    found = rows(
        postgres_server,
        database,
        f"SELECT column_name FROM information_schema.columns WHERE table_name = '{table}'",  # noqa: S608
    )
    assert set(SHEET[table].split()) <= {name for (name,) in found}


def test_ids_are_wide_enough_for_ten_billion_results(database, postgres_server):
    narrow = rows(
        postgres_server,
        database,
        "SELECT table_name, column_name FROM information_schema.columns "
        "WHERE table_schema = 'public' AND column_name LIKE '%\\_id' AND data_type = 'integer'",
    )
    assert narrow == []


@pytest.mark.parametrize("view", ["service_progress", "image_progress", "pipeline_status"])
def test_views_run(view, database, postgres_server):
    rows(postgres_server, database, f"SELECT * FROM {view}")  # noqa: S608


def test_a_status_that_does_not_exist_is_refused(database, postgres_server):
    with pytest.raises(Exception, match="results_status_check"):
        rows(
            postgres_server,
            database,
            "INSERT INTO images (image_filename, image_path) VALUES ('a', 'a'); "
            "INSERT INTO results (image_id, service, status) SELECT image_id, 'blip', 'fine' FROM images",
        )

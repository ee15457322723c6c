"""The report's rows, from a database in which services said odd things."""

import json
from contextlib import closing

import pytest

from tests.contract.test_store import add_images, result
from windmill.core.where import parse
from windmill.model import Box, Numbering
from windmill.postgres.facts import PostgresFacts
from windmill.postgres.findings import PostgresFindings
from windmill.postgres.store import PostgresStore

CAPTION = json.dumps({"status": "success", "predictions": [{"text": "a man on a surfboard"}]})
SILENT = json.dumps({"status": "success", "predictions": [{"text": ""}]})


def said(service, *predictions):
    data = json.dumps({"status": "success", "predictions": list(predictions)})
    return lambda image: result(image, service=service, data=data)


def found(database, *outcomes):
    (image,) = add_images(database, 1, group="odd")
    with closing(PostgresStore(database, "w")) as store:
        store.save([outcome(image) for outcome in outcomes])
    with closing(PostgresFindings(database, "r")) as reader:
        return reader.of_group("odd")[0]


def test_a_face_has_a_box_in_either_form_or_none(database):
    forms = ([1, 2, 3, 4], {"x": 1, "y": 2, "width": 3, "height": 4}, None)
    faces = found(database, said("face", *({"emoji": "🙂", "bbox": form} for form in forms), {})).faces
    assert faces == (Box(x=1, y=2, width=3, height=4),) * 2


@pytest.mark.parametrize(
    "prediction",
    [
        {},
        {"palette": 5},
        {"palette": {"colors": "red"}},
        {"palette": {"colors": [None, 5, {"hex": 7}, {"prismacolor": ["x"]}]}},
    ],
)
def test_a_palette_that_is_none_spoils_no_report(database, prediction):
    assert all(
        isinstance(word, str) for pair in found(database, said("colors", prediction)).colours for word in pair
    )


def test_colours_are_the_first_three_of_the_palette(database):
    colours = [{"hex": f"#00000{n}", "prismacolor": f"Grey {n}"} for n in range(5)]
    assert found(database, said("colors", {"palette": {"colors": colours}})).colours == (
        ("#000000", "Grey 0"),
        ("#000001", "Grey 1"),
        ("#000002", "Grey 2"),
    )


def test_captions_are_of_those_who_say_something(database):
    """And `group` is the image's own."""
    one = found(
        database,
        lambda image: result(image, service="blip", data=CAPTION, service_types=("semantic",)),
        lambda image: result(image, service="blip2", data=SILENT, service_types=("semantic",)),
        said("ocr", {"text": "a word in the image"}),
    )
    assert (one.captions, one.group) == ((("blip", "a man on a surfboard"),), "odd")


def test_a_caption_that_is_found_is_shown(database, postgres_server):
    """Also one of a row that says nothing of its service's types; what OCR read is none in either place."""
    (image,) = add_images(database, 1, group="odd")
    with closing(PostgresStore(database, "w")) as store:
        store.save([result(image, service=name, data=CAPTION) for name in ("blip", "ocr")])
    with closing(postgres_server.connect(database.db_name)) as connection, connection.cursor() as cursor:
        cursor.execute("UPDATE results SET service_types = NULL")
        connection.commit()
    with closing(PostgresFacts(database, "r")) as facts:
        assert facts.matching(parse("captions ? 'surfboard'"), Numbering.IMAGES).tolist() == [image]
        known = facts.of([image], Numbering.IMAGES)[image]
    with closing(PostgresFindings(database, "r")) as reader:
        assert reader.of_group("odd") == [known]
    assert known.captions == (("blip", "a man on a surfboard"),)


def test_embeddings_are_of_the_newest_model_where_there_is_one(database):
    old, new, none, null = add_images(database, 4, group="odd")
    replies = [
        (new, "1", {"embedding": [1.0, 0.0]}),
        (old, "1", {"embedding": [1.0, 0.0, 0.0]}),
        (new, "2", {"embedding": [0.0, 1.0]}),
        (none, "2", {}),
        (null, "2", {"embedding": None}),
    ]
    with closing(PostgresStore(database, "w")) as store:
        for image, version, data in replies:
            text = json.dumps({"status": "success", "predictions": [], **data})
            store.save([result(image, service="label_embedding", data=text, model_version=version)])
    with closing(PostgresFindings(database, "r")) as reader:
        assert reader.embeddings("odd", "label_embedding") == {"1.jpg": (0.0, 1.0)}
        assert reader.embeddings("another", "label_embedding") == {}

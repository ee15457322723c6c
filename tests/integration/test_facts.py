"""What a search knows of images: each condition, over a few that the pipeline's own writers left."""

import hashlib
import json
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.contract.test_store import crop_result, merged, result
from tests.detectors import AVERAGE
from tests.fuzz.given import fuzz
from tests.unit.test_merging import box, reply, seen
from windmill.catalog import facts as known
from windmill.core.fields import FIELDS
from windmill.core.merging import merge
from windmill.core.where import OPERATORS, Compare, Has, Not, parse
from windmill.errors import ConfigError
from windmill.handlers.merge import Merge
from windmill.handlers.vote import Vote
from windmill.model import Image, NewImage, Numbering, Status, content_number
from windmill.postgres.facts import PostgresFacts
from windmill.postgres.registry import PostgresImages
from windmill.postgres.store import PostgresStore
from windmill.settings import Settings

SAMPLES = Path(__file__).parents[1] / "samples"
NAMES = ("street", "meadow", "crops", "failed", "new")
INJECTIONS = (
    "'; DROP TABLE images; --",
    "' OR '1'='1",
    '") ? (1 == 1)',
    "%(value)s %s {box}",
    "\\",
    "$.**",
    "x\"'",
)


def photo(name, number):
    return NewImage(
        filename=f"{name}.jpg",
        group="coco2017" if number < 3 else "other",
        content_hash=hashlib.sha256(name.encode()).digest(),
        width=640 + number,
        height=480,
        path=f"/Photos/{name}.jpg",
        as_is=7,
    )


def sample(name):
    return (SAMPLES / f"{name}.json").read_text("utf-8")


def said(*predictions):
    return json.dumps({"status": "success", "predictions": list(predictions)})


def saw(*labels):
    places = [{"x": 100 * n, "y": 20, "width": 50, "height": 60} for n in range(len(labels))]
    return said(
        *(
            {"label": label, "emoji": symbol, "confidence": 0.9, "bbox": place}
            for (label, symbol), place in zip(labels, places, strict=True)
        )
    )


def street(image):
    """Two detectors agree on a traffic light and two people; all others have something to say."""
    agreed = saw(("traffic light", "🚦"), ("person", "🧑"), ("person", "🧑"))
    yield from (result(image, service=name, data=agreed) for name in ("yolov8", "rtdetr"))
    yield result(image, service="blip", data=sample("blip"), service_types=("semantic",))
    for name in ("ocr", "colors", "face", "nsfw2", "metadata"):
        yield result(image, service=name, data=sample(name), service_types=known(name).service_types)


def meadow(image):
    """One detector sees a dog, and two captioners say so; nothing is read, no face, and a score."""
    told = said({"text": "A surfer's dog", "emoji_mappings": [{"emoji": "🐕", "word": "woofer"}]})
    yield result(image, service="yolov8", data=saw(("dog", "🐕")))
    yield from (result(image, service=n, data=told, service_types=("semantic",)) for n in ("blip", "ollama"))
    yield result(image, service="ocr", data=sample("ocr_empty"), service_types=("specialized",))
    yield result(image, service="face", data=sample("empty"), service_types=("specialized",))
    score = {"nsfw": False, "confidence": 0.7, "emoji": "", "score": 0.3}
    yield result(image, service="nsfw2", data=said(score), service_types=("specialized",))


def crops(image):
    """Faces were looked for in a box only."""
    alone = merge([reply("yolov8", seen("🧑", 0.9, box(0, 0, 9, 9)))], AVERAGE)[0]
    yield merged(image, alone)
    yield crop_result(image, alone.key, "face", data=said({"emoji": "🙂"}, {"emoji": "🙂"}))


def failed(image):
    for name in ("blip", "ocr", "colors", "face", "nsfw2", "metadata"):
        yield result(
            image,
            service=name,
            data='{"error": {}}',
            status=Status.ERROR,
            service_types=known(name).service_types,
        )


@pytest.fixture(scope="module")
def place(postgres_server, _template):
    """A database with five images, of which each was looked at in another way; settings and their ids."""
    name = postgres_server.new_database(_template)
    settings = Settings(
        db_host=postgres_server.host,
        db_port=postgres_server.port,
        db_name=name,
        db_user=postgres_server.dbuser,
    )
    photos = [photo(name, number) for number, name in enumerate(NAMES)]
    with (
        closing(PostgresImages(settings, "ingest")) as registry,
        closing(PostgresStore(settings, "w")) as store,
    ):
        added = registry.add(photos)
        ids = {name: added[one.content_hash] for name, one in zip(NAMES, photos, strict=True)}
        for fill in (street, meadow, crops, failed):
            store.save(list(fill(ids[fill.__name__])))
        looked = [ids["street"], ids["meadow"]]
        store.recompute(looked, partial(Merge(merger=known("bbox_merger"), detectors=AVERAGE), resumed=False))
        store.recompute(looked, partial(Vote(clock=lambda: 0.0), resumed=False))
    yield settings, ids
    postgres_server.drop(name)


@pytest.fixture(scope="module")
def ids(place):
    return place[1]


@pytest.fixture(scope="module")
def facts(place):
    with closing(PostgresFacts(place[0], "search")) as opened:
        yield opened


@pytest.fixture
def names(facts, ids):
    """The names of the images that meet a condition."""

    def matching(text, numbering=Numbering.IMAGES):
        numbers = facts.matching(parse(text), numbering).tolist()
        assert numbers == sorted(numbers)
        if numbering is Numbering.CONTENT:
            by_number = {content_number(hashlib.sha256(name.encode()).digest()): name for name in NAMES}
        else:
            by_number = {number: name for name, number in ids.items()}
        return {by_number[number] for number in numbers}

    return matching


# What holds of which images, and of which its contrary; of all others, nothing is known.
KNOWN = {
    "votes ? '🚦'": ("street", "meadow"),
    "votes ? '🚦\ufe0f'": ("street", "meadow"),
    "votes ? 'Traffic_Light'": ("street", "meadow"),
    "votes ? '👩🏽'": ("street", "meadow"),
    "votes ? 'woofer'": ("meadow", "street"),
    "votes ? 'unheard'": ("", "street meadow"),
    "votes['🐕'] = 3": ("meadow", "street"),
    "votes['🐕'] >= 0": ("street meadow", ""),
    "votes['🐕'] < 3": ("street", "meadow"),
    "votes['woofer'] > 2": ("meadow", "street"),
    "boxes ? '👩'": ("street", "meadow"),
    "boxes ? 'Person'": ("street", "meadow"),
    "boxes ? 'dog'": ("", "street meadow"),
    "boxes['person'] = 2": ("street", "meadow"),
    "boxes['🚦'] > 1": ("", "street meadow"),
    "boxes['person'] < 2": ("meadow", "street"),
    "text ? 'sto'": ("street", "meadow"),
    "captions ? 'SURFBOARD'": ("street", "meadow"),
    "captions ? 'surfer''s d'": ("meadow", "street"),
    "colours ? 'indigo blue'": ("street", ""),
    "colours ? 'b99'": ("street", ""),
    "colours ? 'b9'": ("", "street"),
    "colours ? '#E8E4DC'": ("street", ""),
    "colours ? 'cool'": ("street", ""),
    "colours ? 'warm'": ("", "street"),
    "faces = 1": ("street", "meadow crops"),
    "faces >= 2": ("crops", "street meadow"),
    "faces < 1": ("meadow", "street crops"),
    "nsfw >= 0.88": ("street", "meadow"),
    "nsfw = 0.3": ("meadow", "street"),
    "metadata['Make'] = 'canon'": ("street", ""),
    "metadata['Model'] > 'EOS 5'": ("", "street"),
    "metadata['gps.latitude'] > 51": ("street", ""),
    "metadata['Make'] > 1": ("", ""),
    "metadata['Lens'] = 'none'": ("", ""),
    "group = 'coco2017'": ("street meadow crops", "failed new"),
    "group != 'coco2017' and filename != 'new.jpg'": ("failed", "street meadow crops new"),
    "filename = 'street.jpg'": ("street", "meadow crops failed new"),
    "filename ? 'EE'": ("street", "meadow crops failed new"),
    "path ? '/photos/new'": ("new", "street meadow crops failed"),
    "path = '/photos/new.jpg'": ("", "street meadow crops failed new"),
    "width > 642": ("failed new", "street meadow crops"),
    "height = 480.5": ("", "street meadow crops failed new"),
    "created >= '2024-01-01'": ("street meadow crops failed new", ""),
    "created < '2024-01-01T12:00+02:00'": ("", "street meadow crops failed new"),
    f"id > {2**63 - 1}": ("", "street meadow crops failed new"),
    # Together: false and unknown is false, true or unknown is true.
    "faces = 1 and votes ? '🚦'": ("street", "meadow crops"),
    "faces = 2 or votes ? '🚦'": ("street crops", "meadow"),
    "not (faces = 2 or votes ? '🚦')": ("meadow", "street crops"),
    "votes ? '🚦' and group = 'coco2017' and nsfw < 0.9": ("street", "meadow failed new"),
}  # fmt: skip


@pytest.mark.parametrize("text", KNOWN)
def test_a_condition_holds_or_its_contrary_does_or_nothing_is_known(text, names):
    holds, contrary = (set(words.split()) for words in KNOWN[text])
    assert names(text) == holds
    assert names(f"not ({text})") == contrary
    assert names(text, Numbering.CONTENT) == holds


def test_every_field_is_tried():
    assert {name for name in FIELDS if any(name in text for text in KNOWN)} == FIELDS.keys()


def test_a_day_is_one_of_utc_from_its_beginning_to_its_end(place, postgres_server, names):
    with closing(postgres_server.connect(place[0].db_name)) as connection, connection.cursor() as cursor:
        cursor.execute(
            "SET TimeZone = 'Asia/Tokyo';"
            "UPDATE images SET image_created = '2020-05-06 23:59:59 UTC' WHERE image_filename = 'street.jpg'"
        )
        cursor.execute("ALTER ROLE windmill SET TimeZone = 'Asia/Tokyo'")
    try:
        assert names("created = '2020-05-06'") == names("created <= '2020-05-06'") == {"street"}
        assert names("created < '2020-05-07T00:00'") == {"street"}
        assert names("created < '2020-05-06'") == names("created < '2020-05-07T00:00+01:00'") == set()
    finally:
        with closing(postgres_server.connect(place[0].db_name)) as connection, connection.cursor() as cursor:
            cursor.execute("ALTER ROLE windmill RESET TimeZone")


@pytest.mark.parametrize("value", INJECTIONS)
def test_whatever_is_written_is_a_value(value, facts, ids):
    """Never a part of the statement, of a JSON path or of a pattern."""
    conditions = [Has(field=name, value=value) for name, field in FIELDS.items() if field.holds]
    conditions += [
        Compare(field=name, key=value, operator="=", value=9) for name, field in FIELDS.items() if field.under
    ]
    conditions += [
        Compare(field=name, key=None, operator="=", value=value) for name in ("group", "filename", "path")
    ]
    for condition in conditions:
        assert len(facts.matching(condition, Numbering.IMAGES)) == 0
    assert len(facts.matching(parse("width > 0"), Numbering.IMAGES)) == len(ids)


quoted = st.text(max_size=6).map(lambda text: "'" + text.replace("'", "''") + "'")
values = quoted | st.integers().map(str) | st.floats(allow_nan=False, allow_infinity=False).map(repr)
held = st.sampled_from([f"{name} ? {{}}" for name, field in FIELDS.items() if field.holds])
under = st.sampled_from([f"{name}[{{}}]" for name, field in FIELDS.items() if field.under])
itself = st.sampled_from([name for name, field in FIELDS.items() if field.itself])
compared = st.tuples(
    itself | st.builds(str.format, under, quoted),
    st.sampled_from(OPERATORS),
    values | st.dates().map("'{}'".format),
).map(" ".join)
statements = st.builds(str.format, held, quoted) | compared
conditions = st.recursive(
    statements,
    lambda inner: (
        inner.map("not ({})".format)
        | st.lists(inner, min_size=2, max_size=3).map(" and ".join).map("({})".format)
        | st.lists(inner, min_size=2, max_size=3).map(" or ".join).map("({})".format)
    ),
    max_leaves=6,
)


@fuzz
@given(text=conditions)
def test_whatever_is_a_condition_can_be_asked(text, facts):
    try:
        condition = parse(text)
    except ConfigError:
        return
    holds = set(facts.matching(condition, Numbering.IMAGES).tolist())
    assert holds.isdisjoint(facts.matching(Not(condition), Numbering.IMAGES).tolist())


@pytest.mark.parametrize("numbering", Numbering)
def test_the_database_and_the_model_count_alike(numbering, facts, ids):
    expected = {
        Numbering.IMAGES: sorted(ids.values()),
        Numbering.CONTENT: sorted(content_number(hashlib.sha256(name.encode()).digest()) for name in NAMES),
    }[numbering]
    assert facts.matching(parse("width > 0"), numbering).tolist() == expected
    for number in (expected[0], expected[-1]):
        assert facts.matching(parse(f"id = {number}"), numbering).tolist() == [number]


@pytest.mark.parametrize("numbering", Numbering)
def test_all_that_is_known_of_a_hit(numbering, facts, ids):
    content = content_number(hashlib.sha256(b"street").digest())
    number = ids["street"] if numbering is Numbering.IMAGES else content
    unknown = [5 * 10**9, -1, 2**70]
    found = facts.of([number, *unknown], numbering)
    assert list(found) == [number]
    one = found[number]
    assert (one.image_id, one.filename, one.text, one.width) == (number, "street.jpg", "STOP", 640)
    assert [emoji for emoji, _, _ in one.votes][:1] == ["🧑"]
    assert len(one.boxes) == 3
    stored = Image(image_id=ids["street"], path="/Photos/street.jpg", as_is=7)
    assert facts.image(number, numbering) == stored
    for nothing in unknown:
        with pytest.raises(ConfigError, match=f"image {nothing} is not in the database"):
            facts.image(nothing, numbering)

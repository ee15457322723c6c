"""What passes the door can be kept: PostgreSQL takes every accepted reply, and gives it back."""

from contextlib import closing

import pytest
from hypothesis import example, given

from tests.fuzz.given import bodies, fuzz, services
from windmill import catalog
from windmill.core import replies
from windmill.core.placing import place
from windmill.errors import ServiceError
from windmill.handlers.analyze import Analyze
from windmill.model import Image, Job, Outcome, PostprocessingRow, Status
from windmill.postgres.store import PostgresStore
from windmill.settings import Settings

IMAGE = Image(image_id=1, path="a.jpg")
BLIP = catalog.facts("blip")
TEXTS = (
    r'{"predictions": [{"text": "a \u0000 \ud83d", "emoji": "\ud83d\ude00"}],'
    r' "\u0000": "\\u0000 \\ud800 \\\ud800"}'
)
DEEP = f'{{"predictions": [], "x": {"[" * 99}{"]" * 99}}}'
NUMBERS = f'{{"predictions": [], "x": [1e308, -1e-300, 1e-9999, 0e9999, 0.{"0" * 900}1, {"9" * 300}]}}'


class Says:
    """A service with one answer, and the photo that it is about."""

    def __init__(self, body):
        self.body = body

    def analyze(self, picture):
        return self.body

    def upright(self, image):
        return b"jpeg"


@pytest.fixture(scope="module")
def store(postgres_server, _template):
    name = postgres_server.new_database(_template)
    postgres_server.run("INSERT INTO images (image_filename, image_path) VALUES ('a', 'a.jpg')", name)
    address = Settings(
        db_host=postgres_server.host,
        db_port=postgres_server.port,
        db_name=name,
        db_user=postgres_server.dbuser,
    )
    with closing(PostgresStore(address, "fuzz")) as opened:
        opened.forget = lambda: postgres_server.run("DELETE FROM results", name)
        yield opened
    postgres_server.drop(name)


@fuzz
@given(service=services, body=bodies)
@example(service=BLIP, body=TEXTS.encode())
@example(service=BLIP, body=DEEP.encode())
@example(service=BLIP, body=NUMBERS.encode())
def test_a_reply_that_is_accepted_is_stored_and_read_as_it_was(store, service, body):
    says = Says(body)
    handler = Analyze(service=service, images=says, caller=says)
    try:
        outcome = handler(Job(image=IMAGE))
    except ServiceError as error:
        store.save([handler.failed(Job(image=IMAGE), error)])
        return
    seen = []
    store.forget()  # or an answer of an older version would be left out
    store.save([outcome])
    store.recompute([1], lambda snapshot: seen.append(snapshot) or Outcome())
    (again,) = [one.reply for one in seen[0].replies if one.reply.service == service.name]
    assert again == replies.parse(service, body)


@fuzz
@given(service=services, body=bodies)
@example(service=BLIP, body=TEXTS.encode())
@example(service=BLIP, body=DEEP.encode())
@example(service=BLIP, body=NUMBERS.encode())
def test_what_was_found_in_a_crop_is_stored(store, service, body):
    try:
        replies.parse(service, body)
    except ServiceError:
        return
    placed = place(body, left=5, top=7, width=10, height=10, bbox_format=service.bbox_format)
    row = PostprocessingRow(
        image_id=1, box_key=None, service=service.name, status=Status.SUCCESS, data=placed
    )
    store.save([Outcome(rows=(row,))])

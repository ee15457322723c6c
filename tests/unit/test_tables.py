"""Tables that tell of errors: on any terminal no word is cut, and no path is shortened."""

import io
from datetime import UTC, datetime

import pytest
from rich.console import Console

from windmill.commands import dead, why
from windmill.dead import DeadGroup
from windmill.history import Step

NOW = datetime(2026, 1, 1, tzinfo=UTC)
PATH = "/srv/photos/2024/a-long-holiday-by-the-sea/originals/DSC_0815.jpg"
ERROR = "cannot read it: No such file or directory; is it on this machine too?"
REMEDY = "for you: windmill rerun --service label_embedding --failed"


def story(width):
    met = f"ImageError: {PATH}: {ERROR}"
    worker = "label_embedding@box-17.example.org:12345"
    failed = Step(stage="label_embedding", state="failed", when=NOW, worker=worker, what=met, waits=REMEDY)
    asked = Step(stage="blip", state="never asked", waits="windmill produce --services blip")
    return why.story_table([failed, asked], width)


def groups(width):
    group = DeadGroup(
        service="label_embedding",
        error_class="ImageTooLargeError",
        count=12_345,
        first=NOW,
        last=NOW,
        sample_id=123_456,
        sample_image=PATH,
        sample_error=f"{PATH}: {ERROR}",
    )
    return dead.groups_table([group], width)


@pytest.mark.parametrize("width", [80, 100, 159, 160, 200])
@pytest.mark.parametrize("table", [story, groups])
def test_nothing_is_cut(table, width):
    console = Console(width=width, file=io.StringIO())
    console.print(table(width))
    said = console.file.getvalue()
    assert all(len(line) <= width for line in said.splitlines())
    assert "…" not in said
    words = set(said.split())
    assert {*ERROR.split(), "label_embedding"} <= words
    if width < 100:
        assert PATH[:40] in said


def test_what_a_stage_waits_for_can_be_read_at_80_columns():
    console = Console(width=80, file=io.StringIO())
    console.print(story(80))
    said = " ".join(console.file.getvalue().split())
    assert f"waits: {REMEDY}" in said
    assert "waits: windmill produce --services blip" in said

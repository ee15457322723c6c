"""What a person reads at the end of a run; what files and services say is data, never markup."""

import json

import pytest
from PIL import Image as Pictures
from rich.console import Console

from windmill import pictures, report
from windmill.findings import Findings, FoundBox, problems, summary
from windmill.images import ImageFiles
from windmill.model import Box
from windmill.settings import Settings

FOUND = Findings(
    image_id=1,
    filename="<b>cat</b>[red].jpg",
    path="/p/cat.jpg",
    width=100,
    height=80,
    votes=(("🐈", "cat", 3),),
    boxes=(FoundBox(label="cat", box=Box(x=10, y=20, width=40, height=30), detection_count=2, score=0.71),),
    faces=(Box(x=60, y=5, width=20, height=20),),
    colours=(("#ff0000", "Crimson Red"), ("#ee0000", "Crimson Red")),
    text="<script>alert(1)</script>",
    errors=("ocr: ServiceRejected: /p/cat.jpg: <i>no</i>", "blip: ServiceRejected: /p/cat.jpg: <i>no</i>"),
)


FILES = ImageFiles(Settings())


def printed(findings):
    console = Console(width=200, record=True, file=None, force_terminal=False)
    with console.capture() as capture:
        console.print(report.table(findings))
    return capture.get()


def test_the_table_shows_what_was_found():
    text = printed([FOUND])
    assert "<b>cat</b>[red].jpg" in text
    assert "cat 0.71 ×2" in text
    assert text.count("Crimson Red") == 1
    assert "1 photos: 1 merged boxes, 1 faces; 1 with errors" in text


def test_an_error_that_all_services_met_is_said_once():
    assert problems(FOUND) == ("<i>no</i> (ocr, blip)",)


def test_the_page_escapes_what_files_and_services_say():
    page = report.page([FOUND], {1: "cat-1.jpg"})
    assert "<script>" not in page
    assert "<b>cat" not in page
    assert "<i>no" not in page
    assert 'src="cat-1.jpg"' in page


def test_the_document_is_json_for_scripts():
    matches = {"a kitten": [(FOUND.filename, 0.5), ("other.jpg", 0.1)], "a bus": [("other.jpg", 0.2)]}
    (one,) = json.loads(report.document([FOUND], matches))
    assert one["boxes"][0]["detection_count"] == 2
    assert one["found_by"] == {"a kitten": 0.5}


def test_many_boxes_are_counted():
    many = Findings(image_id=2, filename="x", path=None, width=1, height=1, boxes=FOUND.boxes * 10)
    assert "and 2 more" in report.page([many], {})
    assert summary([many]) == "1 photos: 10 merged boxes, 0 faces"


@pytest.mark.parametrize("size", [(100, 80), (2000, 1600)])
def test_boxes_are_drawn_where_they_are(tmp_path, size):
    source, target = tmp_path / "cat.png", tmp_path / "drawn.jpg"
    Pictures.new("RGB", size, "white").save(source)
    factor = size[0] / 100
    box = Box(x=10 * factor, y=20 * factor, width=40 * factor, height=30 * factor)
    found = Findings(
        image_id=1,
        filename="cat.png",
        path=str(source),
        width=size[0],
        height=size[1],
        boxes=(FoundBox(label="cat", box=box, detection_count=2, score=0.71),),
    )
    pictures.annotate(FILES, found, target)
    with Pictures.open(target) as drawn:
        scale = drawn.width / 100
        assert max(drawn.size) <= 1600
        edge = drawn.getpixel((round(30 * scale), round(50 * scale) - 1))
        inside = drawn.getpixel((round(30 * scale), round(40 * scale)))
    assert min(edge) < 200
    assert min(inside) > 240

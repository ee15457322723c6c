"""What is drawn on a photo, by its pixels and by where labels go."""

from itertools import combinations, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image as Photos
from PIL import ImageFont

from tests.unit.test_explaining import CAT, account
from tests.unit.test_merging import box, seen
from windmill import pictures, scenes
from windmill.core.lettering import place
from windmill.model import Box
from windmill.scenes import Entry, Outline, Scene

RED = (255, 0, 0)


def near(pixel, colour):
    return all(abs(one - other) < 12 for one, other in zip(pixel, colour, strict=True))


def crossed(picture, x, y, colour):
    """Whether an upright line of this colour passes within two pixels."""
    return any(near(picture.getpixel((round(x) + step, round(y))), colour) for step in range(-2, 3))


def overlap(one, other):
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    return width > 0.01 and height > 0.01


def rectangles(places, sizes):
    chosen = [(at, size[at.text]) for at, size in zip(places, sizes, strict=True)]
    return [(at.left, at.top, at.left + width, at.top + height) for at, (width, height) in chosen]


places = st.tuples(*[st.integers(-10, 900)] * 2, *[st.integers(40, 400)] * 2).map(
    lambda at: (at[0], at[1], at[0] + at[2], at[1] + at[3])
)


@given(st.lists(places, min_size=1, max_size=3))  # more, or smaller ones in a corner, may find no room
def test_labels_lie_in_the_picture_and_hide_no_other(boxes):
    sizes = [[(120, 20), (30, 20), (12, 20)]] * len(boxes)
    written = rectangles(place(boxes, sizes, (1000, 1000)), sizes)
    assert all(
        left >= 0 and top >= 0 and right <= 1000 and down <= 1000 for left, top, right, down in written
    )
    assert not any(overlap(one, other) for one, other in combinations(written, 2))


def test_a_label_that_finds_no_room_says_less():
    """Seven boxes at one place have twelve spots for short labels, and fewer for long ones."""
    sizes = [[(90, 20), (15, 20)]] * 7
    found = place([(40, 40, 60, 60)] * 7, sizes, (100, 100))
    assert {at.text for at in found} == {0, 1}


def test_a_label_does_not_cover_a_small_thing_above_its_box():
    small, large = (100, 82, 120, 98), (100, 100, 400, 400)
    _, label = rectangles(place([small, large], [[(5, 5)], [(100, 20)]], (500, 500)), [[(5, 5)], [(100, 20)]])
    assert not overlap(label, small)


def test_where_there_is_no_room_at_all_a_label_is_still_written():
    assert len(place([(0, 0, 10, 10)] * 40, [[(10, 10)]] * 40, (20, 20))) == 40


@pytest.mark.parametrize(("size", "longest"), [((48, 32), 960), ((1200, 800), 1200), ((4000, 200), 1600)])
def test_small_photos_are_enlarged_and_large_ones_reduced(size, longest):
    photo = Photos.new("RGB", size, "white")
    at = Box(x=size[0] / 4, y=size[1] / 4, width=size[0] / 2, height=size[1] / 2)
    drawn = pictures.draw(photo, Scene(outlines=(Outline(box=at, colour=RED),)))
    assert max(drawn.size) == longest
    width, height = drawn.size
    assert near(drawn.getpixel((width // 2, height // 4 + 1)), RED)
    assert near(drawn.getpixel((width // 4 + 1, height // 2)), RED)
    assert drawn.getpixel((width // 2, height // 2)) == (255, 255, 255)


@pytest.mark.parametrize("ground", ["white", "black", "red"])
def test_an_outline_is_seen_on_every_ground(ground):
    photo = Photos.new("RGB", (1000, 1000), ground)
    drawn = pictures.draw(photo, Scene(outlines=(Outline(box=box(200, 200, 600, 600), colour=RED),)))
    line = [drawn.getpixel((190 + n, 500)) for n in range(20)]
    steps = [max(abs(a - b) for a, b in zip(one, other, strict=True)) for one, other in pairwise(line)]
    assert sum(step > 60 for step in steps) >= 2


def test_one_box_is_shown_from_near_with_each_detector_s_own():
    one = account(CAT)
    scene = scenes.of_account(one, (3000, 2000))
    yolo, rtdetr, merged = scene.outlines
    assert (merged.box, yolo.box, rtdetr.box) == (
        one.box.box,
        box(10, 10, 100, 100),
        box(20, 10, 100, 100),
    )
    assert len({merged.colour, yolo.colour, rtdetr.colour}) == 3
    assert scene.view == (Box(x=0, y=0, width=186, height=176),)  # 0.6 of 110 px around them
    drawn = pictures.draw(Photos.new("RGB", (3000, 2000), "grey"), scene)
    scale = 960 / 186
    assert crossed(drawn, one.box.box.x * scale, 105 * scale, merged.colour)
    assert crossed(drawn, 10 * scale, 60 * scale, yolo.colour)
    assert crossed(drawn, 120 * scale, 60 * scale, rtdetr.colour)
    assert drawn.height > drawn.width * 176 / 186 + 50  # the legend lies below


def test_the_legend_says_of_every_detector_what_it_said():
    one = account(CAT)
    texts = [entry.text for entry in scenes.of_account(one, (300, 200)).legend]
    assert texts == [
        "1 cat 0.92, seen by 2 of the 3 that can have seen it",
        "yolov8 saw cat 0.90: chance 0.764, IoU 1.000, counts 0.764",
        "rtdetr saw kitten 0.60: chance 0.393, IoU 0.818, counts 0.263",
        "detectron2 saw nothing here: -0.400",
        "xception speaks of the whole image, and draws no boxes",
    ]


def test_a_box_that_fills_the_photo_is_shown_in_the_whole_of_it():
    assert scenes.of_account(account(CAT), (130, 120)).view == ()


def test_a_legend_is_as_wide_as_its_words():
    scene = Scene(legend=(Entry(RED, "words " * 40),))
    assert pictures.draw(Photos.new("RGB", (100, 1000)), scene).width > 1000


def test_two_labels_of_a_photo_have_two_colours():
    labels = [f"label {n}" for n in range(12)]
    found = scenes.of_detections(
        "a", [seen("", 0.5, box(n, 0, 9, 9), label) for n, label in enumerate(labels)]
    )
    assert len({outline.colour for outline in found.outlines}) == 12
    assert found.legend[0].text == "a: 12 boxes, before merging"


@pytest.mark.parametrize(
    ("label", "written"),
    [("café", "cafe"), ("🐈 Minka", "cat Minka"), ("日本", "??"), ("e\u0301", "e")],
)
def test_what_no_font_here_can_write_is_spelled(monkeypatch, label, written):
    own = ImageFont.load_default(size=20)
    monkeypatch.setattr(pictures, "_fonts", lambda size: (own,))
    assert pictures._fitting(label, 20)[1] == written

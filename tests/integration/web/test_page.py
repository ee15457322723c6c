"""The search page in a real browser: what a person types, drops, clicks, and presses."""

import base64
import os
import re
import shutil
from contextlib import contextmanager
from types import SimpleNamespace

import pytest
from playwright.sync_api import expect, sync_playwright

import tests.serving
from tests.photo_library import Photos, library
from windmill.model import content_number
from windmill.web.app import create
from windmill.web.guard import Rules

TOKEN = "t" * 16
PHONE = {"viewport": {"width": 375, "height": 740}, "has_touch": True, "is_mobile": True}
LARGE = content_number(b"\xff" * 32) - 60  # ids as of files' content, which JavaScript's numbers cannot hold
DROP = """
({name, data}) => {
  const bytes = Uint8Array.from(atob(data), (letter) => letter.charCodeAt(0));
  const held = new DataTransfer();
  held.items.add(new File([bytes], name, {type: "image/jpeg"}));
  for (const kind of ["dragenter", "dragover", "drop"])
    document.body.dispatchEvent(new DragEvent(kind, {dataTransfer: held, bubbles: true, cancelable: true}));
}
"""

SMALL = """
[...document.querySelectorAll("button, select, label.icon, #text")]
  .map((one) => [one.outerHTML, one.getBoundingClientRect()])
  .filter(([, {width, height}]) => width && (width < 44 || height < 44))
"""
NAMELESS = """
[...document.querySelectorAll("button, a, input:not([hidden]), select")]
  .filter((one) => !one.ariaLabel && !one.textContent.trim() && !one.labels?.length)
  .filter((one) => !one.querySelector("img")?.alt)
  .map((one) => one.outerHTML)
"""


@pytest.fixture(scope="module")
def photos(shared_data):
    return Photos(shared_data / "coco-photos", 24, LARGE)


@contextmanager
def serving(photos, rules):
    with tests.serving.serving(SimpleNamespace(asgi=create(library(photos), rules))) as port:
        yield f"http://127.0.0.1:{port}/"


@pytest.fixture(scope="module")
def url(photos):
    with serving(photos, Rules(tokens=(TOKEN,))) as address:
        yield address


@pytest.fixture(scope="module")
def browser():
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if found is None:
        missing = "no Chromium: apt-get install chromium (tests/servers/install.sh)"
        pytest.fail(missing) if os.environ.get("CI") else pytest.skip(missing)
    with sync_playwright() as playwright:
        made = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield made
        made.close()


@pytest.fixture
def opened(browser):
    """Opens pages; at the end, none of them has asked anybody else, or complained."""
    contexts, asked, said = [], [], []

    def open_page(address, ready="#status:not(:empty), #notice > p", **options):
        context = browser.new_context(**({"viewport": {"width": 1200, "height": 800}} | options))
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(15_000)
        page.on("request", lambda request: asked.append(request.url))
        page.on("console", lambda message: said.append((message.type, message.text)))
        page.on("pageerror", lambda error: said.append(("error", str(error))))
        page.goto(address)
        page.wait_for_selector(ready)
        return page

    yield open_page
    for context in contexts:
        context.close()
    origin = re.compile(r"(blob:)?http://127\.0\.0\.1:\d+/")
    assert not [address for address in asked if not origin.match(address)]
    refused = re.compile(r"status of (400|401|403)")  # which a test asked for, and the browser notes
    assert not [text for kind, text in said if kind in ("error", "warning") and not refused.search(text)]


def hits(page):
    return page.locator("#hits > .hit:not(.awaited)")


def pictures(page):
    return page.locator("#hits a.picture")


def search(page, words):
    page.get_by_role("searchbox").fill(words)
    page.keyboard.press("Enter")


def shown(page, words):
    """Waits until the first hit is one of these words."""
    expect(pictures(page).first.locator("img")).to_have_attribute("alt", re.compile(words))


def test_words_find_images_and_the_address_tells_what_was_asked(opened, url):
    page = opened(url)
    expect(page.locator("#status")).to_contain_text("24 images")
    search(page, "teddy bear")
    shown(page, "teddy bear")
    expect(page).to_have_url(f"{url}?text=teddy+bear")
    expect(page.locator("#status")).to_contain_text("nearest first")
    first = hits(page).first
    expect(first.locator(".score")).to_have_text(re.compile(r"0\.\d\d"))
    expect(first.locator(".emoji")).to_contain_text("🧸")
    expect(first.locator(".swatch")).to_have_count(3)
    expect(first.locator("img")).to_have_js_property("complete", True)
    again = opened(page.url)
    shown(again, "teddy bear")
    expect(hits(again)).to_have_count(hits(page).count())


def test_a_dropped_and_a_chosen_photo_find_themselves_alone_and_with_words(opened, url, photos):
    page = opened(url)
    path = photos.paths[LARGE + 4]
    page.evaluate(DROP, {"name": path.name, "data": base64.b64encode(path.read_bytes()).decode()})
    expect(page.locator("#chip-name")).to_have_text(path.name)
    expect(hits(page).first.locator(".score")).to_have_text("1.00")
    expect(pictures(page).first).to_have_attribute("href", re.compile(str(LARGE + 4)))
    search(page, "frisbee")
    expect(hits(page).first.locator(".score")).not_to_have_text("1.00")
    page.get_by_label("Search by a photo").set_input_files(photos.paths[LARGE + 5])
    page.get_by_role("searchbox").fill("")
    page.keyboard.press("Enter")
    expect(pictures(page).first).to_have_attribute("href", re.compile(str(LARGE + 5)))
    page.go_back()  # to the first photo's words, which are no longer in the file input
    page.go_back()
    expect(page.locator("#chip-name")).to_have_text(path.name)
    page.get_by_label("Search by a photo").set_input_files(__file__)
    expect(page.get_by_role("alert")).to_contain_text("is not an image")


def test_more_like_this_leads_on_and_the_back_button_back(opened, url):
    page = opened(f"{url}?text=frisbee")
    shown(page, "frisbee")
    like = pictures(page).first.get_attribute("href").split("show=")[1]
    hits(page).first.hover()
    hits(page).first.get_by_role("button", name="More like this").click()
    expect(page).to_have_url(f"{url}?like={like}")
    expect(page.locator("#chip")).to_be_visible()
    expect(page.locator(f'#hits a[href*="show={like}"]')).to_have_count(0)
    page.go_back()
    expect(page).to_have_url(f"{url}?text=frisbee")
    expect(page.get_by_role("searchbox")).to_have_value("frisbee")
    expect(pictures(page).first).to_have_attribute("href", re.compile(like))


def test_boxes_appear_over_what_they_are_about(opened, url, photos):
    page = opened(f"{url}?text=frisbee")
    shown(page, "frisbee")
    link = pictures(page).first
    found = photos.of([int(link.get_attribute("href").split("show=")[1])], None).popitem()[1]
    outlines = link.locator("svg > rect:not(.halo)")
    expect(outlines).to_have_count(0)
    link.hover()
    expect(outlines).to_have_count(len(found.boxes))
    expect(link.locator("svg text").first).to_have_text(re.compile(r"\w+ 0\.\d\d · (\d agree|1 alone)"))
    place, picture = outlines.last.bounding_box(), link.bounding_box()
    first, scale = found.boxes[0].box, picture["width"] / found.width
    assert place["x"] - picture["x"] == pytest.approx(first.x * scale, abs=4)
    assert place["width"] == pytest.approx(first.width * scale, abs=8)
    page.mouse.move(5, 5)
    expect(outlines).to_have_count(0)
    link.focus()
    expect(outlines).to_have_count(len(found.boxes))


def test_all_can_be_done_by_keys_alone(opened, url):
    page = opened(url)
    page.keyboard.press("/")
    page.keyboard.type("person")
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile("text=person"))
    expect(page.locator("#status")).to_contain_text("nearest first")
    page.keyboard.press("ArrowRight")
    expect(pictures(page).first).to_be_focused()
    page.keyboard.press("ArrowRight")
    expect(pictures(page).nth(1)).to_be_focused()
    page.keyboard.press("ArrowDown")
    below, above = pictures(page).nth(1).bounding_box(), page.locator(":focus").bounding_box()
    assert above["y"] > below["y"]
    page.keyboard.press("ArrowUp")
    page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog")
    expect(dialog).to_be_visible()
    expect(dialog.locator("svg > rect").first).to_be_attached()
    name = dialog.get_by_role("heading").inner_text()
    page.keyboard.press("b")
    expect(dialog.locator("svg > rect")).to_have_count(0)
    page.keyboard.press("ArrowRight")
    expect(dialog.get_by_role("heading")).not_to_have_text(name)
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    expect(page).to_have_url(re.compile(r"text=person$"))
    expect(page.locator("#hits a.picture:focus")).to_have_count(1)
    page.keyboard.press("m")
    expect(page).to_have_url(re.compile("like="))


def test_an_image_enlarged_tells_all_and_back_closes_it(opened, url, tmp_path):
    page = opened(f"{url}?text=frisbee")
    pictures(page).first.click()
    dialog = page.get_by_role("dialog")
    for told in ("Size", "Group", "Votes", "Boxes", "Colours", "Captions", "Goldenrod", "agree"):
        expect(dialog).to_contain_text(told)
    expect(dialog.locator("img")).to_have_js_property("complete", True)
    dialog.locator(".row").first.hover()
    expect(dialog.locator("svg > rect:not(.halo)")).to_have_count(1)
    page.screenshot(path=tmp_path / "dialog.png")
    link = page.url
    page.go_back()
    expect(dialog).to_be_hidden()
    expect(opened(link).get_by_role("dialog")).to_be_visible()


def test_nothing_fits_is_said_and_the_nearest_shown_all_the_same(opened, url):
    page = opened(url)
    search(page, "submarine")
    expect(page.get_by_role("alert")).to_have_text(
        "Nothing fits. The nearest image scores 0.00; from 0.20 on one would."
    )
    expect(hits(page)).to_have_count(0)
    page.get_by_role("button", name="Show the nearest all the same").click()
    expect(hits(page)).to_have_count(20)
    page.get_by_label("Show").first.select_option("10")
    expect(hits(page)).to_have_count(10)


def test_a_condition_is_clicked_together_and_a_wrong_one_named(opened, url):
    page = opened(url)
    page.get_by_role("button", name="Filter").click()
    page.get_by_role("button", name="🥏").click()
    expect(page.get_by_role("textbox", name="Only images where")).to_have_value("votes ? '🥏'")
    expect(page.locator("#status")).to_contain_text("that meet the condition")
    expect(page.get_by_role("button", name="🥏")).to_have_attribute("aria-pressed", "true")
    page.get_by_role("button", name="🥏").click()
    expect(page).to_have_url(url)
    page.get_by_role("textbox", name="Only images where").fill("nsfw <")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_contain_text("expected a number")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_shows_two_columns_and_has_room_for_fingers(opened, url, tmp_path, scheme):
    page = opened(f"{url}?text=person", color_scheme=scheme, **PHONE)
    expect(hits(page)).to_have_count(20)
    assert page.evaluate("document.documentElement.scrollWidth") <= 375
    first, second = (pictures(page).nth(n).bounding_box() for n in (0, 1))
    assert first["y"] == second["y"]
    small = page.evaluate(SMALL)
    assert not small
    page.screenshot(path=tmp_path / "phone.png")
    pictures(page).first.tap()
    expect(page.get_by_role("dialog").locator("svg > rect").first).to_be_attached()
    assert page.evaluate("document.documentElement.scrollWidth") <= 375


def test_a_token_is_asked_for_once_and_kept_for_pictures_too(opened, photos):
    with serving(photos, Rules(tokens=(TOKEN,), open_reading=False)) as url:
        page = opened(url, ready="#token")
        for token in ("wrong", TOKEN):
            page.get_by_role("textbox", name="Token").fill(token)
            page.keyboard.press("Enter")
        expect(page.locator("#status")).to_contain_text("24 images")
        expect(page.locator("#hits img").first).to_have_attribute("src", re.compile("^blob:"))
        expect(hits(page).first).to_have_class(re.compile("loaded"))
        page.context.close()  # before its server


def test_an_image_is_removed_with_a_token(opened, photos):
    with serving(photos, Rules(tokens=(TOKEN,))) as url:
        page = opened(f"{url}?text=frisbee")
        before = hits(page).count()
        page.on("dialog", lambda dialog: dialog.accept())
        pictures(page).first.click()
        page.get_by_role("button", name="Remove from the index").click()
        page.get_by_role("textbox", name="Token").fill(TOKEN)
        page.keyboard.press("Enter")
        expect(page.get_by_role("dialog")).to_be_hidden()
        expect(hits(page)).to_have_count(before - 1)
        page.context.close()


def test_the_api_is_documented_by_this_server_alone(opened, url):
    page = opened(f"{url}docs", ready="#paths h3 >> nth=0")
    expect(page.locator("#paths h3")).to_have_count(8)
    expect(page.locator("#paths")).to_contain_text("Only images that meet this condition")
    expect(page.locator("#shapes")).to_contain_text("detection_count")


def test_everything_has_a_name_for_those_who_cannot_see_it(opened, url):
    page = opened(f"{url}?text=person&show={LARGE}")
    assert not page.evaluate(NAMELESS)
    assert page.locator("img:not([alt])").count() == 0

"""The report as a person meets it: in a real browser, by mouse and by keyboard."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from urllib.parse import unquote_to_bytes

import pytest
from playwright.sync_api import Browser, Page, expect

from photoage.database.face_filter import FaceFilter
from tests.browser import Opened, chromium, open_page
from tests.report_library import Stored, make_library, make_report
from tests.test_report import HOSTILE

pytestmark = pytest.mark.slow

MANY = 5000
FAMILY = [
    Stored("1990/baby.jpg", (1.2, 31.0), datetime(1990, 6, 1)),
    Stored("1999/school.jpg", (9.6,), datetime(1999, 9, 1)),
    Stored("1999/trip/sea.jpg", (34.4, 34.6, 62.0), datetime(1999, 12, 31, 23, 59)),
    Stored("2010/party.jpg", (20.4, 51.0), datetime(2010, 1, 1)),
    Stored("undated/old.jpg", (77.0,)),
    Stored("undated/gone.jpg", (45.0,), there=False),
]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as started:
        yield started


@pytest.fixture(scope="module")
def reports(browser: Browser, tmp_path_factory: pytest.TempPathFactory, sample_library: Path) -> Path:
    """family.html: a few faces; many.html: 5,000; hostile.html: names that attack the page."""
    folder = tmp_path_factory.mktemp("reports")
    portrait = sample_library / "people" / "grace_hopper.jpg"
    ages = [float(1 + n * 37 % 90) for n in range(MANY // 20)]
    first = datetime(1980, 1, 1)
    libraries = {
        "family": FAMILY,
        "many": [
            Stored(f"{n % 4}/{n:02}.jpg", tuple(ages), first + timedelta(days=800 * n)) for n in range(20)
        ],
        "hostile": [Stored(name, (20.0 + n,)) for n, name in enumerate(HOSTILE)],
    }
    for name, photos in libraries.items():
        database = make_library(portrait, folder / name, photos)
        make_report(database, folder / f"{name}.html", FaceFilter())
    return folder


@pytest.fixture
def family(browser: Browser, reports: Path) -> Iterator[Opened]:
    yield from opened(browser, reports / "family.html")


@pytest.fixture
def many(browser: Browser, reports: Path) -> Iterator[Opened]:
    yield from opened(browser, reports / "many.html")


def opened(browser: Browser, file: Path) -> Iterator[Opened]:
    """The page; afterwards, it must not have complained or asked for anything but itself."""
    found = open_page(browser, file)
    yield found
    assert found.messages == []
    assert [url for url in found.requests if not url.startswith("data:")] == [file.as_uri()]
    found.page.close()


def ages(page: Page) -> list[int]:
    return [int(text) for text in page.locator(".card .age").all_text_contents()]


def names(page: Page) -> list[str]:
    return page.locator(".card .name").all_text_contents()


def count(page: Page) -> str:
    return page.locator(".count").inner_text().split("\n")[0]


# --- what it shows ----------------------------------------------------------------------------


def test_counts_faces_and_what_is_missing(family: Opened) -> None:
    page = family.page
    assert page.locator("#summary").inner_text() == "10 faces in 6 photos, taken 1990–2010"
    assert count(page) == "10 faces"
    assert page.locator("#without").inner_text() == "1 without a picture: the photo is gone or changed"
    assert len(page.locator(".card").all()) == 10
    assert "looks in this photo" in page.locator(".note").first.inner_text()
    gone = page.locator(".card", has_text="gone.jpg")
    assert gone.locator("img").get_attribute("alt") == (
        "Face estimated 45 years, 39–53, gone.jpg; no picture: the file is gone"
    )
    assert "the file is gone" in (gone.get_attribute("title") or "")


def test_a_card_has_picture_age_interval_date_and_link(family: Opened, reports: Path) -> None:
    card = family.page.locator(".card", has_text="school.jpg")
    assert card.inner_text().split("\n") == ["10 4–18", "1999-09-01", "school.jpg"]
    link, image = card.locator("a"), card.locator("img")
    assert link.get_attribute("href") == (reports / "family" / "1999" / "school.jpg").as_uri()
    assert image.get_attribute("alt") == "Face estimated 10 years, 4–18, school.jpg"
    assert image.evaluate("image => image.decode().then(() => image.naturalWidth)") == 96


def test_links_lead_to_the_photos(browser: Browser, reports: Path) -> None:
    page = open_page(browser, reports / "family.html").page
    with page.context.expect_page() as other:
        page.locator(".card", has_text="baby.jpg").first.locator("a").click()
    other.value.wait_for_load_state()
    assert other.value.url == (reports / "family" / "1990" / "baby.jpg").as_uri()
    assert other.value.locator("img").evaluate("image => image.naturalWidth") == 512
    page.context.close()


# --- filter -----------------------------------------------------------------------------------


def test_the_age_range_by_keyboard(family: Opened) -> None:
    page = family.page
    page.get_by_label("Youngest age").focus()
    for _ in range(34):
        page.keyboard.press("ArrowRight")
    assert count(page) == "6 of 10 faces"
    assert ages(page) == [34, 35, 62, 51, 45, 77]  # a face of 34.4 shows 34, and is found by it
    page.keyboard.press("ArrowRight")
    assert ages(page) == [35, 62, 51, 45, 77]
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "high"
    page.keyboard.press("Home")  # as far down as the other thumb
    assert ages(page) == [35]
    assert page.get_by_label("Oldest age").get_attribute("aria-valuetext") == "35 years"
    expect(page.get_by_role("status")).to_contain_text("1 of 10 faces")


def test_ages_typed_digit_by_digit(family: Opened) -> None:
    page = family.page
    low, high = page.locator("#low-number"), page.locator("#high-number")
    low.fill("20")
    high.select_text()
    high.press_sequentially("35")
    assert (low.input_value(), high.input_value()) == ("20", "35")
    assert ages(page) == [31, 34, 35, 20]
    low.fill("70")
    low.press("Tab")
    assert (low.input_value(), high.input_value()) == ("70", "70")
    assert count(page) == "0 of 10 faces"
    assert page.locator("#none").is_visible()
    page.get_by_role("button", name="Show all faces").click()
    assert count(page) == "10 faces"
    assert (low.input_value(), high.input_value()) == ("0", "80")
    assert page.get_by_role("button", name="Show all faces").is_disabled()


def test_dates_are_inclusive_and_leave_out_undated_faces(family: Opened) -> None:
    page = family.page
    dates = page.get_by_role("group", name="Taken")
    dates.get_by_label("from").fill("1999-09-01")
    assert count(page) == "6 of 10 faces"
    dates.get_by_label("to").fill("1999-12-31")
    assert sorted(names(page)) == ["school.jpg", "sea.jpg", "sea.jpg", "sea.jpg"]


def test_folders_include_those_below(family: Opened) -> None:
    page = family.page
    folder = page.get_by_label("Folder")
    options = folder.locator("option").all_text_contents()
    assert options == [
        "All folders", "1990 (2)", "1999 (4)", "1999/trip (3)", "2010 (2)", "undated (2)",
    ]  # fmt: skip
    folder.select_option(label="1999 (4)")
    assert count(page) == "4 of 10 faces"
    folder.select_option(label="1999/trip (3)")
    assert set(names(page)) == {"sea.jpg"}


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        ("Youngest first", [1, 10, 20, 31, 34, 35, 45, 51, 62, 77]),
        ("Oldest first", [77, 62, 51, 45, 35, 34, 31, 20, 10, 1]),
        ("Earliest photo first", [1, 31, 10, 34, 35, 62, 20, 51, 45, 77]),
        ("Latest photo first", [20, 51, 34, 35, 62, 10, 1, 31, 45, 77]),
    ],
)
def test_orders(family: Opened, order: str, expected: list[int]) -> None:
    family.page.get_by_label("Order").select_option(label=order)
    assert ages(family.page) == expected


def test_charts_follow_the_filter_and_have_tables(family: Opened) -> None:
    page = family.page
    assert len(page.locator("#ages .chosen").all()) == 9  # 31, 34.4 and so on, in bins of five years
    page.locator("summary", has_text="As a table").click()
    rows = page.locator("#time-table tbody tr")
    rows.first.wait_for()  # the table is made when it is first opened
    assert [row.inner_text().split("\t") for row in rows.all()] == [
        ["1990", "2", "1", "31", "31"],
        ["1999", "4", "10", "35", "62"],
        ["2010", "2", "20", "51", "51"],
    ]
    page.locator("#low-number").fill("50")
    assert len(page.locator("#ages .all").all()) == 9  # what else there is stays visible behind
    assert len(page.locator("#ages .chosen").all()) == 3
    assert "50 to 54 years, 1" in (page.locator("#ages svg").get_attribute("aria-label") or "")
    assert rows.count() == 2
    assert page.locator("#time .cell title").all_text_contents() == [
        "1999, 60 to 64 years: 1 face",
        "2010, 50 to 54 years: 1 face",
    ]
    assert "1 face without a date is not in it" in page.locator("#time-note").inner_text()


# --- thousands of faces -----------------------------------------------------------------------


def test_only_the_rows_near_the_window_exist(many: Opened) -> None:
    page = many.page
    assert count(page) == "5,000 faces"
    cards = page.locator(".card")
    most = cards.count()
    assert 8 <= most <= 120
    height = page.evaluate("document.documentElement.scrollHeight")
    assert height > 100_000 / 2
    seen = set()
    for top in [*range(0, height, 2500), height]:
        page.evaluate("top => scrollTo(0, top)", top)
        page.evaluate("() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
        most = max(most, cards.count())
        seen |= set(page.locator(".card a").evaluate_all("all => all.map(a => a.dataset.position)"))
        if top:
            middle = page.evaluate("!!document.elementFromPoint(700, 400)?.closest('.card, .row, #grid')")
            assert middle, f"nothing at {top}"
    assert most <= 120
    assert len(seen) > 2000
    assert str(MANY - 1) in seen


def test_the_keyboard_reaches_every_face(many: Opened) -> None:
    page = many.page
    position = "document.activeElement.dataset.position"
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")  # skip to the faces
    page.keyboard.press("Tab")
    assert page.evaluate(position) == "0"
    columns = int(page.evaluate("columns"))
    for key, expected in (("ArrowRight", 1), ("ArrowDown", columns + 1), ("ArrowLeft", columns)):
        page.keyboard.press(key)
        assert page.evaluate(position) == str(expected)
    for _ in range(3 * columns):  # beyond the rows that there were
        page.keyboard.press("Tab")
    assert page.evaluate(position) == str(4 * columns)
    page.keyboard.press("End")
    assert page.evaluate(position) == str(MANY - 1)
    assert page.evaluate("document.activeElement.getBoundingClientRect().bottom <= innerHeight")
    assert page.locator(".card").last.get_attribute("aria-posinset") == str(MANY)
    assert page.locator(".card").last.get_attribute("aria-setsize") == str(MANY)
    page.mouse.wheel(0, -200_000)
    page.wait_for_function("() => scrollY === 0")
    page.wait_for_timeout(100)
    assert page.evaluate(position) == str(MANY - 1)  # out of sight, yet the focus is not lost
    page.keyboard.press("Home")
    assert page.evaluate(position) == "0"


def test_a_filter_far_down_shows_its_first_faces(many: Opened) -> None:
    page = many.page
    page.evaluate("scrollTo(0, 30000)")
    page.locator("#low-number").fill("60")
    page.wait_for_function("() => document.querySelector('.card a').dataset.position === '0'")
    assert page.locator(".card").first.is_visible()
    assert min(ages(page)) >= 60


def test_resizing_keeps_the_place(many: Opened) -> None:
    page = many.page
    page.evaluate("scrollTo(0, 30000)")
    page.wait_for_timeout(100)
    links = "[...document.querySelectorAll('.card a')]"
    first = f"{links}.find(a => a.getBoundingClientRect().top > -60).dataset.position"
    before = int(page.evaluate(first))
    page.set_viewport_size({"width": 1000, "height": 800})
    page.wait_for_timeout(300)
    assert abs(int(page.evaluate(first)) - before) <= 16


# --- for everybody ----------------------------------------------------------------------------


def test_everything_has_a_name(family: Opened) -> None:
    nameless = family.page.evaluate(
        """() => [...document.querySelectorAll('input, select, button, a, img, svg')].filter((element) => {
          const by = element.getAttribute('aria-labelledby');
          const name = element.getAttribute('aria-label') || element.alt || element.labels?.[0]?.textContent
            || (by && by.split(' ').map((id) => document.getElementById(id).textContent).join(''))
            || (!element.matches('input, select, img') && element.textContent);
          return !(name && name.trim());
        }).map((element) => element.outerHTML)"""
    )
    assert nameless == []
    page = family.page
    assert page.locator("html").get_attribute("lang") == "en"
    assert [h.inner_text() for h in page.locator("h1, h2").all()] == [
        "Faces by age", "Ages over time", "Faces",
    ]  # fmt: skip
    for role in ("banner", "main", "contentinfo"):
        assert page.get_by_role(role).count() == 1  # type: ignore[arg-type]
    assert page.get_by_role("listitem").count() == 10


CONTRAST = """(selector) => {
  const parse = (colour) => {
    const context = new OffscreenCanvas(1, 1).getContext('2d');
    context.fillStyle = colour; context.fillRect(0, 0, 1, 1);
    const part = (v) => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
    const [r, g, b] = [...context.getImageData(0, 0, 1, 1).data].slice(0, 3).map(part);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const style = (element, name) => getComputedStyle(element)[name];
  const lights = [style(document.querySelector(selector), 'color'), style(document.body, 'backgroundColor')];
  const [a, b] = lights.map(parse).sort((x, y) => y - x);
  return (a + 0.05) / (b + 0.05);
}"""


@pytest.mark.parametrize("dark", [False, True])
def test_light_and_dark_are_readable(browser: Browser, reports: Path, dark: bool) -> None:
    page = open_page(browser, reports / "family.html", dark=dark).page
    brightness = "Number(getComputedStyle(document.body).backgroundColor.match(/\\d+/)[0])"
    assert (page.evaluate(brightness) < 60) == dark
    for selector in ("h1", "#summary", ".interval", ".taken", "#time-note", "legend", "footer p"):
        assert page.evaluate(CONTRAST, selector) >= 4.5, selector
    page.get_by_role("button", name="Light colours" if dark else "Dark colours").click()
    assert (page.evaluate(brightness) < 60) != dark
    for selector in ("h1", "#summary", ".interval"):
        assert page.evaluate(CONTRAST, selector) >= 4.5, selector
    page.close()


@pytest.mark.parametrize("width", [320, 390, 768, 1920])
def test_nothing_sticks_out_at_any_width(browser: Browser, reports: Path, width: int) -> None:
    for name in ("family", "hostile"):
        page = open_page(browser, reports / f"{name}.html", width=width).page
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        page.close()


# --- attacks ----------------------------------------------------------------------------------


def test_hostile_names_do_nothing_and_their_links_are_exact(browser: Browser, reports: Path) -> None:
    for found in opened(browser, reports / "hostile.html"):
        page = found.page
        assert page.evaluate("window.owned") is None
        assert page.locator(".card").count() == len(HOSTILE)
        hrefs = page.locator(".card a").evaluate_all("all => all.map(a => a.href)")
        paths = {unquote_to_bytes(href.removeprefix("file://")) for href in hrefs}
        assert paths == {os.fsencode(reports / "hostile") + b"/" + os.fsencode(name) for name in HOSTILE}
        assert page.locator(".card b, .card script, option b").count() == 0
        for href in hrefs:  # the file is really there, under exactly these bytes
            assert os.path.isfile(unquote_to_bytes(href.removeprefix("file://")))


def test_the_page_cannot_reach_the_network_nor_run_other_scripts(browser: Browser, reports: Path) -> None:
    page = open_page(browser, reports / "family.html").page
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        refused = page.evaluate(
            """async (address) => {
              const refused = [];
              addEventListener('securitypolicyviolation', (event) => refused.push(event.effectiveDirective));
              const script = document.createElement('script');
              script.textContent = 'window.owned = 4';
              document.body.append(script);
              document.body.insertAdjacentHTML('beforeend', `<img src="${address}">`);
              await fetch(address).catch(() => {});
              await new Promise((done) => setTimeout(done, 200));
              return refused;
            }""",
            f"http://127.0.0.1:{server.getsockname()[1]}/x.png",
        )
        with pytest.raises(BlockingIOError):
            server.accept()
    assert sorted(refused) == ["connect-src", "img-src", "script-src-elem"]
    assert page.evaluate("window.owned") is None
    page.close()

"""The page of persons in a real browser, and the file that it saves carried out."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from browser import Opened, chromium, open_page
from playwright.sync_api import Browser, Page
from report_library import Stored, make_library
from small_library import runner
from sqlalchemy import select

from photoage.database.changes import changing
from photoage.database.persons import list_persons
from photoage.database.tables import Face, Photo
from photoage.errors import UsageError
from photoage.people.corrections import correct_persons, read_corrections
from photoage.people.names import name_person, new_person

pytestmark = pytest.mark.slow

HEADER = "action,person,face,value,other_face\n"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as started:
        yield started


@pytest.fixture
def library(tmp_path: Path, sample_library: Path) -> Path:
    """#1 with ten dated faces, #2 Eileen with three, #3 with two of which one photo is gone."""
    first = datetime(1980, 6, 1)
    photos = [Stored(f"{n:02}.jpg", (20.0 + n,), first + timedelta(days=365 * n)) for n in range(10)]
    photos += [Stored(f"e{n}.jpg", (40.0 + n,), first + timedelta(days=365 * n)) for n in range(3)]
    photos += [Stored("x.jpg", (30.0,)), Stored("y</script>.jpg", (31.0,), there=False)]
    database = make_library(sample_library / "people" / "grace_hopper.jpg", tmp_path / "library", photos)
    with changing(database) as connection:
        faces = list(
            connection.scalars(select(Face.id).join(Photo, Photo.id == Face.photo_id).order_by(Face.id))
        )
        new_person(connection, faces[:10], source="found")
        name_person(connection, new_person(connection, faces[10:13], source="found"), "Eileen")
        new_person(connection, faces[13:], source="found")
    return database


@pytest.fixture
def opened(browser: Browser, library: Path, tmp_path: Path) -> Iterator[Opened]:
    file = tmp_path / "people.html"
    done = runner(library)("people", "page", "-o", str(file))
    assert "3 persons, 15 faces shown" in done.stderr
    found = open_page(browser, file)
    yield found
    assert found.messages == []
    assert [url for url in found.requests if not url.startswith(("data:", "blob:"))] == [file.as_uri()]
    found.page.close()


def save(page: Page, to: Path) -> str:
    with page.expect_download() as download:
        page.get_by_role("button", name="Save changes").click()
    download.value.save_as(to)
    return to.read_text("utf-8")


def test_persons_are_named_and_corrected_by_keyboard_and_the_file_is_carried_out(
    opened: Opened, library: Path, tmp_path: Path
) -> None:
    page = opened.page
    rows = page.locator(".person")
    assert rows.count() == 3
    assert page.locator("#summary").inner_text() == "3 persons with 15 faces, 1 named; 15 faces are shown"
    assert page.get_by_role("button", name="Save changes").is_disabled()
    first = rows.first
    first.get_by_label("Name").focus()
    page.keyboard.type('Grace, "Amazing" Hopper')
    page.keyboard.press("Tab")
    page.keyboard.type("1906-13")
    page.keyboard.press("Tab")
    assert first.get_by_label("Born").evaluate("input => input.validity.valid") is False
    first.get_by_label("Born").fill("1906-12-09")
    first.locator(".face").first.focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Space")
    assert first.locator(".face").nth(1).get_attribute("aria-checked") == "true"
    page.keyboard.press("ArrowDown")
    assert page.evaluate("document.activeElement.closest('.person').id") == "person-2"
    rows.nth(2).get_by_label("Same as").fill("eileen")
    rows.nth(2).get_by_label("Same as").blur()
    assert page.locator("#changes").inner_text() == "4 changes"
    file = tmp_path / "saved.csv"
    text = save(page, file)
    assert text.startswith(HEADER)
    run = runner(library)
    assert "would be done: 1 names, 1 birth dates, 1 faces taken out, 1 persons" in (
        run("people", "apply", "-n", str(file)).stderr
    )
    with changing(library, dry_run=True) as connection:
        assert [row.name for row in list_persons(connection)] == [None, "Eileen", None]
    run("people", "apply", str(file))
    with changing(library, dry_run=True) as connection:
        people = [(row.name, row.birth_date, row.faces) for row in list_persons(connection)]
    assert people == [('Grace, "Amazing" Hopper', "1906-12-09", 9), ("Eileen", None, 5)]
    again = run("people", "apply", str(file), status=2)
    assert "has changed since the page was made" in again.stderr


def test_pictures_show_and_a_gone_photo_has_none(opened: Opened) -> None:
    page = opened.page
    image = page.locator(".face img").first
    assert image.evaluate("image => image.decode().then(() => image.naturalWidth)") == 68
    assert page.locator(".person").nth(2).locator(".blank").count() == 1
    assert page.locator(".person").first.locator(".face span").first.inner_text() == "1980-06-01\nage 20"


def test_finding_narrows_the_persons_down(opened: Opened) -> None:
    page = opened.page
    page.get_by_label("Find").fill("eil")
    assert page.locator(".person:visible").count() == 1
    assert page.locator("#count").inner_text() == "1 of 3 persons"
    page.get_by_label("Find").fill("")
    page.get_by_label("without a name").check()
    assert page.locator(".person:visible").count() == 2


@pytest.mark.parametrize(
    ("lines", "cause"),
    [
        ("", "its first line differs"),
        (HEADER + "burn,1,1,,\n", "line 2 is not a correction"),
        (HEADER + "name,one,1,Anna,\n", "line 2 has a number that is none"),
        (HEADER + f"name,1,{2**63},Anna,\n", "line 2 has a number that is none"),
        (HEADER + f"name,1,1,{'x' * 200_000},\n", "line 2 cannot be read"),
        (HEADER + "same,1,1,1,1\n", "line 2 makes a person the same as itself"),
        (HEADER + "name,2,1,Anna,\n", "line 2: person #2 has changed since the page was made"),
        (HEADER + "name,1,1,Anna,\nname,2,11,Anna,\n", "line 3: Anna: is the name of another person"),
        (HEADER + "birth,1,1,1906-02-30,\n", "line 2: "),
    ],
)
def test_a_file_with_a_fault_changes_nothing(library: Path, lines: str, cause: str) -> None:
    with pytest.raises(UsageError, match=cause), changing(library) as connection:
        correct_persons(connection, read_corrections(lines.splitlines(), "a.csv"), "a.csv")
    with changing(library, dry_run=True) as connection:
        assert [row.name for row in list_persons(connection)] == [None, "Eileen", None]


def test_a_face_that_is_taken_out_twice_counts_once(library: Path) -> None:
    with changing(library) as connection:
        lines = HEADER + "apart,1,1,,2\n" * 2
        done = correct_persons(connection, read_corrections(lines.splitlines(), "a.csv"), "a.csv")
        assert done.faces_apart == 1
        assert list_persons(connection)[0].faces == 9


def test_two_persons_swap_their_names(library: Path) -> None:
    with changing(library) as connection:
        name_person(connection, 1, "Grace")
        lines = HEADER + "name,1,1,Eileen,\nname,2,11,Grace,\n"
        correct_persons(connection, read_corrections(lines.splitlines(), "a.csv"), "a.csv")
        assert [row.name for row in list_persons(connection)] == ["Eileen", "Grace", None]

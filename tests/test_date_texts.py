"""What is read of a date's text, what dates are as texts, and which ones nobody believes."""

from __future__ import annotations

from datetime import date

import pytest

from photoage.photos.date_text import parse_date
from photoage.photos.dates import believable
from photoage.records import PhotoDate

SECOND = "2012-03-04T10:11:12"

TEXTS = {
    "2012:03:04 10:11:12": SECOND,
    "2012:03:04 10:11:12\0\0": SECOND,
    "2012:03:04 10:11:12.345": SECOND,
    "2012-03-04T10:11:12.5+02:00": SECOND,
    "2012-03-04T10:11:12Z": SECOND,
    "2012-03-04T10:11": "2012-03-04T10:11",
    "2012/03/04 10:11:12": SECOND,
    "20120304 101112": SECOND,
    "20120304101112": SECOND,
    "Sun, 4 Mar 2012 10:11:12 +0100": SECOND,
    "Sun Mar  4 10:11:12 2012": SECOND,
    "2019:01:01 24:04:20": "2019-01-01T00:04:20",
    "2012:06:30 23:59:60": "2012-06-30T23:59:59",
    "2012: 3: 4 10: 1: 2": "2012-03-04T10:01:02",
    "2012:03:04 10:11:12 PM": "2012-03-04T22:11:12",
    "2012:03:04 下午10:11:12": "2012-03-04T22:11:12",
    "٢٠١٢:٠٣:٠٤ ١٠:١١:١٢": SECOND,
    "2012年03月04日 10:11:12": SECOND,
    "2012:03:04": "2012-03-04",
    "2012:03:04   :  :  ": "2012-03-04",
    "2012:03:04 25:00:00": "2012-03-04",
    "20120304": "2012-03-04",
    "1993:08:   :  :  ": "1993-08",
    "1984:06:00 00:00:00": "1984-06",
    "1984:06:00": "1984-06",
    "19840600": "1984-06",
    "2012:02:30 10:00:00": "2012-02",
    "1984:00:00": "1984",
    "2012:13:04 10:11:12": "2012",
    "1962": "1962",
    "    :  :     :  :  ": None,
    "0000:00:00 00:00:00": None,
    "12:03:04 10:11:12": None,
    "1234567890": None,
    "circa 1984": None,
    "": None,
}  # fmt: skip


@pytest.mark.parametrize("text", TEXTS)
def test_a_text_tells_as_much_of_a_date_as_it_holds(text: str) -> None:
    for value in (text, text.encode()):
        found = parse_date(value)
        assert (None if found is None else str(found)) == TEXTS[text]


def test_dates_are_texts_that_sort_by_time_and_come_back() -> None:
    texts = [
        "1983-12-31",
        "1984",
        "1984-02",
        "1984-02-01",
        "1984-02-01T10:00",
        "1984-02-01T10:00:01",
        "1984-03",
    ]
    assert [str(PhotoDate.parse(text)) for text in texts] == sorted(texts) == texts
    for wrong in ("84", "1984-13", "1984-02-30", "1984-02-01T10", "1984-2", "0000", "1984-02-01T24:00:00"):
        with pytest.raises(ValueError, match=r"."):
            PhotoDate.parse(wrong)
    with pytest.raises(ValueError, match="gap"):
        PhotoDate(1984, None, 3)


@pytest.mark.parametrize(
    "text",
    [
        "1970-01-01", "1970-01-01T01:00:00", "1980-01-01T00:03:00",
        "2000-01-01T00:00:00", "2001-01-01T00:00:00", "2015-01-01T00:00:00",
        "2002-12-08T12:00:00", "1969-12-31T19:00:00", "1825-12-31", "2026-03-06",
        "2027", "2099-01-01T00:00:00",
        "2000-01-01T00:00",
    ],
)  # fmt: skip
def test_dates_that_clocks_invent_are_not_believed(text: str) -> None:
    assert not believable(PhotoDate.parse(text), date(2026, 3, 4))


@pytest.mark.parametrize(
    "text",
    [
        "1970",
        "1970-01",
        "1970-01-02",
        "1980",
        "2000-01-01T00:00:01",
        "2000-01-01",
        "1826",
        "2026",
        "2026-03-05",
    ],
)
def test_dates_that_are_only_near_them_are_believed(text: str) -> None:
    assert believable(PhotoDate.parse(text), date(2026, 3, 4))

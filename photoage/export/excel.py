"""CSV as Excel and other spreadsheet programs open it by a double click: by the system's own habits."""

from __future__ import annotations

import locale
import os
import re
from collections.abc import Mapping

from photoage.export.writers import CsvStyle

BYTE_ORDER_MARK = "\ufeff"  # without it Excel does not take the text for UTF-8

# Where the system does not have the locale that the environment names: languages that write 1,5, and the
# places where they write 1.5 (Unicode CLDR).
_COMMA_LANGUAGES = (
    "af az be bg bs ca cs da de el es et eu fi fo fr gl hr hu hy id is it ka kk ky lt lv mk nb nl nn no pl pt"
    " ro ru sk sl sq sr sv tr uk uz vi"
)
_POINT_PLACES = "de_CH de_LI es_DO es_GT es_HN es_MX es_NI es_PA es_PE es_PR es_SV es_US it_CH"
_NAME = re.compile(r"([a-z]{2,3})(?:_([A-Z]{2}))?(?:[.@].*)?")


def excel_style(environment: Mapping[str, str] = os.environ) -> CsvStyle:
    """Where the locale's decimal separator is a comma, 1,5;2,5 in place of 1.5,2.5."""
    if _decimal_separator(environment) == ",":
        return CsvStyle(";", ",", BYTE_ORDER_MARK)
    return CsvStyle(begin=BYTE_ORDER_MARK)


def _decimal_separator(environment: Mapping[str, str]) -> str:
    """That of LC_ALL, LC_NUMERIC or LANG, else of the system's settings (Windows, macOS)."""
    name = next((value for key in ("LC_ALL", "LC_NUMERIC", "LANG") if (value := environment.get(key))), "")
    match = _NAME.fullmatch(name)
    before = locale.setlocale(locale.LC_NUMERIC)
    try:
        locale.setlocale(locale.LC_NUMERIC, name)
        return str(locale.localeconv()["decimal_point"])
    except locale.Error:
        if match is None:
            return "."
        place = f"{match[1]}_{match[2]}"
        return "," if match[1] in _COMMA_LANGUAGES.split() and place not in _POINT_PLACES.split() else "."
    finally:
        locale.setlocale(locale.LC_NUMERIC, before)

"""The tables of docs/model_card.md and docs/ages.md, in Markdown, from what `photoage evaluate` measured.

photoage evaluate --data ... --albums --json > figures.json
python scripts/accuracy_tables.py figures.json
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

FIGURES = (("mae", ".2f"), ("cs5", ".1f"), ("bias", "+.2f"), ("coverage", ".1f"), ("width", ".1f"))
HEADS = ("", "count", "MAE (years)", "CS@5 (%)", "bias (years)", "coverage (%)", "interval width (years)")


def tables(report: dict[str, Any]) -> Iterator[str]:
    """All tables of a report as `photoage evaluate --json` prints it."""
    groups = [("all faces", report)]
    groups += [(f"ages {name}", row) for name, row in report["by_age"].items()]
    groups += [(f"gender {code}", row) for code, row in report["by_gender"].items()]
    groups += [(f"ethnicity {code}", row) for code, row in report["by_ethnicity"].items()]
    groups += list(report.get("by_colour", {}).items())
    groups += [(f"secondary: {name}", row) for name, row in report["secondary"].items()]
    yield table(HEADS, [_figures(name, row) for name, row in groups if row["count"]])
    for name, own in report["by_set"].items():
        parts = {**{f"ages {age}": row for age, row in own["by_age"].items()}, **own.get("by_colour", {})}
        yield table(
            (name, *HEADS[1:]),
            [_figures("all ages", own), *(_figures(n, row) for n, row in parts.items() if row["count"])],
        )
    if "copies" in report:
        heads = (
            "copies",
            *(f"{group}: {kind}" for group in ("all", "minors") for kind in ("move", "absolute")),
        )
        yield table(
            heads,
            (
                (kind, *(_number(groups[g][k], "+.2f" if k == "move" else ".2f") for g, k in _MOVES))
                for kind, groups in report["copies"].items()
            ),
        )
    for name in dict.fromkeys(entry["set"] for entry in report.get("chances", [])):
        entries = [entry for entry in report["chances"] if entry["set"] == name]
        chances = list(dict.fromkeys(entry["prob"] for entry in entries))
        heads = (name, *("by the estimate" if chance is None else f"--prob {chance:g}" for chance in chances))
        yield table(heads, _chances(entries))


_MOVES = [(group, key) for group in ("all", "minors") for key in ("move", "absolute")]


def _chances(entries: list[dict[str, Any]]) -> Iterator[tuple[str, ...]]:
    """Precision / recall of each question, a column for each chance."""
    for question in dict.fromkeys(entry["question"] for entry in entries):
        cells = [
            f"{_number(entry['precision'], '.0f')} / {_number(entry['recall'], '.0f')}"
            for entry in entries
            if entry["question"] == question
        ]
        yield (f"`{question}`", *cells)


def _figures(name: str, row: dict[str, Any]) -> tuple[str, ...]:
    return (name, str(row["count"]), *(_number(row[key], spec) for key, spec in FIGURES))


def _number(value: float | None, spec: str) -> str:
    return "-" if value is None else format(value, spec)


def table(heads: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    heads = list(heads)
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


if __name__ == "__main__":
    print("\n".join(tables(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))))

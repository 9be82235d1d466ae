"""`photoage report`: the faces that match, as a page to look at."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import click

from photoage.cli.context import Context, global_options
from photoage.cli.options import face_filter
from photoage.cli.page_file import cutting_progress, is_streamed, page_file, page_options, show_page

if TYPE_CHECKING:
    from photoage.database.face_filter import FaceFilter

MOST = 20_000  # faces of a page, 44 MB, unless the user wants more


@click.command()
@page_options
@click.option(
    "--all", "everything", is_flag=True, help=f"More than {MOST:,} faces, which few browsers show, too."
)
@face_filter
@global_options
def report(
    context: Context,
    output: str,
    opened: bool,
    workers: int | None,
    everything: bool,
    faces: FaceFilter,
) -> None:
    """Write the matching faces, all by default, to one HTML page with their pictures.

    The page has counts, the ages by number and over time, and a gallery of the faces with links to
    their photos, which a slider of ages, the date and the folder narrow down. It holds all it needs
    and loads nothing. A face whose photo is gone or has changed is shown without a picture. Of more
    than 20,000 faces, the first 20,000 are shown, unless --all or --limit says otherwise.

    The file appears only when it is complete.

    \b
    Example:
      photoage report -o report.html --open
      photoage report --year 2012-2015 --min-score 0.6 -o children.html --max-age 12
    """
    streamed = is_streamed(output, opened)
    from photoage.database.query import count_faces
    from photoage.export.report.build import write_report

    with context.reading() as engine:
        number = count_faces(engine, faces)
        if number > MOST and faces.limit is None and not everything:
            context.warn(
                f"the page has the first {MOST:,} of {number:,} faces, in the order of --sort: few browsers"
                " show more; --all takes all, --limit another number"
            )
            number, faces = MOST, replace(faces, limit=MOST)
        with cutting_progress(context) as progress, page_file(output) as file:
            summary = write_report(
                engine, faces, file, workers=workers, progress=lambda done: progress(done, number)
            )
    if not streamed:
        context.say(f"wrote {output}")
    if summary.without_picture:
        context.say(
            f"{summary.without_picture} of {summary.faces} faces have no picture: their photos are gone, "
            "changed or unreadable; the page says why"
        )
    if opened:
        show_page(context, output)

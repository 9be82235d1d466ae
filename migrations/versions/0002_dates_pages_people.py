"""Ids of 64 bits; sources of dates, pages, quality of faces; persons, and where an estimate comes from."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

# PostgreSQL uses up an id with every attempt to insert a row that is there already; SQLite's have 64 bits.
IDS = {
    "detector": ("id",),
    "checkpoint": ("id",),
    "scan_run": ("id", "detector_id", "checkpoint_id"),
    "photo": ("id", "detector_id", "scan_run_id"),
    "face": ("id", "photo_id"),
    "estimate": ("id", "face_id", "checkpoint_id"),
}
ID = sa.BigInteger().with_variant(sa.Integer, "sqlite")
PLAIN_TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")

# The columns of `photoage query --csv`, for sqlite3 and Datasette.
FACES_VIEW = """
CREATE VIEW faces_view AS
SELECT photo.path AS path, face.face_index AS face_index,
       estimate.age AS age, estimate.age_low AS age_low, estimate.age_high AS age_high,
       face.det_score AS det_score, face.x1 AS x1, face.y1 AS y1, face.x2 AS x2, face.y2 AS y2,
       {width} AS photo_width, {height} AS photo_height,
       photo.taken_at AS taken_at, photo.scanned_at AS scanned_at,
       detector.name AS detector, checkpoint.name AS checkpoint,
       photo.date_source AS date_source, COALESCE(person.name, '#' || person.id) AS person,
       estimate.age_source AS age_source, face.page AS page
FROM estimate
JOIN face ON face.id = estimate.face_id
JOIN photo ON photo.id = face.photo_id
JOIN checkpoint ON checkpoint.id = estimate.checkpoint_id
LEFT JOIN detector ON detector.id = photo.detector_id
LEFT JOIN person_face ON person_face.face_id = face.id
LEFT JOIN person ON person.id = person_face.person_id
WHERE {current}
"""


def upgrade() -> None:
    is_sqlite = op.get_bind().dialect.name == "sqlite"
    op.execute("DROP VIEW faces_view")
    if not is_sqlite:
        for table, columns in IDS.items():
            for column in columns:
                op.alter_column(table, column, type_=sa.BigInteger)
            op.execute(f"ALTER SEQUENCE {table}_id_seq AS bigint")

    # Dates.
    op.add_column("photo", sa.Column("date_source", sa.Text))
    op.execute("UPDATE photo SET date_source = 'exif' WHERE taken_at IS NOT NULL")
    # NULL: the next scan dates the photo anew.
    op.add_column("photo", sa.Column("sidecars", PLAIN_TEXT))
    op.add_column("scan_run", sa.Column("redated", sa.Integer, nullable=False, server_default="0"))

    # Pages and turns.
    op.add_column("photo", sa.Column("pages", sa.JSON))
    op.add_column("photo", sa.Column("turn", sa.Integer, nullable=False, server_default="0"))
    op.drop_index("ix_photo_unreadable", "photo")
    faulty = sa.text("error_kind IS NOT NULL")  # those of which only a part could be read, too
    op.create_index("ix_photo_error", "photo", ["path"], sqlite_where=faulty, postgresql_where=faulty)
    op.add_column("face", sa.Column("page", sa.Integer, nullable=False, server_default="1"))

    # Quality of faces.
    op.add_column("face", sa.Column("sharpness", sa.Double))
    op.add_column("face", sa.Column("yaw", sa.Double))

    # Estimates: where they come from, and what their chances are taken from.
    op.add_column("checkpoint", sa.Column("residuals", sa.JSON))
    op.add_column("estimate", sa.Column("stratum", sa.Integer, nullable=False, server_default="0"))
    op.add_column("estimate", sa.Column("age_source", sa.Text, nullable=False, server_default="face"))
    op.add_column("estimate", sa.Column("latest", sa.Boolean, nullable=False, server_default=sa.false()))
    op.execute("UPDATE estimate SET latest = current")
    with op.batch_alter_table("estimate") as estimate:
        estimate.drop_constraint("uq_estimate_face_id", type_="unique")
        estimate.create_unique_constraint("uq_estimate_face_id", ["face_id", "checkpoint_id", "age_source"])
    latest = sa.text("latest = 1" if is_sqlite else "latest")
    op.create_index("ix_estimate_latest", "estimate", ["age"], sqlite_where=latest, postgresql_where=latest)

    # Persons.
    op.create_table(
        "recogniser",
        sa.Column("id", ID, nullable=False),
        sa.Column("name", PLAIN_TEXT, nullable=False),
        sa.Column("sha256", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_recogniser"),
        sa.UniqueConstraint("sha256", name="uq_recogniser_sha256"),
    )
    op.create_table(
        "embedding",
        sa.Column("face_id", ID, nullable=False),
        sa.Column("recogniser_id", ID, nullable=False),
        sa.Column("vector", sa.LargeBinary, nullable=False),
        sa.Column("grouped", sa.Boolean, nullable=False),
        sa.PrimaryKeyConstraint("face_id", name="pk_embedding"),
        sa.ForeignKeyConstraint(["face_id"], ["face.id"], name="fk_embedding_face_id", ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["recogniser_id"], ["recogniser.id"], name="fk_embedding_recogniser_id"),
    )
    op.create_table(
        "person",
        sa.Column("id", ID, nullable=False),
        sa.Column("name", PLAIN_TEXT),
        sa.Column("birth_date", PLAIN_TEXT),
        sa.Column("fitted_birth", PLAIN_TEXT),
        sa.Column("fitted_low", PLAIN_TEXT),
        sa.Column("fitted_high", PLAIN_TEXT),
        sa.Column("fitted_faces", sa.Text),
        sa.Column("unfitted", sa.Text),
        sa.PrimaryKeyConstraint("id", name="pk_person"),
        sa.UniqueConstraint("name", name="uq_person_name"),
    )
    op.create_table(
        "person_face",
        sa.Column("face_id", ID, nullable=False),
        sa.Column("person_id", ID, nullable=False),
        sa.Column("source", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("face_id", name="pk_person_face"),
        sa.ForeignKeyConstraint(["face_id"], ["face.id"], name="fk_person_face_face_id", ondelete="CASCADE"),
        sa.ForeignKeyConstraint(
            ["person_id"], ["person.id"], name="fk_person_face_person_id", ondelete="CASCADE"
        ),
        sa.CheckConstraint("source IN ('found', 'user', 'import')", name=op.f("ck_person_face_source")),
    )
    op.create_index("ix_person_face_person_id", "person_face", ["person_id"])
    op.create_table(
        "person_apart",
        sa.Column("face_id", ID, nullable=False),
        sa.Column("person_id", ID, nullable=False),
        sa.PrimaryKeyConstraint("face_id", "person_id", name="pk_person_apart"),
        sa.ForeignKeyConstraint(["face_id"], ["face.id"], name="fk_person_apart_face_id", ondelete="CASCADE"),
        sa.ForeignKeyConstraint(
            ["person_id"], ["person.id"], name="fk_person_apart_person_id", ondelete="CASCADE"
        ),
    )
    op.execute(
        FACES_VIEW.format(
            current="estimate.current = 1" if is_sqlite else "estimate.current",
            width=_of_page("width", 0, is_sqlite),
            height=_of_page("height", 1, is_sqlite),
        )
    )


def _of_page(column: str, place: int, is_sqlite: bool) -> str:
    """A size of the page that a face is on; files of one page have no list of them."""
    path = f"json_extract(photo.pages, '$[' || (face.page - 1) || '][{place}]')"
    found = path if is_sqlite else f"CAST(photo.pages -> (face.page - 1) ->> {place} AS INTEGER)"
    return f"COALESCE({found}, photo.{column})"


def downgrade() -> None:
    raise NotImplementedError("photoage upgrades databases only; `photoage db backup` keeps the old one")

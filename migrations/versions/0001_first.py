"""The first schema."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

COUNTS = (
    "photos_seen",
    "unchanged",
    "done",
    "unreadable",
    "missing",
    "relinked",
    "duplicates",
    "re_estimated",
    "faces",
)

# The columns of `photoage query --csv`, for sqlite3 and Datasette.
FACES_VIEW = """
CREATE VIEW faces_view AS
SELECT photo.path AS path, face.face_index AS face_index,
       estimate.age AS age, estimate.age_low AS age_low, estimate.age_high AS age_high,
       face.det_score AS det_score, face.x1 AS x1, face.y1 AS y1, face.x2 AS x2, face.y2 AS y2,
       photo.width AS photo_width, photo.height AS photo_height,
       photo.taken_at AS taken_at, photo.scanned_at AS scanned_at,
       detector.name AS detector, checkpoint.name AS checkpoint
FROM estimate
JOIN face ON face.id = estimate.face_id
JOIN photo ON photo.id = face.photo_id
JOIN checkpoint ON checkpoint.id = estimate.checkpoint_id
LEFT JOIN detector ON detector.id = photo.detector_id
WHERE {current}
"""


def upgrade() -> None:
    # A partial index serves only queries that repeat its condition in the same words.
    current = "estimate.current = 1" if op.get_bind().dialect.name == "sqlite" else "estimate.current"
    plain_text = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
    for table in ("detector", "checkpoint"):
        op.create_table(
            table,
            sa.Column("id", sa.Integer, nullable=False),
            sa.Column("name", plain_text, nullable=False),
            sa.Column("sha256", sa.Text, nullable=False),
            sa.PrimaryKeyConstraint("id", name=f"pk_{table}"),
            sa.UniqueConstraint("sha256", name=f"uq_{table}_sha256"),
        )
    op.create_table(
        "scan_run",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("started_at", plain_text, nullable=False),
        sa.Column("finished_at", plain_text),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("roots", sa.JSON, nullable=False),
        sa.Column("options", sa.JSON, nullable=False),
        sa.Column("detector_id", sa.Integer, nullable=False),
        sa.Column("checkpoint_id", sa.Integer, nullable=False),
        sa.Column("version", sa.Text, nullable=False),
        *(sa.Column(name, sa.Integer, nullable=False) for name in COUNTS),
        sa.PrimaryKeyConstraint("id", name="pk_scan_run"),
        sa.ForeignKeyConstraint(["detector_id"], ["detector.id"], name="fk_scan_run_detector_id"),
        sa.ForeignKeyConstraint(["checkpoint_id"], ["checkpoint.id"], name="fk_scan_run_checkpoint_id"),
        sa.CheckConstraint(
            "status IN ('running', 'finished', 'interrupted', 'failed')", name=op.f("ck_scan_run_status")
        ),
    )
    op.create_table(
        "photo",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("path", plain_text, nullable=False),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.Column("mtime_ns", sa.BigInteger, nullable=False),
        sa.Column("content_hash", sa.Text),
        sa.Column("width", sa.Integer),
        sa.Column("height", sa.Integer),
        sa.Column("taken_at", plain_text),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("error_kind", sa.Text),
        sa.Column("error_message", sa.Text),
        sa.Column("detector_id", sa.Integer),
        sa.Column("detect_key", sa.Text),
        sa.Column("scan_run_id", sa.Integer, nullable=False),
        sa.Column("scanned_at", plain_text, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_photo"),
        sa.UniqueConstraint("path", name="uq_photo_path"),
        sa.ForeignKeyConstraint(["detector_id"], ["detector.id"], name="fk_photo_detector_id"),
        sa.ForeignKeyConstraint(["scan_run_id"], ["scan_run.id"], name="fk_photo_scan_run_id"),
        sa.CheckConstraint("status IN ('done', 'unreadable', 'missing')", name=op.f("ck_photo_status")),
    )
    op.create_table(
        "face",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("photo_id", sa.Integer, nullable=False),
        sa.Column("face_index", sa.Integer, nullable=False),
        *(sa.Column(name, sa.Double, nullable=False) for name in ("x1", "y1", "x2", "y2", "det_score")),
        sa.Column("landmarks", sa.JSON, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_face"),
        sa.UniqueConstraint("photo_id", "face_index", name="uq_face_photo_id"),
        sa.ForeignKeyConstraint(["photo_id"], ["photo.id"], name="fk_face_photo_id", ondelete="CASCADE"),
    )
    op.create_table(
        "estimate",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("face_id", sa.Integer, nullable=False),
        sa.Column("checkpoint_id", sa.Integer, nullable=False),
        *(sa.Column(name, sa.Double, nullable=False) for name in ("age", "age_low", "age_high")),
        sa.Column("current", sa.Boolean, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_estimate"),
        sa.UniqueConstraint("face_id", "checkpoint_id", name="uq_estimate_face_id"),
        sa.ForeignKeyConstraint(["face_id"], ["face.id"], name="fk_estimate_face_id", ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["checkpoint_id"], ["checkpoint.id"], name="fk_estimate_checkpoint_id"),
    )
    _index("ix_photo_size", "photo", ["size"], "content_hash IS NOT NULL")
    _index("ix_photo_content_hash", "photo", ["content_hash"])
    _index("ix_photo_taken_at", "photo", ["taken_at"])
    _index("ix_photo_unreadable", "photo", ["path"], "status = 'unreadable'")
    _index("uq_estimate_current", "estimate", ["face_id"], current.removeprefix("estimate."), unique=True)
    _index("ix_estimate_age", "estimate", ["age"], current.removeprefix("estimate."))
    op.execute(FACES_VIEW.format(current=current))


def downgrade() -> None:
    op.execute("DROP VIEW faces_view")
    for table in ("estimate", "face", "photo", "scan_run", "checkpoint", "detector"):
        op.drop_table(table)


def _index(name: str, table: str, columns: list[str], where: str | None = None, unique: bool = False) -> None:
    condition = None if where is None else sa.text(where)
    op.create_index(name, table, columns, unique=unique, sqlite_where=condition, postgresql_where=condition)

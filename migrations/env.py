"""Alembic environment. `photoage.database.connect.upgrade` hands over an open connection and commits it."""

from alembic import context

from photoage.database.tables import Base

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    render_as_batch=True,  # SQLite changes a table by copying it
)
context.run_migrations()

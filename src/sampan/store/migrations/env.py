"""How alembic reaches the database: over the connection that `database.upgrade` hands it."""

from alembic import context

context.configure(connection=context.config.attributes["connection"], transaction_per_migration=True)
with context.begin_transaction():
    context.run_migrations()

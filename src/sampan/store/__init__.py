"""Durable rows: the database, its transactions and its migrations. What the rows mean is for their owners.

A call enters at `database.migrate`, once, before anything else; then `Database.read` and `Database.write`.
"""

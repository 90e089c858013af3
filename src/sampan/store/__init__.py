"""Durable rows: the database and its migrations."""

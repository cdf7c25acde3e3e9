"""The database, SQLite or PostgreSQL: load, save and append; no rules."""

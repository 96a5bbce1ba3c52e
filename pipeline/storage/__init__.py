"""Durable storage shared by ledger, workspace and server: files, filesystems, SQLite, group commit."""

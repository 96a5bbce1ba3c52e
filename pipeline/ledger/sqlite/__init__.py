"""The ledgers of one machine: an SQLite file per key."""

"""The ledgers of many machines: one PostgreSQL database."""

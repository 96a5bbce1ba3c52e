"""Processes that own an engine each, and may die without the server."""

"""Decisions as pure functions: values in, value out; no I/O, no clock, no randomness of their own."""

"""Pixels to text in reading order; no HTTP."""

"""Pixels to text in reading order; no HTTP. `engine.py` shows the stages in their order."""

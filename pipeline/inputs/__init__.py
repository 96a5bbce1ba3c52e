"""Finds the pages of the INPUTs, and prepares the bytes to send."""

"""Real limiters in front of pagemill and of two scripts, as people write them; see `__main__.py`."""

"""Exports of a workspace's texts: one module a format, each a writer of the units that `base` plans."""

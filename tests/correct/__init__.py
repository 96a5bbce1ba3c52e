"""Tests of `pipeline.correct`."""

"""Who watches a run: Prometheus, a monitor of cron jobs, a command at its end."""

from pipeline.observers.chosen import choose_observers

__all__ = ["choose_observers"]

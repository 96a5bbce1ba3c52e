"""Worker processes: how a process of this package is started."""

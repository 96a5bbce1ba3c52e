"""Child processes: how a module of this package is started in a process of its own."""

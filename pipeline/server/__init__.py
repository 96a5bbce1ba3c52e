"""The text-recognition API on this machine: layers `serve`, `api`, `access`, `http` and `workers`."""

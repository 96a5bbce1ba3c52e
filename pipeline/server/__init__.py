"""The text-recognition API on your own machine: `api`, `access` and `http` down to `workers` and `engine`."""

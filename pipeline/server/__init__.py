"""The text-recognition API on your own machine: `api` → `access` → `http` → `workers` → `engine`, from HTTP down to pixels."""

"""Which pages there are, and how a file becomes bytes that the API accepts."""

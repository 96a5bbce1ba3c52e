"""Worker processes: each has an engine of its own and can crash without ending the server."""

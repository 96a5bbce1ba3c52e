"""The text-recognition API by its contract, and the page to try it."""

"""The text-recognition API by its contract, and the page for trying it in a browser."""

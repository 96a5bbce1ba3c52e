"""From pixels to text in reading order."""

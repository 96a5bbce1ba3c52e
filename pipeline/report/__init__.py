"""The overview of a workspace, as numbers and as pictures."""

"""Work that is divided among workspaces, and joined again."""

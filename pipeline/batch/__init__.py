"""One run: files to pages, pages to attempts, attempts to records; joins all other packages."""

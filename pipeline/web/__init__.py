"""What the server's page and the review report share: style, scripts, and how they are put together."""

"""Authentication by key or session, quotas per month and rate limits per key."""

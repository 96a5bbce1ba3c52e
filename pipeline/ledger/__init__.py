"""The durable count of calls per API key."""

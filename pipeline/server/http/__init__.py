"""HTTP for untrusted clients: bounds, error responses, metrics, and fetching URLs safely. Knows no API route."""

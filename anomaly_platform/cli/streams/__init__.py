"""Commands about streams and their data."""

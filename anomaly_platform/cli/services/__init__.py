"""Commands that run services in the foreground."""

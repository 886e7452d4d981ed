"""The EMS: `core` (HTTP), `database` (its tables), `client` chooses one of them, `pull` fetches."""

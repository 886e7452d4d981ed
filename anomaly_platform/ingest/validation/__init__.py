"""From the raw rows of a day to its validated events."""

"""Upkeep while the platform runs: pruning, housekeeping, the process of a training."""

"""The champions in memory: loaded, verified, warmed, swapped, within a budget."""

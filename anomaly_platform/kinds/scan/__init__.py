"""The kind ``scan``: scans of goods, which train together, by rules and learned detectors."""

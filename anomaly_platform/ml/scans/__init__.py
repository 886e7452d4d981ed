"""Scans: fusion of the detectors, explanations, the response, bundles of a set."""

"""Bundles: the models of a stream as one verified directory."""

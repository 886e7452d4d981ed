"""Attacks on the platform, each of which once went through or must never."""

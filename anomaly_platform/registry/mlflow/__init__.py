"""Mirrors the registry to MLflow: runs, versions, aliases and their pages.

The platform's own tables are the truth; nothing here is asked when a model is chosen.
"""

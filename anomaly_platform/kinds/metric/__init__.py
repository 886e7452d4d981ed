"""The kind ``metric``: readings of entities, a model for each series."""

"""MLflow's copy of the registry: what is to be told, and how it is told.

The platform's own tables are the truth; nothing here is asked when a model is chosen.
"""

"""Health checks: of the service, of the systems beside it, and of the pipeline.

What the checks ask the tables does not belong here (``queries``).
"""

"""HTTP itself: limits, problem documents, cursors, idempotency, middleware.

What a route answers does not belong here.
"""

"""HTTP itself: limits on requests, cursors, idempotency, the OpenAPI document, middleware.

What a route answers does not belong here.
"""

"""The operator's console: pages under ``/console``, in the API's process.

Belongs here: who is logged in, what a page shows, and what its buttons do. What pages know comes
from ``queries``, and what buttons change goes the way that the API's routes and the commands take;
there is no SQL in here.
"""

"""Imported last by the process from which ``anomaly api`` forks its workers.

What that process has imported, its workers share: two workers take little more memory than one, and
none has to import what judges its first request. Workers hold open the pipe by which a fork server
hears of its service's end, so this process asks the kernel to end it with the service, and each
worker to end with this process. A signal to all of the service's processes leaves it alone, since
the service hears from it when a worker has ended.
"""

import gc
import os
import signal

import anomaly_platform.ml.scans.scoring
import anomaly_platform.ml.scoring.batch
import anomaly_platform.ml.scoring.checking
import anomaly_platform.realtime.append_path  # noqa: F401 - for the workers
from anomaly_platform.parent_death import end_with_parent
from anomaly_platform.serving.metrics.requests import worker_ended


def _begin_worker() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    # At once: until a worker serves it imports what the service is, and may lose its parent.
    end_with_parent(signal.SIGTERM)


# The parent is the service's main thread.
end_with_parent(signal.SIGKILL)
# It counts nothing itself.
worker_ended()
signal.signal(signal.SIGTERM, signal.SIG_IGN)
os.register_at_fork(after_in_child=_begin_worker)
# Whoever looks for garbage would write into all that is shared.
gc.collect()
gc.freeze()

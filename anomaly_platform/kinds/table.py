"""Which kind a stream is of."""

from collections.abc import Callable
from typing import Any

from anomaly_platform.kinds.base import StreamKind
from anomaly_platform.kinds.metric.kind import MetricKind
from anomaly_platform.kinds.parts import Parts
from anomaly_platform.kinds.scan.kind import ScanKind
from anomaly_platform.streams import MetricStream, ScanStream, Stream

KINDS: dict[type[Stream], type[StreamKind[Any]]] = {MetricStream: MetricKind, ScanStream: ScanKind}


def kind_of(stream: Stream, open_parts: Callable[[], Parts[Any]]) -> StreamKind[Any]:
    """Return the kind of a stream, as one object over what it works with.

    Raises
    ------
    KeyError
        When there is no such kind.
    """
    return KINDS[type(stream)](stream, open_parts)

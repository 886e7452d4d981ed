"""Scored rows of a day: replaced as a whole, or not at all.

Two tables hold them, one for each kind of stream, partitioned by stream: ``scored_metrics`` and
``scored_scans``; the partition of a stream is ``scored_<stream>``. Flagged rows are in
``anomaly_detections`` as well. How a score comes about does not belong here (``ml.scoring``,
``ml.scans``), nor do verdicts given in real time, which are never rewritten.
"""

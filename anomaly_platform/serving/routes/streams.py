"""Which stream stands behind which routes."""

from __future__ import annotations

from typing import Final

DEVICES: Final = "iiot"
"""Stream of ``/api/v1/ml``: the metrics of devices."""

ASSETS: Final = "ems"
"""Stream of ``/api/v1/anomaly`` and ``/api/v1/metrics``: those of networks and hosts."""

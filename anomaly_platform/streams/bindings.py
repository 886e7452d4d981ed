"""The streams that stand behind routes and sources made for one stream.

Whoever needs one of these streams by name takes it from here.
"""

from typing import Final

from anomaly_platform.streams.barcode import BARCODE
from anomaly_platform.streams.ems import EMS
from anomaly_platform.streams.iiot import IIOT

DEVICES: Final = IIOT.name
"""``/api/v1/ml`` and ``/api/v1/telemetry``: the metrics of devices."""

ASSETS: Final = EMS.name
"""``/api/v1/anomaly`` and ``/api/v1/metrics``: the metrics of networks and hosts."""

SCANS: Final = BARCODE.name
"""``/api/v1/barcode``: scans of goods."""

MQTT_TELEMETRY: Final = IIOT.name
"""Readings that devices publish to the MQTT broker."""

EMS_PULL: Final = EMS.name
"""Metrics that are fetched from the EMS."""

EMS_CHANNEL: Final = EMS.name
"""Anomalies that become events and alerts in the EMS, which knows the assets of no other stream."""

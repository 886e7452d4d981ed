"""Routes and sources are bound to streams of the kind that they need."""

from __future__ import annotations

from anomaly_platform.streams import BUILT_IN, bindings, metric_streams, scan_streams


def test_bindings_name_built_in_streams_of_their_kind() -> None:
    readings = {
        bindings.DEVICES,
        bindings.ASSETS,
        bindings.MQTT_TELEMETRY,
        bindings.EMS_PULL,
        bindings.EMS_CHANNEL,
    }
    assert readings <= set(metric_streams(BUILT_IN))
    assert bindings.SCANS in scan_streams(BUILT_IN)

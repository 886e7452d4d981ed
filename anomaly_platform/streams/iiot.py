"""The stream ``iiot``: telemetry of industrial devices."""

from anomaly_platform.streams.base import MetricStream

IIOT = MetricStream(
    name="iiot",
    title="Industrial telemetry",
    description="Readings of industrial devices: one model per device and metric.",
    entity_field="device_id",
    # A plant has thousands of readings an hour: one false alarm in a hundred is noise nobody
    # answers, so this stream allows one in a thousand.
    alpha=0.001,
)

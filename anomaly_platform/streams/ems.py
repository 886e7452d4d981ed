"""The stream ``ems``: metrics of networks and hosts, pulled from an EMS or dropped as files."""

from anomaly_platform.streams.base import MetricStream

EMS = MetricStream(
    name="ems",
    title="Network and host metrics",
    description="Metrics of network and host assets: one model per asset and metric.",
    entity_field="asset_id",
)

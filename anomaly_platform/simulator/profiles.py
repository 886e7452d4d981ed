"""The physics of the simulated metrics: what each one reads on a quiet day, as a table.

What belongs here: one :class:`MetricProfile` per metric of a stream and the load curves that
drive them. What does not: how arrays are made of it (signals), which rows are missing (fleet).
Levels and gains are in the metric's own unit; a device's own deviation from them is drawn once per
device from its name, so that every seed sees the same devices.
"""

from dataclasses import dataclass
from typing import Literal, TypeAlias

LoadCurve: TypeAlias = Literal["office", "shifts"]
Shape: TypeAlias = Literal["gauge", "count", "sawtooth"]


@dataclass(frozen=True, slots=True)
class Job:
    """Something that runs regularly and is therefore no anomaly.

    Attributes
    ----------
    hour : float
        Hour of the day (UTC) at which it starts, in [0, 24).
    minutes : float
        How long it takes.
    gain : float
        What it adds to the metric at its height.
    weekday : int or None
        0 = Monday; None runs daily.
    share : float
        Share of the devices that have it, in [0, 1].
    """

    hour: float
    minutes: float
    gain: float
    weekday: int | None = None
    share: float = 1.0


@dataclass(frozen=True, slots=True)
class MetricProfile:
    """What one metric reads on a quiet day.

    Attributes
    ----------
    metric : str
        Name; the unit stands beside it as a comment.
    level : float
        Reading of an idle device.
    load_gain : float
        What full load adds.
    ambient_gain : float
        Half of the swing that follows the time of day by itself (warmest in the afternoon).
    noise : float
        Standard deviation of the noise.
    memory : float
        Correlation of the noise over five minutes, in [0, 1).
    slow : float
        Half of the swing of a slow change over one to four months.
    spread : float
        Relative standard deviation of level and gain between devices.
    bounds : tuple of float
        What the metric can physically read.
    decimals : int
        Digits after the point that the sensor reports.
    shape : str
        ``gauge``; ``count`` draws whole events at the rate that the rest describes; ``sawtooth``
        fills up and is emptied about once a week.
    jobs : tuple of Job
        Regular jobs that show in the metric.
    """

    metric: str
    level: float
    load_gain: float
    noise: float
    bounds: tuple[float, float]
    ambient_gain: float = 0.0
    memory: float = 0.8
    slow: float = 0.0
    spread: float = 0.08
    decimals: int = 2
    shape: Shape = "gauge"
    jobs: tuple[Job, ...] = ()


@dataclass(frozen=True, slots=True)
class StreamProfile:
    """A simulated stream: its external names and its metrics.

    Attributes
    ----------
    stream : str
        Name of the stream, and stem of the files written.
    entity_field : str
        External column name of the entity.
    entity_pattern : str
        Format of an entity's name with the field ``number``.
    load : str
        Which curve drives the load.
    metrics : tuple of MetricProfile
        Every metric that each device reports.
    """

    stream: str
    entity_field: str
    entity_pattern: str
    load: LoadCurve
    metrics: tuple[MetricProfile, ...]


IIOT = StreamProfile(
    stream="iiot",
    entity_field="device_id",
    entity_pattern="press-{number:03d}",
    load="shifts",
    metrics=(
        # °C
        MetricProfile("temperature", 38.0, 22.0, 0.8, (-20.0, 150.0), 2.5, 0.95, 2.0, decimals=1),
        # mm/s
        MetricProfile(
            "vibration",
            0.6,
            2.2,
            0.18,
            (0.0, 40.0),
            memory=0.5,
            slow=0.2,
            decimals=3,
            jobs=(Job(6.0, 20, 1.6, share=0.5),),
        ),
        # bar
        MetricProfile("pressure", 5.8, 0.9, 0.07, (0.0, 16.0), memory=0.7, decimals=3),
        # A
        MetricProfile(
            "current",
            3.5,
            28.0,
            1.3,
            (0.0, 120.0),
            memory=0.6,
            jobs=(Job(6.0, 20, 12.0, share=0.5), Job(22.0, 30, 6.0, weekday=4, share=0.3)),
        ),
        # l/min
        MetricProfile("flow_rate", 12.0, 46.0, 1.9, (0.0, 200.0), 0.0, 0.75, 1.5),
        # parts
        MetricProfile("parts_count", 0.4, 17.0, 0.0, (0.0, 500.0), decimals=0, shape="count"),
        # %
        MetricProfile("oil_level", 92.0, -0.6, 0.25, (0.0, 100.0), decimals=1, shape="sawtooth"),
    ),
)

EMS = StreamProfile(
    stream="ems",
    entity_field="asset_id",
    entity_pattern="host-{number:03d}",
    load="office",
    metrics=(
        # %
        MetricProfile(
            "cpu_usage",
            9.0,
            48.0,
            3.2,
            (0.0, 100.0),
            slow=3.0,
            jobs=(Job(6.0, 25, 26.0, share=0.6), Job(2.0, 90, 18.0, weekday=6, share=0.5)),
        ),
        # %
        MetricProfile(
            "memory_usage", 42.0, 16.0, 0.7, (0.0, 100.0), memory=0.97, slow=4.0, decimals=1
        ),
        # %
        MetricProfile("disk_usage", 55.0, 1.0, 0.08, (0.0, 100.0), decimals=2, shape="sawtooth"),
        # MB/s
        MetricProfile(
            "disk_io",
            6.0,
            34.0,
            3.4,
            (0.0, 2000.0),
            memory=0.6,
            jobs=(Job(6.0, 25, 85.0, share=0.6), Job(2.0, 90, 120.0, weekday=6, share=0.5)),
        ),
        # Mbit/s
        MetricProfile("network_in", 8.0, 120.0, 7.5, (0.0, 10000.0), memory=0.7, slow=8.0),
        # Mbit/s
        MetricProfile(
            "network_out",
            5.0,
            70.0,
            5.0,
            (0.0, 10000.0),
            memory=0.7,
            slow=5.0,
            jobs=(Job(2.0, 90, 160.0, weekday=6, share=0.5),),
        ),
        # ms
        MetricProfile(
            "latency", 14.0, 11.0, 1.3, (0.1, 30000.0), memory=0.65, jobs=(Job(6.0, 25, 9.0),)
        ),
        # errors
        MetricProfile("error_count", 0.6, 3.2, 0.0, (0.0, 1e6), decimals=0, shape="count"),
    ),
)

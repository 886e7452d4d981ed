"""Names of sensors by which others know them, without what a sensor needs."""

from typing import Final

#: What the sensor of a stream's data is called, after the stream.
DATA_SENSOR_SUFFIX: Final = "_new_data"

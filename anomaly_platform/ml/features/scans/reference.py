"""Reference data of a network: places, companies, tiers and vehicles.

What belongs here: reading the reference files and looking things up in them. Nothing of this is
in code; a network's owner writes it down, and every bundle carries the copy that it was made with.
Missing files mean that nothing is known, and whatever needs them stays silent.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from anomaly_platform.ml.features.scans.arrays import Arrays, pack_frame, unpack_frame
from anomaly_platform.ml.frames import IntoDataFrame, to_polars

_SCHEMAS: dict[str, dict[str, type[pl.DataType]]] = {
    "locations": {
        "location_id": pl.String,
        "scan_location": pl.String,
        "latitude": pl.Float64,
        "longitude": pl.Float64,
        "location_type": pl.String,
        "location_hierarchy": pl.Int64,
    },
    "companies": {"company": pl.String},
    "tier_moves": {"from_type": pl.String, "to_type": pl.String, "flow": pl.String},
    "steps": {"event_prefix": pl.String, "location_type": pl.String, "business_step": pl.String},
    "vehicles": {"vehicle": pl.String, "max_speed_kmh": pl.Float64},
}
_STEP = (
    pl.coalesce("business_step", "_usual").alias("step"),
    (pl.col("business_step").is_null() & pl.col("_usual").is_not_null()).alias(
        "business_step_inferred"
    ),
)
_OF_PLACES = ("latitude", "longitude", "location_type", "location_hierarchy")


def _empty(name: str) -> pl.DataFrame:
    return pl.DataFrame(schema=_SCHEMAS[name])


@dataclass(frozen=True)
class ScanReference:
    """Reference data of a supply network.

    Attributes
    ----------
    locations
        `location_id, scan_location, latitude, longitude, location_type, location_hierarchy`.
    companies
        `company`: the seven digits of each company that makes the goods.
    tier_moves
        `from_type, to_type, flow`: between which types of places goods may move; `flow` is
        `forward`, or `return` for what only declared returns may do.
    steps
        `event_prefix, location_type, business_step`: which stage of an event type belongs to
        which type of place, and the business step that is usual there.
    vehicles
        `vehicle, max_speed_kmh`.

    Raises
    ------
    ValueError
        When a column is missing or holds a null, coordinates are off the globe, a flow is neither
        of the two, or a key occurs twice.
    """

    locations: pl.DataFrame = field(default_factory=lambda: _empty("locations"))
    companies: pl.DataFrame = field(default_factory=lambda: _empty("companies"))
    tier_moves: pl.DataFrame = field(default_factory=lambda: _empty("tier_moves"))
    steps: pl.DataFrame = field(default_factory=lambda: _empty("steps"))
    vehicles: pl.DataFrame = field(default_factory=lambda: _empty("vehicles"))

    def __post_init__(self) -> None:
        for name, schema in _SCHEMAS.items():
            frame = to_polars(getattr(self, name))
            if missing := [column for column in schema if column not in frame.columns]:
                raise ValueError(f"reference {name}: missing columns {missing}")
            try:
                frame = frame.select(pl.col(c).cast(t) for c, t in schema.items())
            except pl.exceptions.InvalidOperationError as error:
                raise ValueError(f"reference {name}: {error}") from error
            if any(frame.null_count().row(0)):
                raise ValueError(f"reference {name}: there are empty cells")
            object.__setattr__(self, name, frame)
        keys = {"locations": "location_id", "companies": "company", "steps": "event_prefix"}
        for name, key in keys.items():
            if getattr(self, name)[key].is_duplicated().any():
                raise ValueError(f"reference {name}: {key} must be unique")
        sane = pl.col("latitude").is_between(-90, 90) & pl.col("longitude").is_between(-180, 180)
        if not self.locations.select(sane.all()).item():
            raise ValueError("reference locations: coordinates must be degrees on the globe")
        if not self.tier_moves["flow"].is_in(["forward", "return"]).all():
            raise ValueError("reference tier_moves: flow must be 'forward' or 'return'")
        if not (self.vehicles["max_speed_kmh"] > 0).all():
            raise ValueError("reference vehicles: max_speed_kmh must be positive")

    @classmethod
    def read(cls, directory: Path) -> ScanReference:
        """Read `<name>.csv` for every kind of reference data that the folder has.

        Raises
        ------
        ValueError
            When a file is not what it should be.
        """
        found: dict[str, pl.DataFrame] = {}
        for name, schema in _SCHEMAS.items():
            path = directory / f"{name}.csv"
            if path.is_file():
                try:
                    # Everything as text: leading zeros of companies are digits.
                    found[name] = pl.read_csv(path, infer_schema=False)
                except pl.exceptions.PolarsError as error:
                    raise ValueError(f"reference {path.name}: {error}") from error
                if name == "locations" and "scan_location" in found[name].columns:
                    found[name] = found[name].with_columns(
                        pl.col("scan_location").fill_null(pl.col("location_id"))
                    )
                if missing := [column for column in schema if column not in found[name].columns]:
                    raise ValueError(f"reference {path.name}: missing columns {missing}")
        return cls(**found)

    def place_features(self, features: IntoDataFrame) -> pl.DataFrame:
        """Add what is known about each scan's place.

        Parameters
        ----------
        features
            A frame with `place` and `business_step` (see `definition`).

        Returns
        -------
        polars.DataFrame
            The rows with `latitude`, `longitude`, `location_type`, `location_hierarchy` (null for
            an unknown or missing place), `step` (the business step, inferred from the place's
            type and hierarchy where it was missing) and `business_step_inferred`.
        """
        frame = to_polars(features)
        kept = [name for name in frame.columns if name not in _OF_PLACES]
        placed = frame[kept].join(
            self._places, left_on="place", right_on="location_id", how="left", maintain_order="left"
        )
        placed = placed.with_columns(_STEP)
        return placed[[name for name in placed.columns if name != "_usual"]]

    @cached_property
    def _places(self) -> pl.DataFrame:
        """`_OF_PLACES` by location, with the business step that is usual there."""
        usual = self.steps.group_by("location_type", maintain_order=True).agg(
            pl.col("business_step").first().alias("_usual")
        )
        return self.locations.drop("scan_location").join(
            usual, on="location_type", how="left", maintain_order="left"
        )

    @cached_property
    def place_names(self) -> dict[str, str]:
        """What each known place is called, by its id."""
        return dict(self.locations.select("location_id", "scan_location").iter_rows())

    def to_arrays(self) -> Arrays:
        """Return the reference as arrays for a bundle."""
        arrays: Arrays = {}
        for part in fields(self):
            arrays |= pack_frame(f"reference.{part.name}", getattr(self, part.name))
        return arrays

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, npt.NDArray[np.generic]]) -> ScanReference:
        """Read the reference back from a bundle's arrays."""
        return cls(**{name: unpack_frame(f"reference.{name}", arrays) for name in _SCHEMAS})

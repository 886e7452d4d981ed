"""Reference data of a network: places, companies, tiers and vehicles.

What belongs here: reading the reference files and looking things up in them. Nothing of this is
in code; a network's owner writes it down, and every bundle carries the copy that it was made with.
Missing files mean that nothing is known, and whatever needs them stays silent.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from anomaly_platform.ml.features.scans.arrays import Arrays, pack_frame, unpack_frame
from anomaly_platform.ml.features.scans.tiers import TIERS, tier_of
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
#: Names under which owners have the files, beside `<name>.csv`.
FILE_NAMES = {"location_id_withGeospatial.csv": "locations"}
#: What a file may leave out or empty: a place is known by its id, and what it lacks is not known.
_MAY_LACK = ("scan_location", "latitude", "longitude", "location_type", "location_hierarchy")
_OTHER_NAMES = {"lat": "latitude", "lng": "longitude", "lon": "longitude", "long": "longitude"}
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
        `location_id, scan_location, latitude, longitude, location_type, location_hierarchy`. All
        but the id may be null or left out: the name is then the id, the hierarchy that of the
        type's name, −1 where it says none.
    companies
        `company`: the seven digits of each company that makes the goods.
    tier_moves
        `from_type, to_type, flow`: between which types of places goods may move; `flow` is
        `forward`, or `return` for what only declared returns may do. Of a type that no row begins
        with, the hierarchy decides.
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
        for name in _SCHEMAS:
            object.__setattr__(self, name, _typed(name, to_polars(getattr(self, name))))
        keys = {"locations": "location_id", "companies": "company", "steps": "event_prefix"}
        for name, key in keys.items():
            if getattr(self, name)[key].is_duplicated().any():
                raise ValueError(f"reference {name}: {key} must be unique")
        sane = pl.col("latitude").is_between(-90, 90) & pl.col("longitude").is_between(-180, 180)
        if not self.locations.select(sane.fill_null(value=True).all()).item():
            raise ValueError("reference locations: coordinates must be degrees on the globe")
        if not self.tier_moves["flow"].is_in(["forward", "return"]).all():
            raise ValueError("reference tier_moves: flow must be 'forward' or 'return'")
        if not (self.vehicles["max_speed_kmh"] > 0).all():
            raise ValueError("reference vehicles: max_speed_kmh must be positive")

    @classmethod
    def read(cls, path: Path) -> ScanReference:
        """Read a folder's files of reference data, or a single file.

        A file is `<name>.csv` for each kind of reference data, or has a name of `FILE_NAMES`.

        Raises
        ------
        ValueError
            When a file is not what it should be.
        """
        if path.is_file():
            kind = kind_of_file(path)
            return cls(**{kind: _checked(path, kind)})
        named = {f"{name}.csv": name for name in _SCHEMAS}
        found: dict[str, pl.DataFrame] = {}
        for file, name in (*named.items(), *FILE_NAMES.items()):
            if name not in found and (path / file).is_file():
                found[name] = _checked(path / file, name)
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
            type where it was missing) and `business_step_inferred`.
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
        """`_OF_PLACES` by location, with the business step that is usual there.

        Where no steps are written down for a type, it is the tier that type or hierarchy name.
        """
        usual = self.steps.group_by("location_type", maintain_order=True).agg(
            pl.col("business_step").first().alias("_usual")
        )
        levels = {tier.level: tier.name for tier in reversed(TIERS)}
        tier = pl.struct("location_type", "location_hierarchy").map_elements(
            lambda place: (
                _tier_name(place["location_type"]) or levels.get(place["location_hierarchy"])
            ),
            return_dtype=pl.String,
        )
        known = self.locations.drop("scan_location").join(
            usual, on="location_type", how="left", maintain_order="left"
        )
        return known.with_columns(
            pl.coalesce("_usual", tier).alias("_usual"),
            *(
                pl.when(pl.col(name) != nothing).then(name).alias(name)
                for name, nothing in (("location_type", ""), ("location_hierarchy", -1))
            ),
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


def kind_of_file(file: Path) -> str:
    """Return which reference data a file holds, by its name or else by its columns.

    Raises
    ------
    ValueError
        When neither tells.
    """
    if file.stem in _SCHEMAS and file.suffix == ".csv":
        return file.stem
    if file.name in FILE_NAMES:
        return FILE_NAMES[file.name]
    columns = set(_read(file).columns)
    for name, schema in _SCHEMAS.items():
        if columns >= set(schema) - set(_MAY_LACK):
            return name
    needs = "; ".join(f"{name} {', '.join(schema)}" for name, schema in _SCHEMAS.items())
    raise ValueError(f"reference {file.name}: its columns are of no reference data; {needs}")


def _read(file: Path) -> pl.DataFrame:
    """Read a file with its columns named as the platform names them."""
    try:
        # Everything as text: leading zeros of companies are digits.
        frame = pl.read_csv(file, infer_schema=False)
    except pl.exceptions.PolarsError as error:
        raise ValueError(f"reference {file.name}: {error}") from error
    names = {name: re.sub(r"\W+", "_", name.strip().lower()) for name in frame.columns}
    renamed = frame.rename({name: _OTHER_NAMES.get(new, new) for name, new in names.items()})
    return renamed.with_columns(pl.all().str.strip_chars().replace("", None))


def _checked(file: Path, name: str) -> pl.DataFrame:
    frame = _read(file)
    lacking = [column for column in _SCHEMAS[name] if column not in (*frame.columns, *_MAY_LACK)]
    if lacking:
        raise ValueError(f"reference {file.name}: missing columns {lacking}")
    return frame


def _typed(name: str, frame: pl.DataFrame) -> pl.DataFrame:
    """Return reference data with the columns and types of its kind."""
    schema = _SCHEMAS[name]
    try:
        if name == "locations" and "location_id" in frame.columns:
            frame = _completed(frame)
        if missing := [column for column in schema if column not in frame.columns]:
            raise ValueError(f"reference {name}: missing columns {missing}")
        frame = frame.select(pl.col(c).cast(t) for c, t in schema.items())
    except pl.exceptions.InvalidOperationError as error:
        raise ValueError(f"reference {name}: {error}") from error
    if any(frame.drop("latitude", "longitude", strict=False).null_count().row(0)):
        raise ValueError(f"reference {name}: there are empty cells")
    return frame


def _completed(places: pl.DataFrame) -> pl.DataFrame:
    """Fill in what a reference of places leaves out."""
    half = [name for name in ("latitude", "longitude") if name not in places.columns]
    if len(half) == 1:
        raise ValueError(f"reference locations: missing columns {half}")
    missing = [pl.lit(None).alias(name) for name in _MAY_LACK if name not in places.columns]
    places = places.with_columns(missing)
    types = places["location_type"].cast(pl.String).fill_null("")
    level = pl.Series(
        [tier.level if (tier := tier_of(one)) else -1 for one in types], dtype=pl.Int64
    )
    return places.with_columns(
        pl.col("scan_location").cast(pl.String).fill_null(pl.col("location_id").cast(pl.String)),
        types.alias("location_type"),
        pl.col("location_hierarchy").cast(pl.Int64).fill_null(level),
        *(pl.col(name).cast(pl.Float64).fill_nan(None) for name in ("latitude", "longitude")),
    )


def _tier_name(word: str) -> str | None:
    tier = tier_of(word)
    return word if tier is not None else None

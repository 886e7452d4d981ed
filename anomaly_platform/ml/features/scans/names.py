"""Names and meaning of the features of a scan, and how far back they look."""

from typing import Final

#: Raised when the arithmetic of a feature changes, so that bundles trained before are told apart.
DEFINITION: Final = 1
LOOKBACK_HOURS: Final = 720
MAX_HISTORY: Final = 63
UNKNOWN_EVENT: Final = "Unknown"

DESCRIPTIONS: Final = {
    "hour": ("i8", "hour of the day, 0–23"),
    "day_of_week": ("i8", "day of the week, Monday 0"),
    "month": ("i8", "month, 1–12"),
    "is_weekend": ("bool", "Saturday or Sunday"),
    "is_business_hours": ("bool", "from 9:00 until before 17:00, on any day"),
    "epc_malformed": ("bool", "the code fits neither its stream's scheme nor another known one"),
    "epc_header": ("str", "the header in the code"),
    "epc_company": ("str", "the company in the code"),
    "epc_product": ("str", "the product in the code"),
    "epc_lot": ("str", "the lot in the code"),
    "epc_manufacture_date": ("date", "the date in the code, null when it is no date"),
    "epc_serial": ("str", "the serial number in the code"),
    "manufacture_age_days": ("f64", "days from manufacture to the scan, null without a date"),
    "place": ("str", "where the scan happened, inferred if need be; null where it cannot be"),
    "location_interpolated": ("bool", "the place was missing and is inferred"),
    "event": ("str", f"event type, {UNKNOWN_EVENT!r} where it was missing"),
    "event_type_missing": ("bool", "the event type was missing"),
    "sequence_length": ("i16", "scans so far within the history, this one included"),
    "current_position": ("i16", "position of this scan from 1; a causal sequence ends with it"),
    "previous_location": ("str", "place of the scan before, inferred if need be"),
    "previous_event_type": ("str", "event type of the scan before"),
    "time_since_last_scan": ("f64", f"hours, at most {LOOKBACK_HOURS}; that for a first scan"),
    "partial_sequence": ("bool", "the scans so far do not begin where goods enter the chain"),
    "places_so_far": ("list[str]", "places in order of visit, without immediate repeats"),
}
"""Type and meaning of each feature, in the order of the frame's columns."""

#: The parts that a code may have, in the order of the features.
CODE_PARTS: Final = ("header", "company", "product", "lot", "manufacture_date", "serial")

SIX_PARTS: Final = (
    r"^(?P<header>\d{3})\.(?P<company>\d{7})\.(?P<product>\d{7})\.(?P<lot>\d{6})"
    r"\.(?P<manufacture_date>\d{8})\.(?P<serial>\d{9})$"
)
"""Header, company, product, lot, date of manufacture and serial number, joined by dots."""

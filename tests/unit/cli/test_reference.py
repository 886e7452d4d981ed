"""``anomaly reference import``: files under their owners' names, and files that are none."""

from __future__ import annotations

from pathlib import Path

import pytest

from anomaly_platform.ml.features.scans.reference import ScanReference
from tests.builders.commands import invoke, run_command

PLACES = (
    "location_id,scan_location,latitude,longitude,location_type,location_hierarchy\n"
    "1,Factory Ulsan,35.5,129.3,Factory,0\n2,WMS Busan,35.1,129.0,WMS,1\n"
)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ANOMALY_HOME", str(tmp_path / "home"))
    return tmp_path / "home" / "reference" / "barcode"


def written(tmp_path: Path, name: str, content: str) -> Path:
    path = tmp_path / name
    path.write_text(content)
    return path


def test_places_come_under_their_owners_name(tmp_path: Path, folder: Path) -> None:
    places = written(tmp_path, "location_id_withGeospatial.csv", PLACES)
    companies = written(tmp_path, "who makes it.csv", "company\n0880482\n")
    said = invoke("reference", "import", "barcode", places, companies)
    assert sorted(path.name for path in folder.iterdir()) == ["companies.csv", "locations.csv"]
    assert said.count("reference") >= 2
    known = ScanReference.read(folder)
    assert known.place_names == {"1": "Factory Ulsan", "2": "WMS Busan"}
    assert known.companies["company"].to_list() == ["0880482"], "leading zeros are digits"


def test_ids_alone_are_a_reference_of_places(tmp_path: Path, folder: Path) -> None:
    invoke("reference", "import", "barcode", written(tmp_path, "ours.csv", "location_id\nA\nB\n"))
    known = ScanReference.read(folder)
    assert known.place_names == {"A": "A", "B": "B"}
    assert known.locations["location_hierarchy"].to_list() == [-1, -1]


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("mine.csv", "a,b\n1,2\n", "its columns are of no reference data"),
        ("locations.csv", "place\n1\n", "missing columns"),
        ("locations.csv", PLACES.replace("35.5", "335.5"), "degrees on the globe"),
        ("location_id_withGeospatial.csv", PLACES + PLACES.splitlines()[1] + "\n", "unique"),
        ("locations.csv", PLACES.replace(",35.1,", ",north,"), "locations"),
        ("empty.csv", "", "empty.csv"),
    ],
)
def test_a_bad_file_is_refused_and_nothing_of_its_neighbours_is_taken(
    tmp_path: Path, folder: Path, name: str, content: str, reason: str
) -> None:
    good = written(tmp_path, "companies.csv", "company\n8804823\n")
    result = run_command("reference", "import", "barcode", good, written(tmp_path, name, content))
    assert result.exit_code == 2, result.output
    said = " ".join(result.output.replace("│", " ").split())
    assert reason in said
    assert not folder.exists() or not any(folder.iterdir())


def test_what_is_no_file_and_streams_without_references_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"nowhere\.csv"):
        invoke("reference", "import", "barcode", tmp_path / "nowhere.csv")
    places = written(tmp_path, "locations.csv", PLACES)
    result = run_command("reference", "import", "iiot", places)
    assert result.exit_code == 2
    assert "has no reference data" in result.output
    assert run_command("reference", "import", "nothing", places).exit_code == 2

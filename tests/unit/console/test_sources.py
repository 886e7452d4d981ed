"""What a figure's sources lead to: only pages that are there."""

from __future__ import annotations

from pathlib import Path

from anomaly_platform.console import sources
from anomaly_platform.settings import get_settings

MODEL = ("iiot", "isolation_forest")


def test_a_model_leads_to_its_page_in_mlflow(tmp_path: Path) -> None:
    told = get_settings(home=tmp_path, mlflow_port=5001, mlflow_pages=True)
    (page,) = sources.models(told, MODEL)
    assert page.href == "http://127.0.0.1:5001/#/models/iiot.isolation_forest"


def test_no_model_leads_to_pages_that_nobody_serves(tmp_path: Path) -> None:
    assert sources.models(get_settings(home=tmp_path, mlflow_pages=False), MODEL) == []
    alone = get_settings(home=tmp_path)
    assert sources.models(alone, MODEL) == [], "`anomaly up`, which serves them, would have said so"


def test_a_server_of_ones_own_has_pages_whatever_this_machine_serves(tmp_path: Path) -> None:
    settings = get_settings(home=tmp_path, mlflow_pages=False, mlflow_url="http://models:80/")
    (page,) = sources.models(settings, MODEL)
    assert page.href == "http://models:80/#/models/iiot.isolation_forest"

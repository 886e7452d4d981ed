"""A training that runs is followed by what Dagster wrote down of its run."""

import re

import pytest
from dagster import AssetExecutionContext, AssetObservation, DagsterInstance, asset, materialize
from dagster_postgres.event_log import PostgresEventLogStorage
from starlette.testclient import TestClient

from anomaly_platform.platform import Platform

pytestmark = pytest.mark.integration


@asset(key=["barcode", "lstm_model"])
def model(context: AssetExecutionContext) -> None:
    for epoch, loss in ((1, 0.5), (2, 0.25)):
        figures = {"epoch": epoch, "loss": loss, "validation loss": 2 * loss}
        context.log_event(AssetObservation(context.asset_key, metadata=figures))


def test_steps_and_losses_are_shown_while_it_runs(platform: Platform, browser: TestClient) -> None:
    requests = platform.warehouse.training_requests
    asked = requests.ask("barcode", cause="request", reason="new routes", requested_by="test")
    (claimed,) = requests.claim("barcode")
    with DagsterInstance.ephemeral() as instance:
        run = materialize([model], instance=instance)
        events = instance.all_logs(run.run_id)
    # As it was when the second epoch was over.
    seen = [one for one in events if "SUCCESS" not in str(one.dagster_event_type)]
    storage = PostgresEventLogStorage.create_clean_storage(platform.urls.dagster)
    assert claimed.batch is not None
    requests.note_run(claimed.batch, run.run_id)
    trainings = "/console/models?stream=barcode"
    page = f"/console/models/training?asked={asked}"
    assert "it has begun" in browser.get(trainings).text
    for event in seen:
        storage.store_event(event)
    text = browser.get(trainings).text
    assert "barcode/lstm_model, epoch 2: loss 0.25" in text
    text = browser.get(page).text
    assert re.search(r'badge running">running</span> <span class="break">barcode/lstm_model', text)
    assert "loss, 0.25 at the end" in text
    assert "validation loss, 0.5 at the end" in text
    for event in events:
        if event not in seen:
            storage.store_event(event)
    assert re.search(r'badge done">done</span> <span class="break">barcode', browser.get(page).text)

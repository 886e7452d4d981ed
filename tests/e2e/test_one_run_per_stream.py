"""Two runs of one stream that somebody launches from Dagster's pages go on one after the other."""

from __future__ import annotations

import itertools
import json
import urllib.request
from typing import Any

import pytest

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(2400)]

#: As its pages launch it.
LAUNCH = """mutation ($params: ExecutionParams!) {
  launchPipelineExecution(executionParams: $params) {
    __typename ... on LaunchRunSuccess { run { runId } }
    ... on PythonError { message } ... on InvalidSubsetError { message }
  }
}"""
RUNS = """query ($ids: [String!]) {
  runsOrError(filter: { runIds: $ids }) {
    ... on Runs { results { runId status startTime endTime } }
  }
}"""


def ask(port: int, query: str, **variables: object) -> Any:
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/graphql",
        json.dumps({"query": query, "variables": variables}).encode(),
        {"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=120) as answer:
        return json.load(answer)["data"]


def launch(port: int, stream: str, stage: str) -> str:
    asset = {"path": [stream, stage]}
    params = {
        "selector": {
            "repositoryLocationName": "anomaly_platform",
            "repositoryName": "__repository__",
            "jobName": "__ASSET_JOB",
            "assetSelection": [asset],
            "assetCheckSelection": [],
        },
        "mode": "default",
        "runConfigData": "{}",
        "executionMetadata": {"tags": []},
    }
    launched = ask(port, LAUNCH, params=params)["launchPipelineExecution"]
    assert launched["__typename"] == "LaunchRunSuccess", launched
    return str(launched["run"]["runId"])


def test_two_runs_of_a_stream_that_are_launched_from_the_pages_never_overlap(running) -> None:
    stages = ("champion", "raw_events", "champion")
    ids = [launch(running.port, "iiot", stage) for stage in stages]

    def over() -> list[dict[str, Any]]:
        runs = ask(running.port, RUNS, ids=ids)["runsOrError"]["results"]
        ended = [one for one in runs if one["status"] in ("SUCCESS", "FAILURE", "CANCELED")]
        return ended if len(ended) == len(ids) else []

    running.wait_for(lambda: bool(over()), 1200)
    runs = sorted(over(), key=lambda one: one["startTime"])
    assert [one["status"] for one in runs] == ["SUCCESS"] * len(ids)
    for earlier, later in itertools.pairwise(runs):
        assert earlier["endTime"] <= later["startTime"]

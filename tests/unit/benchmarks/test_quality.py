"""The quality benchmark reads its corpora rightly and writes tables that say what was measured."""

import sys
from pathlib import Path

import numpy as np
import pytest

from anomaly_platform.ml.evaluation.measures import confusion, evaluate

ROOT = Path(__file__).resolve().parents[3]
DATA = ROOT.parent / "shared" / "data"
needs_data = pytest.mark.skipif(
    not DATA.exists(), reason="the public corpora are not beside the repository"
)


@pytest.fixture(autouse=True)
def _benchmarks_on_path(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    yield
    for name in ("corpora", "baselines", "quality_tables"):
        sys.modules.pop(name, None)


@needs_data
def test_servers_learn_from_normal_operation_and_keep_the_label_out_of_the_metrics():
    from foreign_data import corpora

    case = next(corpora.servers(DATA / "asd"))
    assert case.name == "server-01"
    assert len(case.metrics) == 19
    assert case.values.shape == (case.labels.size, 19)
    assert not case.labels[: case.train].any()
    assert case.judged.any()


@needs_data
def test_nab_has_44_series_whose_windows_are_their_labels():
    from foreign_data import corpora

    cases = list(corpora.nab(DATA / "nab"))
    assert len(cases) == 44
    for case in cases:
        assert case.metrics == ["value"]
        assert case.labels.sum() == sum(stop - start + 1 for start, stop in case.windows)
        assert case.train <= 750


@needs_data
def test_skab_learns_from_400_rows():
    from foreign_data import corpora

    cases = list(corpora.skab(DATA / "skab"))
    assert {case.train for case in cases} == {400}
    assert all(len(case.metrics) == 8 for case in cases)


@pytest.mark.parametrize("columns", [1, 3])
def test_baselines_notice_an_obvious_anomaly_and_survive_gaps(columns):
    from foreign_data import baselines

    if columns > 1:
        pytest.importorskip("sklearn")
    rng = np.random.default_rng(0)
    values = rng.normal(size=(600, columns))
    values[:, 0] = values.sum(axis=1)
    values[550] += 30
    values[100:103, 0] = np.nan
    for name, baseline in baselines.BASELINES.items():
        if name == "PyOD IForest":
            pytest.importorskip("pyod")
        scores, flags = baselines.scored(baseline, values, 400)
        assert np.isfinite(scores).all()
        assert flags[:400].mean() <= 0.02
        # A forest over subsequences saturates: one outlying row of twelve can escape it.
        if columns > 1 or name != "PyOD IForest":
            assert flags[550 : 550 + baselines.SUBSEQUENCE].any()


def test_tables_say_what_was_measured():
    from foreign_data import quality_tables as tables

    labels = np.array([False, True, True, False])
    flags = np.array([False, True, False, True])
    result = tables.Result(
        case="file-1",
        report=evaluate(labels, [0.1, 0.9, 0.2, 0.8], flags),
        vus_pr_2022=0.5,
        counts=confusion(labels, flags),
        events_found=1,
        random_event_recall=0.75,
        seconds=2.0,
        rows=4,
        calls=tables.Calls(0.025, 1),
    )
    results = {tables.OURS: [result], "other": [result]}
    summary = tables.server_summary(results)
    assert "| **anomaly_platform** |" in summary
    assert "| 100.0% | 75.0% | 2 |" in summary
    assert "| file-1 | 4 | 1 |" in tables.per_file(results)
    assert "| file-1 | 2.50% | 1/1 |" in tables.calls([result])
    assert tables.event_recall_of([result]) == (1.0, 0.75)
    assert tables.total([result, result]).true_positives == 2
    assert "| **no** |" in tables.goals([("measure", "≥ 1", "0", False)])

"""Files that go wrong in every way: each ends as clean rows, as rejects, or with a clear reason."""

import pytest

from anomaly_platform.ingest.files.readers import UnreadableFile
from tests.unit.ingest.hostile_files import CASES


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_every_file_ends_in_rows_rejects_or_a_reason(case, ingest):
    if case.unreadable is not None:
        with pytest.raises(UnreadableFile, match=case.unreadable):
            ingest(case.bytes(), case.name)
        return
    outcome = ingest(case.bytes(), case.name)
    assert outcome.frame.height == case.good
    assert outcome.duplicates == case.duplicates
    assert len(outcome.reasons) == len(case.rejected), outcome.reasons
    for wanted in case.rejected:
        assert any(wanted in reason for reason in outcome.reasons), (wanted, outcome.reasons)


def test_there_are_at_least_forty_of_them():
    assert len(CASES) >= 40

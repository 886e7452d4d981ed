"""Each estimator, fitted once."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import pytest

from tests.builders.estimators import CASES, Case


@pytest.fixture(scope="session")
def fitted() -> Callable[[str], tuple[Case, Any]]:
    """Return a case by name, with its estimator fitted."""
    made: dict[str, tuple[Case, Any]] = {}

    def get(name: str) -> tuple[Case, Any]:
        if name not in made:
            case = CASES[name]()
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                made[name] = case, case.make().fit(case.train)
        return made[name]

    return get

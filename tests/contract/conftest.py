"""One way to call a server over each transport."""

import pytest

from tests.contract.callers import CALLERS, Caller, Callers


@pytest.fixture(params=list(CALLERS))
def call(request: pytest.FixtureRequest) -> Caller:
    """Each of the four ways to ask for a continuation."""
    return CALLERS[request.param]


@pytest.fixture(scope="session")
def callers() -> Callers:
    """All four ways by name."""
    return CALLERS

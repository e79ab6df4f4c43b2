"""What the tests of training share: processes that start without loading torch anew."""

from collections.abc import Iterator

import pytest

from tests.training.nursery import Nursery, open_nursery


@pytest.fixture(scope="session")
def nursery(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nursery]:
    """Runs programs in processes of their own."""
    with open_nursery(tmp_path_factory.mktemp("nursery")) as opened:
        yield opened

"""What a campaign's control says by its exit status."""

import pytest

from campaigns.verdict import NOTICED, control_status


def test_a_noticed_control_has_a_status_that_no_crash_has(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert control_status(["the token is another"]) == NOTICED == 3
    assert "the token is another" in capsys.readouterr().out


@pytest.mark.parametrize(("noticed", "is_complete"), [([], True), (["one of two"], False)])
def test_what_went_unnoticed_in_whole_or_in_part_is_no_success(
    noticed: list[str], is_complete: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    assert control_status(noticed, is_complete=is_complete) == 0
    assert "UNNOTICED" in capsys.readouterr().out

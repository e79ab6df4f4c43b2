"""What a campaign's control says by its exit status."""

import pytest

from campaigns.soak import Sample, find_growth
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


def _samples(*, bytes_each: int, num_open: list[int]) -> list[Sample]:
    """One after every 100 streams, each of which keeps so much for good."""
    return [
        Sample(
            100 * (number + 1),
            {"front": 50_000_000 + bytes_each * 100 * number},
            {"descriptors": num_open[number % len(num_open)]},
        )
        for number in range(40)
    ]


def test_a_soak_sees_what_streams_keep_and_forgives_what_comes_and_goes() -> None:
    assert find_growth(_samples(bytes_each=50, num_open=[20, 26, 23])) == []
    assert find_growth(_samples(bytes_each=5000, num_open=[20, 26])) == [
        "front keeps 5000 bytes a stream"
    ]
    assert find_growth(_samples(bytes_each=0, num_open=list(range(40)))) == [
        "descriptors grew from 10 to 30"
    ]


def test_a_soak_that_was_too_short_says_so() -> None:
    with pytest.raises(ValueError, match="8 samples, not 7"):
        find_growth(_samples(bytes_each=0, num_open=[20])[:7])

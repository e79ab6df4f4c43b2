"""Batches are a pure function of (seed, step): every window once an epoch, ranks share a batch."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.computation import step_seed
from training.dataset import DatasetError, TrainingWindows, held_out_windows, open_token_files

sizes = st.tuples(st.integers(30, 400), st.integers(1, 9), st.integers(1, 7))


def windows_of(num_tokens: int, context: int, batch: int, *, seed: int = 1) -> TrainingWindows:
    """Windows over tokens that are their own places."""
    tokens = np.arange(num_tokens, dtype=np.uint16)
    return TrainingWindows(tokens, context_length=context, batch_size=batch, seed=seed)


@given(sizes, st.integers(0, 300), st.integers(0, 2**40))
def test_a_batch_depends_on_seed_and_step_alone(
    size: tuple[int, int, int], step: int, seed: int
) -> None:
    one, other = windows_of(*size, seed=seed), windows_of(*size, seed=seed)
    for earlier in range(3):
        other.batch(earlier)
    batch = one.batch(step)
    assert np.array_equal(batch, other.batch(step))
    assert batch.shape == (size[2], size[1] + 1)
    # Each row is a piece of the text, targets one further than inputs.
    assert (np.diff(batch, axis=1) == 1).all()


@given(sizes, st.integers(0, 3))
def test_every_window_is_seen_once_an_epoch_across_its_boundaries(
    size: tuple[int, int, int], epoch: int
) -> None:
    windows = windows_of(*size)
    num_windows, batch_size = windows.num_windows, size[2]
    first, last = epoch * num_windows, (epoch + 1) * num_windows
    starts = [
        int(windows.batch(index // batch_size)[index % batch_size][0])
        for index in range(first, last)
    ]
    assert len(set(starts)) == num_windows
    # Side by side: no token is a target twice in an epoch.
    assert set(np.diff(sorted(starts))) <= {size[1]}


def test_epochs_differ_in_order_and_in_where_they_cut() -> None:
    windows = windows_of(4000, 50, 78)
    epochs = [sorted(windows.batch(step)[:, 0]) for step in range(4)]
    assert windows.num_windows == 78
    assert len({epoch[0] for epoch in epochs}) > 1
    assert not np.array_equal(windows.batch(0)[:, 0], np.sort(windows.batch(0)[:, 0]))


@given(sizes, st.integers(0, 50), st.integers(1, 4))
def test_processes_share_a_batch(size: tuple[int, int, int], step: int, count: int) -> None:
    num_tokens, context, share = size
    windows = windows_of(num_tokens, context, share * count)
    parts = [windows.batch(step, rank=rank, num_processes=count) for rank in range(count)]
    assert all(len(part) == share for part in parts)
    whole = Counter(map(bytes, windows.batch(step)))
    assert sum((Counter(map(bytes, part)) for part in parts), Counter[bytes]()) == whole


def test_a_text_shorter_than_its_windows_is_refused() -> None:
    with pytest.raises(DatasetError, match=r"20 tokens, but model.context_length = 10 needs .* 21"):
        windows_of(20, 10, 1)
    assert windows_of(21, 10, 1).num_windows == 1


@given(st.integers(1, 200), st.integers(1, 40))
def test_every_held_out_token_is_a_target_once(num_tokens: int, context: int) -> None:
    tokens = np.arange(1, num_tokens + 1)
    windows, is_target = held_out_windows(tokens, context_length=context, first_id=0)
    assert windows[:, 1:][is_target].tolist() == tokens.tolist()
    # What stands before a target is the text before it.
    assert windows[:, :-1][is_target].tolist() == [0, *tokens[:-1].tolist()]


@given(st.integers(50, 500), st.integers(1, 20), st.integers(20, 49))
def test_a_part_of_the_held_out_text_is_spread_over_it(
    num_tokens: int, context: int, max_tokens: int
) -> None:
    tokens = np.arange(1, num_tokens + 1)
    windows, is_target = held_out_windows(
        tokens, context_length=context, first_id=0, max_tokens=max_tokens
    )
    targets = windows[:, 1:][is_target]
    assert len(set(targets.tolist())) == len(targets) <= max(max_tokens, context)
    assert targets[0] == 1
    if max_tokens >= 2 * context:
        assert targets[-1] == num_tokens


def test_dropout_seeds_differ_by_seed_step_and_process() -> None:
    seeds = {step_seed(a, b, c) for a in range(5) for b in range(20) for c in range(4)}
    assert len(seeds) == 400
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_damaged_token_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="holds no tokenised corpus"):
        open_token_files(tmp_path)
    (tmp_path / "tokens.json").write_text("[")
    with pytest.raises(DatasetError, match="holds no tokenised corpus"):
        open_token_files(tmp_path)

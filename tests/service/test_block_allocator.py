"""References, reuse and eviction of blocks."""

import hashlib

import pytest

from service.engine.block_allocator import BlockAllocator, ConservationError, Prefix

SIZE = 4


def chain(allocator: BlockAllocator, *texts: tuple[int, ...], salt: bytes = b"") -> list[Prefix]:
    """Beginnings of one, two, ... blocks."""
    prefixes: list[Prefix] = []
    for text in texts:
        parent = prefixes[-1] if prefixes else None
        prefixes.append(allocator.extend_prefix(parent, text, salt=salt))
    return prefixes


def take(allocator: BlockAllocator, num_blocks: int) -> list[int]:
    taken = allocator.allocate(num_blocks)
    assert taken is not None
    return taken


def test_no_block_is_taken_when_too_few_are_free() -> None:
    allocator = BlockAllocator(num_blocks=3, block_tokens=SIZE)
    held = take(allocator, 2)
    assert allocator.allocate(2) is None
    assert allocator.num_free == 1
    allocator.check_conservation([held])


def test_a_shared_block_is_free_when_the_last_holder_lets_go() -> None:
    allocator = BlockAllocator(num_blocks=2, block_tokens=SIZE)
    held = take(allocator, 1)
    allocator.share(held)
    assert allocator.release(held) == []
    allocator.check_conservation([held])
    assert allocator.release(held) == held
    assert allocator.num_free == 2


def test_a_published_beginning_is_found_again_after_its_holder_has_gone() -> None:
    allocator = BlockAllocator(num_blocks=3, block_tokens=SIZE)
    held = take(allocator, 2)
    prefixes = chain(allocator, (1, 2, 3, 4), (5, 6, 7, 8))
    for block_id, prefix in zip(held, prefixes, strict=True):
        allocator.publish(block_id, prefix)
    allocator.release(held)
    assert allocator.num_free == 3
    again = chain(allocator, (1, 2, 3, 4), (5, 6, 7, 8), (1, 2, 3, 4))
    assert [allocator.find(prefix) for prefix in again] == [*held, None]
    allocator.share(held)
    assert allocator.num_free == 1
    allocator.check_conservation([held])


@pytest.mark.parametrize(
    "other",
    [((1, 2, 3, 5),), ((9, 9, 9, 9), (5, 6, 7, 8)), ((5, 6, 7, 8),)],
    ids=["another token", "another beginning", "another place"],
)
@pytest.mark.parametrize("is_weak", [False, True])
def test_only_the_very_same_beginning_is_found(
    other: tuple[tuple[int, ...], ...], is_weak: bool
) -> None:
    """Even by a digest that is the same for everything: tokens are compared one by one."""
    allocator = BlockAllocator(
        num_blocks=3,
        block_tokens=SIZE,
        digest=(lambda content: b"same") if is_weak else (lambda c: hashlib.sha256(c).digest()),
    )
    first, second = take(allocator, 2)
    prefixes = chain(allocator, (1, 2, 3, 4), (5, 6, 7, 8))
    allocator.publish(second if is_weak else first, prefixes[1 if is_weak else 0])
    assert allocator.find(prefixes[1 if is_weak else 0]) is not None
    assert allocator.find(chain(allocator, *other)[-1]) is None


def test_another_salt_is_another_text() -> None:
    """H15."""
    allocator = BlockAllocator(num_blocks=1, block_tokens=SIZE)
    (held,) = take(allocator, 1)
    (ours,) = chain(allocator, (1, 2, 3, 4), salt=b"a")
    allocator.publish(held, ours)
    assert allocator.find(chain(allocator, (1, 2, 3, 4), salt=b"a")[0]) == held
    for salt in (b"", b"b", b"aa"):
        assert allocator.find(chain(allocator, (1, 2, 3, 4), salt=salt)[0]) is None


def test_the_least_recently_used_beginning_gives_way_and_its_end_before_its_start() -> None:
    allocator = BlockAllocator(num_blocks=4, block_tokens=SIZE)
    old, new = take(allocator, 2), take(allocator, 2)
    texts = [chain(allocator, (1,) * SIZE, (2,) * SIZE), chain(allocator, (3,) * SIZE, (4,) * SIZE)]
    for held, prefixes in zip((old, new), texts, strict=True):
        for block_id, prefix in zip(held, prefixes, strict=True):
            allocator.publish(block_id, prefix)
    allocator.release(new)
    allocator.release(old)
    # Used once more, so that the other is the older one now.
    allocator.share(new)
    allocator.release(new)
    gone = [take(allocator, 1)[0] for _ in range(4)]
    assert gone == [old[1], old[0], new[1], new[0]]
    assert all(allocator.find(prefix) is None for prefixes in texts for prefix in prefixes)
    allocator.check_conservation([gone])


def test_empty_blocks_are_taken_before_those_that_can_be_reused() -> None:
    allocator = BlockAllocator(num_blocks=3, block_tokens=SIZE)
    (held,) = take(allocator, 1)
    (prefix,) = chain(allocator, (1, 2, 3, 4))
    allocator.publish(held, prefix)
    allocator.release([held])
    take(allocator, 2)
    assert allocator.find(prefix) == held


def test_of_two_equal_beginnings_the_first_is_found() -> None:
    allocator = BlockAllocator(num_blocks=2, block_tokens=SIZE)
    first, second = take(allocator, 2)
    (prefix,) = chain(allocator, (1, 2, 3, 4))
    allocator.publish(first, prefix)
    allocator.publish(second, chain(allocator, (1, 2, 3, 4))[0])
    assert allocator.find(prefix) == first
    allocator.release([first, second])
    assert allocator.num_kept == 1
    allocator.check_conservation([])


def test_a_withdrawn_beginning_is_found_no_more_held_or_not() -> None:
    """H47."""
    allocator = BlockAllocator(num_blocks=2, block_tokens=SIZE)
    held = take(allocator, 2)
    prefixes = chain(allocator, (1, 2, 3, 4), (5, 6, 7, 8))
    for block_id, prefix in zip(held, prefixes, strict=True):
        allocator.publish(block_id, prefix)
    allocator.release(held[1:])
    allocator.withdraw(held)
    assert [allocator.find(prefix) for prefix in prefixes] == [None, None]
    assert allocator.num_kept == 0
    allocator.check_conservation([held[:1]])


def test_wrong_use_is_noticed_at_once() -> None:
    allocator = BlockAllocator(num_blocks=2, block_tokens=SIZE)
    held = take(allocator, 1)
    allocator.release(held)
    for misuse in (
        lambda: allocator.release(held),
        lambda: allocator.share(held),
        lambda: allocator.publish(held[0], chain(allocator, (1, 2, 3, 4))[0]),
        lambda: allocator.check_conservation([held]),
        lambda: allocator.check_conservation([[0, 0]]),
    ):
        with pytest.raises(ConservationError):
            misuse()


@pytest.mark.parametrize("field", ["num_blocks", "block_tokens"])
def test_sizes_below_one_are_refused(field: str) -> None:
    sizes = {"num_blocks": 1, "block_tokens": 1} | {field: 0}
    with pytest.raises(ValueError, match=f"{field} must be at least 1, got 0"):
        BlockAllocator(num_blocks=sizes["num_blocks"], block_tokens=sizes["block_tokens"])

"""The series of several engines of one name, while one takes over from another."""

from service.engine.messages import Loaded
from service.engine_link.engine_figures import EngineFigures
from service.metrics import Metrics

LOADED = Loaded(
    context_tokens=64,
    num_parameters=0,
    device="cpu",
    dtype="float32",
    kv_cache_bytes=0,
    load_seconds=0.0,
    kv_block_tokens=16,
    num_blocks=4,
    executor="eager",
    deterministic=True,
    resident_bytes=0,
)


def samples(metrics: Metrics, name: str) -> list[tuple[str, float]]:
    """Version, where there is one, and value of each sample of a series."""
    return [
        (sample.labels.get("version", ""), sample.value)
        for family in metrics.registry.collect()
        for sample in family.samples
        if sample.name == name
    ]


def test_a_version_stays_described_until_its_last_engine_ends() -> None:
    """H112: swapped out and back in, it has two engines for a while."""
    metrics = Metrics()
    figures = EngineFigures(metrics)
    older, other, newer = (figures.reporter("tiny", version, lambda: True) for version in "121")
    for reporter in (older, other, newer):
        reporter.note_loaded(LOADED)
    older.note_ended()
    assert samples(metrics, "nextword_model_info") == [("1", 1.0), ("2", 1.0)]
    other.note_ended()
    assert samples(metrics, "nextword_model_info") == [("1", 1.0)]
    newer.note_ended()
    assert samples(metrics, "nextword_model_info") == []


def test_what_a_model_counts_begins_at_zero() -> None:
    """The step from no series to one is no increase to Prometheus."""
    metrics = Metrics()
    EngineFigures(metrics).reporter("tiny", "1", lambda: True)
    for name in ("prompt_tokens", "completion_tokens", "engine_preemptions"):
        assert samples(metrics, f"nextword_{name}_total") == [("", 0.0)]
    assert samples(metrics, "nextword_not_admitted_total") == [("", 0.0), ("", 0.0)]


def test_restarts_of_all_engines_of_a_name_add_up() -> None:
    """H101: whichever has changed last, and when one of them has ended."""
    metrics = Metrics()
    figures = EngineFigures(metrics)
    older, newer = (figures.reporter("tiny", version, lambda: True) for version in "12")
    older.note_change(num_restarts=0)
    assert samples(metrics, "nextword_engine_restarts_total") == [("", 0.0)]
    older.note_change(num_restarts=2)
    newer.note_change(num_restarts=0)
    assert samples(metrics, "nextword_engine_restarts_total") == [("", 2.0)]
    newer.note_change(num_restarts=1)
    older.note_ended()
    assert samples(metrics, "nextword_engine_restarts_total") == [("", 3.0)]

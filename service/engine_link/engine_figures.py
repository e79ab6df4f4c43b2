"""What the engines of each model report, as series; several versions of one name add up.

The labels are names of models, versions that are loaded, and words of closed sets.
"""

from collections.abc import Callable
from dataclasses import dataclass

from prometheus_client import Counter, Gauge

from service.engine.messages import Heartbeat, Loaded, StepCounters, StepOutput
from service.metrics import Metrics

__all__ = ["EngineFigures", "EngineReporter"]

_NO_COUNTERS = StepCounters()


@dataclass(frozen=True, slots=True)
class _Load:
    """What one engine has on its hands."""

    num_running: int = 0
    num_waiting: int = 0
    num_free_blocks: int = 0
    num_blocks: int = 0


class EngineFigures:
    """The series of all engines and of the model store.

    Args:
        metrics: Holds the registry.
    """

    def __init__(self, metrics: Metrics) -> None:
        self.metrics = metrics
        self.free_blocks = self._gauge(
            "nextword_engine_free_blocks", "Blocks of the key-value cache free for new requests."
        )
        self.blocks = self._gauge("nextword_engine_blocks", "Blocks of the key-value cache.")
        self.reused_tokens = self._counter(
            "nextword_engine_reused_prompt_tokens",
            "Prompt tokens whose keys and values were in the cache already.",
        )
        self.computed_prompt_tokens = self._counter(
            "nextword_engine_computed_prompt_tokens",
            "Prompt tokens that were computed; those of a sequence that was put back, once more.",
        )
        self.preemptions = self._counter(
            "nextword_engine_preemptions", "Sequences put back because others needed their blocks."
        )
        self.chunked_prompts = self._counter(
            "nextword_engine_chunked_prompts", "Prompts computed in more than one piece."
        )
        self.mixed_steps = self._counter(
            "nextword_engine_mixed_steps", "Steps with prompts beside running sequences."
        )
        self.not_admitted = self._counter(
            "nextword_not_admitted", "Requests refused because the queue was full.", "limit"
        )
        self.swaps = self._counter(
            "nextword_model_swaps",
            "Attempts to serve another version: swapped, or why it was refused.",
            "outcome",
        )
        self.refused_versions = self._gauge(
            "nextword_model_refused_versions", "Versions in the store that are refused now."
        )
        self._loads: dict[str, dict[EngineReporter, _Load]] = {}
        self._reporters: set[EngineReporter] = set()
        metrics.count_before_scrapes(self._tell_reports)
        # Two engines may have equal labels: a version that was swapped out and back in at once.
        self._infos: dict[EngineReporter, tuple[str, str, str, str]] = {}

    def reporter(self, name: str, version: str, is_ready: Callable[[], bool]) -> "EngineReporter":
        """What an engine of a model reports to."""
        self.metrics.note_model(name)
        for counter in (
            self.reused_tokens,
            self.computed_prompt_tokens,
            self.preemptions,
            self.chunked_prompts,
            self.mixed_steps,
        ):
            counter.labels(name)
        for limit in ("requests", "tokens"):
            self.not_admitted.labels(name, limit)
        reporter = EngineReporter(self, name, version, is_ready)
        self._reporters.add(reporter)
        return reporter

    def forget(self, reporter: "EngineReporter") -> None:
        """An engine has ended for good."""
        self._reporters.discard(reporter)

    def update(self, name: str, reporter: "EngineReporter", load: _Load | None) -> None:
        """Take in what one engine has on its hands; None when it has ended."""
        loads = self._loads.setdefault(name, {})
        loads.pop(reporter, None)
        if load is not None:
            loads[reporter] = load
        self.metrics.running.labels(name).set(sum(x.num_running for x in loads.values()))
        self.metrics.waiting.labels(name).set(sum(x.num_waiting for x in loads.values()))
        self.free_blocks.labels(name).set(sum(x.num_free_blocks for x in loads.values()))
        self.blocks.labels(name).set(sum(x.num_blocks for x in loads.values()))

    def describe(
        self, reporter: "EngineReporter", labels: tuple[str, str, str, str] | None
    ) -> None:
        """Say by name, version, device and dtype what one engine serves; None when it has ended."""
        before = self._infos.pop(reporter, None)
        if labels is not None:
            self._infos[reporter] = labels
            self.metrics.info.labels(*labels).set(1)
        if before is not None and before not in self._infos.values():
            self.metrics.info.remove(*before)

    def _tell_reports(self) -> None:
        for reporter in self._reporters:
            reporter.tell_report()

    def is_any_ready(self, name: str) -> bool:
        """Whether some engine of a name can answer."""
        return any(reporter.is_ready() for reporter in self._loads.get(name, {}))

    def _gauge(self, name: str, description: str) -> Gauge:
        return Gauge(name, description, ("model",), registry=self.metrics.registry)

    def _counter(self, name: str, description: str, *labels: str) -> Counter:
        return Counter(name, description, ("model", *labels), registry=self.metrics.registry)


class EngineReporter:
    """One engine's way to the series, through all its processes."""

    def __init__(
        self, figures: EngineFigures, name: str, version: str, is_ready: Callable[[], bool]
    ) -> None:
        self.is_ready = is_ready
        self._figures = figures
        self._name = name
        self._version = version
        self._counters = _NO_COUNTERS
        self._num_restarts = 0
        self._report: StepOutput | Heartbeat | None = None
        self._batch_sizes = figures.metrics.batch_size.of(name)
        self._step_seconds = figures.metrics.step_seconds.of(name)

    def note_loaded(self, loaded: Loaded) -> None:
        """A process has loaded the model; its counters begin at zero."""
        self.tell_report()
        self._counters = _NO_COUNTERS
        metrics = self._figures.metrics
        metrics.load_seconds.labels(self._name).set(loaded.load_seconds)
        labels = (self._name, self._version, loaded.device, loaded.dtype)
        self._figures.describe(self, labels)
        load = _Load(num_free_blocks=loaded.num_blocks, num_blocks=loaded.num_blocks)
        self._figures.update(self._name, self, load)

    def note_report(self, report: StepOutput | Heartbeat) -> None:
        """Take in a step or a beat. Beats count too: after a cancel there may be no step.

        There is a step for every token of a lonely stream: the series hear of the last one when
        they are asked.
        """
        self._report = report
        if isinstance(report, StepOutput):
            self._batch_sizes.add(report.num_running)
            self._step_seconds.add(report.seconds)

    def tell_report(self) -> None:
        """Bring the series up to date with the last report."""
        report, self._report = self._report, None
        if report is None:
            return
        load = _Load(
            report.num_running, report.num_waiting, report.num_free_blocks, report.num_blocks
        )
        self._figures.update(self._name, self, load)
        self._add_counters(report.counters)

    def note_change(self, *, num_restarts: int) -> None:
        """The engine's state has changed."""
        self.tell_report()
        metrics = self._figures.metrics
        # Several engines of a name add up, those that have ended included.
        before, self._num_restarts = self._num_restarts, num_restarts
        metrics.engine_restarts.labels(self._name).inc(num_restarts - before)
        if not self.is_ready():
            self._figures.update(self._name, self, None)
        metrics.is_ready.labels(self._name).set(self._figures.is_any_ready(self._name))

    def note_not_admitted(self, limit: str) -> None:
        """A request was refused for a limit: requests or tokens."""
        self._figures.not_admitted.labels(self._name, limit).inc()

    def note_ended(self) -> None:
        """The engine has ended for good; its version is no longer served."""
        self.tell_report()
        self._figures.update(self._name, self, None)
        self._figures.describe(self, None)
        self._figures.forget(self)

    def _add_counters(self, now: StepCounters) -> None:
        before, self._counters = self._counters, now
        figures, name = self._figures, self._name
        for series, count in (
            (figures.reused_tokens, now.num_reused_tokens - before.num_reused_tokens),
            (
                figures.computed_prompt_tokens,
                now.num_computed_prompt_tokens - before.num_computed_prompt_tokens,
            ),
            (figures.preemptions, now.num_preemptions - before.num_preemptions),
            (figures.chunked_prompts, now.num_chunked_prompts - before.num_chunked_prompts),
            (figures.mixed_steps, now.num_mixed_steps - before.num_mixed_steps),
        ):
            if count > 0:
                series.labels(name).inc(count)

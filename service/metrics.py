"""What the service counts, for Prometheus. Labels come from closed sets only.

Names are OpenTelemetry's where it has one, spelled as Prometheus spells them, else nextword_*. The
figures of engines and of the model store are declared in `engine_figures`.
"""

from collections.abc import Callable

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
)

from service.logs import num_dropped_records
from service.tally_histogram import TallyHistogram

__all__ = ["BATCH_BUCKETS", "SECONDS_BUCKETS", "Metrics"]

# From 1 ms to 60 s, about three to an octave where interactive use lies. What OpenTelemetry advises
# for each histogram comes on top, so that its dashboards read ours.
SECONDS_BUCKETS = (
    *(0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.02, 0.03, 0.05, 0.075),
    *(0.1, 0.15, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 7.5, 10.0, 15.0, 30.0, 60.0),
)
# The tokens of a small model come faster than that.
_FAST = (0.0001, 0.0002, 0.0003, 0.0005, 0.00075)
_ADVISED_REQUEST = tuple(0.01 * 2**power for power in range(14))
_ADVISED_FIRST_TOKEN = (
    *(0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1),
    *(0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0),
)
_ADVISED_PER_TOKEN = (0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5)
_ADVISED_TRANSPORT = (
    *(0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75),
    *(1.0, 2.5, 5.0, 7.5, 10.0),
)
BATCH_BUCKETS = (1, 2, 4, 8, 12, 16, 24, 32, 48, 64, 96, 128, 256)

_GEN_AI = ("gen_ai_operation_name", "gen_ai_provider_name", "gen_ai_request_model")


class Metrics:
    """All series of one server, in a registry of its own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self._declare_requests()
        self._declare_latencies()
        self._declare_engines()

    def _declare_requests(self) -> None:
        self.received = self._counter(
            "nextword_requests_received", "Requests that were opened.", "protocol"
        )
        self.requests = self._counter(
            "nextword_requests",
            "Requests that ended, by how: ok or a code of the table of errors.",
            *("protocol", "route", "model", "outcome"),
        )
        self.in_flight = Gauge(
            "nextword_requests_in_flight",
            "Requests that have not ended: received less ended.",
            ("protocol",),
            registry=self.registry,
        )
        self.rejected = self._counter(
            "nextword_requests_rejected",
            "Refused before anything was computed, by reason; also what never became a request.",
            *("protocol", "reason"),
        )
        self.prompt_tokens = self._counter(
            "nextword_prompt_tokens", "Tokens of accepted prompts.", "model"
        )
        self.completion_tokens = self._counter(
            "nextword_completion_tokens",
            "Tokens delivered, whatever became of their request.",
            "model",
        )
        self.api_key_rereads = self._counter(
            "nextword_api_key_rereads",
            "Changes of the file of API keys: taken_up, or refused with the keys from before kept.",
            "outcome",
        )
        for outcome in ("taken_up", "refused"):
            self.api_key_rereads.labels(outcome)
        self.log_records_dropped = self._counter(
            "nextword_log_records_dropped", "Log records that their sink did not take in time."
        )
        self._num_dropped_told = 0
        self._count_elsewhere: list[Callable[[], None]] = []

    def _declare_latencies(self) -> None:
        # Of what succeeded only: a request that failed or was cancelled says nothing of latency.
        self.request_seconds = self._seconds(
            "gen_ai_server_request_duration_seconds",
            "From receipt to the end of a completed generation.",
            *_GEN_AI,
            extra=_ADVISED_REQUEST,
        )
        self.first_token_seconds = self._seconds(
            "gen_ai_server_time_to_first_token_seconds",
            "From receipt to the first token of a completed generation.",
            *_GEN_AI,
            extra=_ADVISED_FIRST_TOKEN,
        )
        self.token_seconds = self._seconds(
            "gen_ai_server_time_per_output_token_seconds",
            "Mean time per token after the first of a completed generation.",
            *_GEN_AI,
            extra=(*_FAST, *_ADVISED_PER_TOKEN),
        )
        self.gaps = self._tallies(
            "nextword_inter_token_seconds",
            "Each gap between two deliveries of one text, of completed generations.",
            (*_FAST, *SECONDS_BUCKETS),
        )
        self.queue_seconds = self._seconds(
            "nextword_queue_seconds",
            "From receipt to entering the batch, of completed generations.",
            "model",
            extra=_FAST,
        )
        self.http_seconds = self._seconds(
            "http_server_request_duration_seconds",
            "Of every HTTP request that reached the application.",
            *("http_request_method", "http_route", "http_response_status_code", "error_type"),
            extra=_ADVISED_TRANSPORT,
        )
        self.rpc_seconds = self._seconds(
            "rpc_server_call_duration_seconds",
            "Of every gRPC call of our service.",
            *("rpc_system_name", "rpc_method", "rpc_response_status_code", "error_type"),
            extra=_ADVISED_TRANSPORT,
        )

    def _declare_engines(self) -> None:
        self.running = self._gauge("nextword_engine_running", "Requests in the batch.")
        self.waiting = self._gauge("nextword_engine_waiting", "Requests in the engine's queue.")
        self.is_ready = self._gauge("nextword_model_ready", "1 while the model can answer.")
        self.engine_restarts = self._counter(
            "nextword_engine_restarts", "Engine processes started after the first.", "model"
        )
        self.load_seconds = self._gauge("nextword_model_load_seconds", "Load time of the engine.")
        self.info = Gauge(
            "nextword_model_info",
            "Always 1; says which version of a model is served and how.",
            ("model", "version", "device", "dtype"),
            registry=self.registry,
        )
        self.batch_size = self._tallies(
            "nextword_engine_batch_requests", "Requests in the batch after a step.", BATCH_BUCKETS
        )
        self.step_seconds = self._tallies(
            "nextword_engine_step_seconds", "Time of one step.", (*_FAST, *SECONDS_BUCKETS)
        )

    def note_refusal(self, reason: str) -> None:
        """The REST server ended something that never became a request, or no longer was one."""
        self.rejected.labels("rest", reason).inc()

    def note_model(self, model: str) -> None:
        """Begin the series of a model at zero, so that the first count is seen as an increase."""
        self.prompt_tokens.labels(model)
        self.completion_tokens.labels(model)

    def count_before_scrapes(self, count: Callable[[], None]) -> None:
        """Let something that is counted elsewhere be brought up to date before each scrape."""
        self._count_elsewhere.append(count)

    def note_key_change(self, outcome: str) -> None:
        """The file of API keys has changed."""
        self.api_key_rereads.labels(outcome).inc()

    def refresh(self) -> None:
        """Bring up to date what is counted elsewhere; before each scrape."""
        for count in self._count_elsewhere:
            count()
        num_dropped = num_dropped_records()
        self.log_records_dropped.inc(num_dropped - self._num_dropped_told)
        self._num_dropped_told = num_dropped

    def _gauge(self, name: str, description: str) -> Gauge:
        return Gauge(name, description, ("model",), registry=self.registry)

    def _counter(self, name: str, description: str, *labels: str) -> Counter:
        return Counter(name, description, labels, registry=self.registry)

    def _tallies(self, name: str, description: str, buckets: tuple[float, ...]) -> TallyHistogram:
        histogram = TallyHistogram(name, description, buckets)
        self.registry.register(histogram)
        return histogram

    def _seconds(
        self, name: str, description: str, *labels: str, extra: tuple[float, ...] = ()
    ) -> Histogram:
        buckets = sorted({*SECONDS_BUCKETS, *extra})
        return Histogram(name, description, labels, buckets=buckets, registry=self.registry)

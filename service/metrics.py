"""What the service counts, for Prometheus. Labels come from closed sets only."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import choose_encoder

__all__ = ["Metrics"]

# From 1 ms to 60 s, about three to an octave where interactive use lies.
SECONDS_BUCKETS = (
    *(0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.02, 0.03, 0.05, 0.075),
    *(0.1, 0.15, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 7.5, 10.0, 15.0, 30.0, 60.0),
)
BATCH_BUCKETS = (1, 2, 4, 8, 12, 16, 24, 32, 48, 64, 96, 128, 256)


class Metrics:
    """All series of one server, in a registry of its own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "nextword_requests",
            "Requests that ended, by how; ok and every error code.",
            ("protocol", "route", "model", "outcome"),
            registry=self.registry,
        )
        self.in_flight = Gauge(
            "nextword_requests_in_flight",
            "Requests that have not ended.",
            ("protocol",),
            registry=self.registry,
        )
        self.running = self._gauge("nextword_engine_running", "Requests in the batch.")
        self.waiting = self._gauge("nextword_engine_waiting", "Requests in the engine's queue.")
        self.is_ready = self._gauge("nextword_model_ready", "1 while the model can answer.")
        self.engine_restarts = self._gauge(
            "nextword_engine_restarts", "Engine processes started after the first."
        )
        self.load_seconds = self._gauge("nextword_model_load_seconds", "Load time of the engine.")
        self.info = Gauge(
            "nextword_model_info",
            "Always 1; says which version of a model is served and how.",
            ("model", "version", "device", "dtype"),
            registry=self.registry,
        )
        self.batch_size = Histogram(
            "nextword_engine_batch_requests",
            "Requests in the batch after a step.",
            ("model",),
            buckets=BATCH_BUCKETS,
            registry=self.registry,
        )
        self.step_seconds = self._seconds("nextword_engine_step_seconds", "Time of one step.")
        self.queue_seconds = self._seconds(
            "nextword_queue_seconds", "From receipt to entering the batch."
        )
        self.first_token_seconds = self._seconds(
            "nextword_time_to_first_token_seconds", "From receipt to the first token."
        )
        self.inter_token_seconds = self._seconds(
            "nextword_inter_token_seconds", "Mean gap between tokens of a completed request."
        )
        self.request_seconds = self._seconds(
            "nextword_request_seconds", "From receipt to the end of a completed request."
        )
        self.prompt_tokens = self._counter("nextword_prompt_tokens", "Tokens of accepted prompts.")
        self.completion_tokens = self._counter(
            "nextword_completion_tokens", "Tokens delivered, whatever became of their request."
        )

    def exposition(self, accept: str) -> tuple[str, bytes]:
        """Content type and body for a scraper's Accept header."""
        encode, content_type = choose_encoder(accept)
        return content_type, encode(self.registry)

    def _gauge(self, name: str, description: str) -> Gauge:
        return Gauge(name, description, ("model",), registry=self.registry)

    def _counter(self, name: str, description: str) -> Counter:
        return Counter(name, description, ("model",), registry=self.registry)

    def _seconds(self, name: str, description: str) -> Histogram:
        return Histogram(
            name, description, ("model",), buckets=SECONDS_BUCKETS, registry=self.registry
        )

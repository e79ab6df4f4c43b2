"""Answers Prometheus on a port while a run lasts; off unless asked for.

Every scrape reads the newest status: no second bookkeeping, no figure before it is known. The
registry is our own, so that nothing of the Python process leaks in and several runs in one process
do not meet.
"""

from collections.abc import Iterable, Iterator

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from training.progress.status import RunStatus


class MetricsPortError(Exception):
    """The port cannot be opened; the message is one line for the user."""


class MetricsPort:
    """Serves `http://HOST:PORT/metrics` from a thread of its own until it is closed."""

    def __init__(self, status: RunStatus, *, port: int, host: str) -> None:
        """Opens the port; 0 takes a free one, which `port` then names.

        Raises:
            MetricsPortError: the port is taken, reserved or not a port, or the host is no address
                of this machine.
        """
        if not 0 <= port <= 65535:
            raise MetricsPortError(f"metrics port: must be from 0 to 65535, not {port}")
        registry = CollectorRegistry(auto_describe=False)
        registry.register(_StatusCollector(status))
        try:
            self._server, self._thread = start_http_server(port, addr=host, registry=registry)
        except OSError as error:
            raise MetricsPortError(
                f"metrics port: cannot listen on {host}:{port}: {error.strerror}; "
                "choose another run.metrics_port or run.metrics_host"
            ) from error
        self.port: int = self._server.server_port

    def close(self) -> None:
        """Stops answering and gives the port back."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _StatusCollector(Collector):
    def __init__(self, status: RunStatus) -> None:
        self._status = status

    def describe(self) -> Iterable[Metric]:
        return ()

    def collect(self) -> Iterator[Metric]:
        status = self._status
        start, step, evaluation = status.start, status.step, status.evaluation
        best, ngram = status.best, status.ngram
        if start is not None:
            labels = {
                "name": start.name,
                "device": start.device or "unknown",
                "dtype": start.dtype or "unknown",
            }
            yield InfoMetricFamily("nextword_training", "The run that is observed.", labels)
            yield _gauge("finished", "1 once the run has ended, else 0.", float(bool(status.end)))
        if start is not None and start.parameters is not None:
            yield _gauge("parameters", "Weights of the model.", start.parameters)
        if step is not None:
            yield _gauge("step", "Optimizer steps done.", step.step)
            yield _gauge("loss_nats", "Loss of the newest step, nats per token.", step.loss)
            yield _gauge("learning_rate", "Learning rate of the newest step.", step.learning_rate)
            yield _gauge(
                "tokens_per_second",
                "Training tokens per second, newest step.",
                step.tokens_per_second,
            )
            yield _gauge("elapsed_seconds", "Time trained, all sessions.", step.elapsed_seconds)
            yield CounterMetricFamily(
                "nextword_training_tokens", "Training tokens seen, all sessions.", value=step.tokens
            )
        if step is not None and step.num_steps:
            yield _gauge("planned_steps", "Optimizer steps that the schedule has.", step.num_steps)
        if step is not None and step.gradient_norm is not None:
            yield _gauge(
                "gradient_norm", "Gradient norm before clipping, newest step.", step.gradient_norm
            )
        if status.remaining_seconds is not None:
            yield _gauge(
                "remaining_seconds", "Time to the last planned step.", status.remaining_seconds
            )
        if status.epochs is not None:
            yield _gauge("epochs", "How often the training text was seen.", status.epochs)
        if evaluation is not None:
            yield _gauge(
                "held_out_loss_nats", "Newest held-out loss, nats per token.", evaluation.loss
            )
            yield _gauge("held_out_bpb", "Newest held-out bits per byte.", evaluation.bits_per_byte)
        if best is not None:
            yield _gauge("best_step", "Step of the best held-out loss.", best.step)
            yield _gauge("best_loss_nats", "Best held-out loss, nats per token.", best.loss)
            yield _gauge("best_bpb", "Best held-out bits per byte.", best.bits_per_byte)
        if ngram is not None:
            yield _gauge("ngram_bpb", "Held-out bits per byte of the n-gram.", ngram.bits_per_byte)


# "bpb" is bits per byte: promtool takes any "bits" in a name for a size in the wrong unit.
def _gauge(name: str, documentation: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"nextword_training_{name}", documentation, value=value)

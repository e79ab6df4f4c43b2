"""The composition root: build everything, serve, drain on a signal, stop. It owns the signals.

Exit status: 0 after a drain, 2 when there is nothing to serve or a setting is wrong, 1 when an
engine or a server failed, 128 + N when signal N came twice.
"""

import asyncio
import logging
import signal
import socket
import sys
from collections.abc import Sequence

import uvloop
from prometheus_client import disable_created_metrics

from service.engine_launch import EngineLoadError
from service.grpc_api.server import GrpcServer
from service.health import Health, Stage
from service.logs import configure_logs, log_fields
from service.metrics import Metrics
from service.model_store import (
    ModelFolder,
    StoreError,
    newest_first,
    read_folders,
    read_store,
)
from service.request_log import RequestLog
from service.rest_api.server import HttpServer, create_app
from service.served_models import EngineSettings, ServedModel, ServedModels
from service.settings import Settings, SettingsError, load_settings, model_folders, store_root
from service.text_generator import TextGenerator

__all__ = ["main"]

_logger = logging.getLogger(__name__)

# What a request that was told to end gets to write its last words.
FAREWELL_SECONDS = 2.0


class ServeError(RuntimeError):
    """The server cannot start or go on; one line for the operator."""


class StopSignals:
    """SIGTERM and SIGINT: the first asks for a drain, the second for an end."""

    def __init__(self) -> None:
        self.first = asyncio.Event()
        self.second = asyncio.Event()
        self.number = 0
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._note, number)

    def _note(self, number: int) -> None:
        if self.first.is_set():
            self.number = number
            self.second.set()
        self.first.set()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the server until it is told to stop."""
    try:
        loaded = load_settings(sys.argv[1:] if arguments is None else arguments)
        if loaded.is_print_wanted:
            print(loaded.table())
            return 0
        configure_logs()
        folders = _find_models(loaded.settings)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(_serve(loaded.settings, folders))
    except (SettingsError, StoreError) as error:
        print(f"nextword-serve: {error}", file=sys.stderr)
        return 2
    except (ServeError, EngineLoadError) as error:
        print(f"nextword-serve: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 128 + signal.SIGINT


def _find_models(settings: Settings) -> list[ModelFolder]:
    models = read_folders(model_folders(settings))
    if (root := store_root(settings)) is not None:
        models += read_store(root, announce=lambda text: _logger.warning("%s", text))
    return newest_first(models)


async def _serve(settings: Settings, folders: list[ModelFolder]) -> int:
    signals = StopSignals()
    # When a series began says little and doubles every scrape.
    disable_created_metrics()
    metrics = Metrics()
    health = Health()
    log = RequestLog(metrics)
    engines = EngineSettings(
        device=settings.device,
        dtype=settings.dtype,
        num_threads=settings.threads,
        max_running=settings.max_running,
        max_queued=settings.max_queued,
        max_context_tokens=settings.max_context or None,
    )
    models = ServedModels(
        [
            ServedModel(folder, engines, metrics=metrics, on_change=health.notify)
            for folder in folders
        ]
    )
    health.watch(models)
    generator = TextGenerator(models)
    listener = _listen(settings.host, settings.rest_port)
    http = HttpServer(
        create_app(generator, models, health=health, log=log, metrics=metrics), listener
    )
    grpc = _grpc_server(settings, generator, models, health, log)
    serving = asyncio.create_task(http.run(), name="http")
    await grpc.start()
    loading = asyncio.create_task(_load(models), name="load")
    stopping = asyncio.create_task(signals.first.wait(), name="stop")
    try:
        await asyncio.wait((loading, stopping, serving), return_when=asyncio.FIRST_COMPLETED)
        if loading.done() and not stopping.done():
            # Raises what kept a model from being served.
            loading.result()
            health.enter(Stage.SERVING)
            print(_banner(models, settings.host, listener.getsockname()[1], grpc.port), flush=True)
            await asyncio.wait((stopping, serving), return_when=asyncio.FIRST_COMPLETED)
        if serving.done():
            raise ServeError("the REST server ended by itself")
        await _drain(settings.drain_timeout, generator, health, log, signals)
    finally:
        loading.cancel()
        stopping.cancel()
        http.stop()
        await asyncio.gather(grpc.stop(), *(model.supervisor.stop() for model in models.all))
        await asyncio.wait((serving, loading))
    return 128 + signals.number if signals.second.is_set() else 0


async def _load(models: ServedModels) -> None:
    try:
        async with asyncio.TaskGroup() as group:
            for model in models.all:
                group.create_task(model.start())
    except* EngineLoadError as errors:
        # One reason is enough for the operator; the others may follow from it.
        raise errors.exceptions[0] from None


async def _drain(
    seconds: float,
    generator: TextGenerator,
    health: Health,
    log: RequestLog,
    signals: StopSignals,
) -> None:
    """Refuse what is new, let what runs end, and tell what is left when the time is over."""
    log_fields(_logger, "draining", open_requests=log.num_open, drain_timeout=seconds)
    health.enter(Stage.DRAINING)
    generator.refuse_new()
    ended = asyncio.create_task(log.wait_all_closed())
    hurried = asyncio.create_task(signals.second.wait())
    try:
        await asyncio.wait((ended, hurried), timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        if not ended.done():
            log_fields(_logger, "drain time over", open_requests=log.num_open)
            generator.end_all()
            await asyncio.wait((ended,), timeout=FAREWELL_SECONDS)
    finally:
        ended.cancel()
        hurried.cancel()


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=1024)
    except OSError as error:
        raise ServeError(f"cannot listen on --host {host} --rest-port {port}: {error}") from None


def _grpc_server(
    settings: Settings,
    generator: TextGenerator,
    models: ServedModels,
    health: Health,
    log: RequestLog,
) -> GrpcServer:
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    try:
        return GrpcServer(
            generator, models, readiness=health, log=log, address=f"{host}:{settings.grpc_port}"
        )
    except RuntimeError:
        raise ServeError(
            f"cannot listen on --host {settings.host} --grpc-port {settings.grpc_port}: "
            "is it taken?"
        ) from None


def _banner(models: ServedModels, host: str, rest_port: int, grpc_port: int) -> str:
    default = models.default.folder
    others = ", ".join(model.folder.name for model in models.all[1:])
    host = f"[{host}]" if ":" in host else host
    body = '{"prompt": "Once upon a time", "stream": true}'
    return "\n".join(
        (
            f"Serving {default.name}, version {default.version}, "
            f"{default.artifact.config.num_parameters / 1e6:.1f} M parameters"
            + (f" (requests that name no model); also {others}" if others else ""),
            f"  REST  http://{host}:{rest_port}",
            f"  gRPC  {host}:{grpc_port}",
            f"  try   curl -N http://{host}:{rest_port}/v1/generate "
            f"-H 'Content-Type: application/json' -d '{body}'",
        )
    )

"""The composition root: build everything, serve, drain on a signal, stop. It owns the signals.

Exit status: 0 after a drain, 2 when there is nothing to serve or a setting is wrong, 1 when an
engine or a server failed, 128 + N when signal N came as the second one.
"""

import asyncio
import gc
import logging
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

import uvloop
from prometheus_client import disable_created_metrics

from service.api_keys import ApiKeys
from service.banner import banner
from service.check import check_models
from service.drain import drain
from service.engine_link.engine_figures import EngineFigures
from service.exposure import exposure_warning, offers_glass_box
from service.glass_box.glass_box import GlassBox
from service.health import Health, Stage
from service.logs import configure_logs
from service.memory_use import MemoryBudget
from service.metrics import Metrics
from service.models.model_choice import ModelChoice, choose_models
from service.models.model_loader import ModelLoader, Refusal, VersionRefusedError
from service.models.model_start import start_models
from service.models.model_store import StoreError
from service.models.served_models import ServedModels
from service.models.store_watch import StoreWatch
from service.request_log import RequestLog
from service.servers import ServeError, Servers
from service.setting_spec import SettingsError
from service.settings import Settings
from service.settings_sources import load_settings
from service.stop_signals import StopSignals
from service.text_generator import TextGenerator
from service.tls import Tls, load_tls

__all__ = ["main"]

_logger = logging.getLogger(__name__)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the server until it is told to stop."""
    try:
        loaded = load_settings(sys.argv[1:] if arguments is None else arguments)
        if loaded.is_print_wanted:
            print(loaded.table())
            return 0
        settings = loaded.settings
        choice = choose_models(settings)
        keys = ApiKeys(Path(settings.api_key_file)) if settings.api_key_file else None
        tls = load_tls(settings.tls_certificate_file, settings.tls_key_file)
        configure_logs(level=settings.log_level, form=settings.log_format)
        is_check = loaded.is_check_wanted
        work = _check(settings, choice) if is_check else _serve(settings, choice, keys, tls)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(work)
    except (SettingsError, StoreError) as error:
        return _complain(error, 2)
    except VersionRefusedError as error:
        return _complain(error, 1 if error.refusal is Refusal.NOT_LOADED else 2)
    except ServeError as error:
        return _complain(error, 1)
    except KeyboardInterrupt:
        return 128 + signal.SIGINT


def _complain(error: Exception, status: int) -> int:
    print(f"nextword-serve: {error}", file=sys.stderr)
    return status


class _Models:
    """What is served, and what keeps it up to date."""

    def __init__(self, settings: Settings, choice: ModelChoice) -> None:
        # When a series began says little and doubles every scrape.
        disable_created_metrics()
        self.metrics = Metrics()
        self.served = ServedModels()
        self.health = Health(self.served)
        self._choice = choice
        figures = EngineFigures(self.metrics)
        self._loader = ModelLoader(
            settings,
            num_shares=choice.num_models,
            budget=MemoryBudget(settings.memory_limit),
            figures=figures,
            on_change=self.health.notify,
        )
        self.watch: StoreWatch | None = None
        if choice.root is not None:
            foreign_names = frozenset(folder.name for folder in choice.folders)
            self.watch = StoreWatch(
                choice.root, self.served, self._loader, figures, foreign_names=foreign_names
            )

    async def start(self) -> None:
        await start_models(self._choice, self.served, self._loader, self.watch)

    async def stop(self) -> None:
        if self.watch is not None:
            await self.watch.close()
        await asyncio.gather(*(model.stop() for model in self.served.engines))


async def _check(settings: Settings, choice: ModelChoice) -> int:
    models = _Models(settings, choice)
    signals = StopSignals()
    stopping = asyncio.create_task(signals.first.wait(), name="stop")
    checking = asyncio.create_task(check_models(models.served, models.start), name="check")
    try:
        await asyncio.wait((checking, stopping), return_when=asyncio.FIRST_COMPLETED)
        if checking.done():
            print(checking.result())
            return 0
        return 128 + signal.SIGTERM
    finally:
        stopping.cancel()
        checking.cancel()
        await asyncio.wait((checking,))
        await models.stop()


async def _serve(
    settings: Settings, choice: ModelChoice, keys: ApiKeys | None, tls: Tls | None
) -> int:
    signals = StopSignals()
    models = _Models(settings, choice)
    management_port = settings.management_port if settings.management_port >= 0 else None
    if warning := exposure_warning(
        settings.host,
        has_keys=keys is not None,
        management_port=management_port,
        has_tls=tls is not None,
    ):
        _logger.warning(warning)
    health = models.health
    log = RequestLog(models.metrics, max_open=settings.max_open_requests)
    has_glass_box = offers_glass_box(settings.glass_box, settings.host, has_keys=keys is not None)
    generator = TextGenerator(models.served, offers_inspection=has_glass_box)
    servers = Servers(
        settings,
        generator,
        models.served,
        health=health,
        log=log,
        metrics=models.metrics,
        keys=keys,
        glass_box=GlassBox(generator, models.served) if has_glass_box else None,
        tls=tls,
    )
    await servers.start()
    stopping = asyncio.create_task(signals.first.wait(), name="stop")
    failing = asyncio.create_task(servers.wait_failed(), name="failing")
    loading = asyncio.create_task(models.start(), name="load")
    watching: asyncio.Task[None] | None = None
    try:
        await asyncio.wait((loading, stopping, failing), return_when=asyncio.FIRST_COMPLETED)
        if loading.done() and not stopping.done():
            # Raises what kept a model from being served.
            loading.result()
            health.enter(Stage.SERVING)
            # What was loaded stays: a collection need not look at it while streams wait.
            gc.collect()
            gc.freeze()
            print(_banner(models, settings, servers, keys, tls), flush=True)
            if models.watch is not None and settings.poll_interval > 0:
                watching = asyncio.create_task(models.watch.run(settings.poll_interval))
            ends = [task for task in (stopping, failing, watching) if task is not None]
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            if watching is not None and watching.done():
                # It never ends but by a fault of ours; half a server is none.
                watching.result()
        if failing.done():
            raise ServeError("a server ended by itself")
        if watching is not None:
            # No version is taken up by a server that leaves.
            watching.cancel()
            await asyncio.wait((watching,))
        await drain(settings, generator, health, log, servers.wait_delivered, signals)
    finally:
        tasks = [task for task in (loading, stopping, failing, watching) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        await asyncio.gather(servers.stop(), models.stop())
    return 128 + signals.number if signals.second.is_set() else 0


def _banner(
    models: _Models, settings: Settings, servers: Servers, keys: ApiKeys | None, tls: Tls | None
) -> str:
    return banner(
        models.served,
        settings.host,
        rest_port=servers.rest_port,
        grpc_port=servers.grpc_port,
        management_port=servers.management_port,
        num_keys=None if keys is None else keys.num_keys,
        has_glass_box=servers.has_glass_box,
        has_tls=tls is not None,
    )

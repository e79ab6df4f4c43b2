"""What probes are told, from the stage of the server and the state of its engines."""

import asyncio
from dataclasses import dataclass, field
from typing import cast

import pytest

from service.engine_link.engine_supervisor import EngineState
from service.health import Health, Stage
from service.models.served_models import ServedModel, ServedModels


@dataclass
class Supervisor:
    """Stands for one whose engine is in a given state since a given time."""

    state: EngineState = EngineState.READY
    changed_at: float = 0.0
    num_failed_restarts: int = 0


@dataclass
class Model:
    """Stands for a served model."""

    is_ready: bool = True
    label: str = "tiny@1"
    supervisor: Supervisor = field(default_factory=Supervisor)


@dataclass
class Models:
    """Stands for all of them."""

    all: list[Model]


def health_of(*models: Model) -> Health:
    return Health(cast("ServedModels", Models(list(models))))


def lost(*, seconds: float = 0.0, num_failed_restarts: int = 0) -> Model:
    now = asyncio.get_running_loop().time()
    supervisor = Supervisor(EngineState.RESTARTING, now - seconds, num_failed_restarts)
    return Model(is_ready=False, supervisor=supervisor)


def test_loading_is_live_and_not_ready() -> None:
    """H103."""

    async def look() -> None:
        health = Health(ServedModels())
        assert health.live().is_ok
        assert (health.ready().is_ok, health.ready().status) == (False, "loading")
        assert (health.started().is_ok, health.started().status) == (False, "loading")

    asyncio.run(look())


def test_zero_models_are_never_ready() -> None:
    """H104: not even when loading is over."""
    health = Health(ServedModels())
    health.enter(Stage.SERVING)
    assert (health.ready().is_ok, health.ready().status) == (False, "no_model")


def test_started_stays_while_draining() -> None:
    """H105, interfaces 44."""

    async def look() -> None:
        health = health_of(Model())
        health.enter(Stage.SERVING)
        assert health.ready().is_ok
        health.enter(Stage.DRAINING)
        assert (health.ready().is_ok, health.ready().status) == (False, "draining")
        assert health.live().is_ok
        assert health.started().is_ok

    asyncio.run(look())


def test_one_model_that_answers_is_enough_to_be_ready() -> None:
    async def look() -> None:
        health = health_of(lost(), Model())
        health.enter(Stage.SERVING)
        assert health.ready().is_ok
        health = health_of(lost(), lost())
        health.enter(Stage.SERVING)
        assert health.ready().status == "engine_unavailable"

    asyncio.run(look())


@pytest.mark.parametrize(
    ("seconds", "num_failed_restarts", "is_live"),
    [(0.0, 0, True), (25.0, 0, True), (31.0, 0, False), (1.0, 1, False)],
)
def test_live_ends_when_an_engine_does_not_come_back(
    seconds: float, num_failed_restarts: int, is_live: bool
) -> None:
    """H99: when its restart fails, or 30 seconds have passed."""

    async def look() -> None:
        model = lost(seconds=seconds, num_failed_restarts=num_failed_restarts)
        assert health_of(model).live().is_ok is is_live

    asyncio.run(look())


def test_a_lost_engine_beside_one_that_answers_does_not_end_live() -> None:
    """H99 with several models: a restart of the server would end the other one's streams."""

    async def look() -> None:
        gone = lost(seconds=31.0, num_failed_restarts=3)
        assert health_of(gone, Model()).live().is_ok
        verdict = health_of(lost(), gone).live()
        assert (verdict.is_ok, verdict.status) == (False, "engine_lost")

    asyncio.run(look())


def test_listeners_hear_of_every_change() -> None:
    health = Health(ServedModels())
    heard: list[bool] = []
    health.subscribe(lambda: heard.append(health.ready().is_ok))
    health.enter(Stage.SERVING)
    health.notify()
    assert heard == [False, False]


def test_a_served_model_has_what_health_looks_at() -> None:
    """Keeps the doubles above honest."""
    assert isinstance(ServedModel.is_ready, property)
    assert isinstance(ServedModel.label, property)

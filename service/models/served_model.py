"""One model that requests can name: a version's network, or the n-gram model beside it.

Both answer the same requests; each has a queue and a batch of its own in the version's engine
process. A request keeps the object that it found until its end.
"""

import asyncio
import secrets
from collections.abc import Generator
from contextlib import contextmanager

from service.admission import Admission
from service.engine.messages import Heartbeat, Loaded, ModelKind, StepOutput, Submit
from service.engine_link.engine_client import EngineClient
from service.engine_link.engine_figures import EngineFigures
from service.engine_link.engine_launch import EngineLoadError
from service.engine_link.engine_plan import EnginePlan
from service.engine_link.engine_supervisor import EngineState, EngineSupervisor
from service.errors import ErrorKind, RequestError
from service.models.model_store import ModelFolder
from service.models.version_holders import VersionHolders

__all__ = ["ServedModel"]

TRIAL_SECONDS = 60.0


class ServedModel:
    """One model of one version.

    Args:
        folder: What is served, under the name that requests give.
        plan: What its engine takes on.
        kind: Which model of the version.
        supervisor: The version's engine process.
        holders: Who uses the version.
        figures: What the engine reports to.

    Attributes:
        kind: The same.
        folder: The same.
        plan: The same.
        supervisor: The same.
        context_tokens: Longest text.
        loaded: What the engine said of itself, None before it was loaded.
    """

    def __init__(
        self,
        folder: ModelFolder,
        plan: EnginePlan,
        *,
        kind: ModelKind,
        supervisor: EngineSupervisor,
        holders: VersionHolders,
        figures: EngineFigures,
    ) -> None:
        self.kind = kind
        self.folder = folder
        self.plan = plan
        self.supervisor = supervisor
        self.context_tokens = plan.context_tokens
        self.loaded: Loaded | None = None
        self._holders = holders
        self._reporter = figures.reporter(folder.name, folder.version, lambda: self.is_ready)
        self._admission = Admission(
            max_requests=plan.max_requests,
            max_tokens=plan.max_tokens,
            on_refusal=self._reporter.note_not_admitted,
        )

    @property
    def label(self) -> str:
        """NAME@VERSION."""
        return f"{self.folder.name}@{self.folder.version}"

    @property
    def is_ready(self) -> bool:
        """Whether it can answer now."""
        return self.supervisor.client is not None

    @property
    def num_parameters(self) -> int:
        """Trained numbers of a network, n-grams of an n-gram model."""
        if self.kind is ModelKind.NGRAM and self.folder.ngram is not None:
            return self.folder.ngram.num_ngrams
        return self.folder.artifact.config.num_parameters

    @contextmanager
    def held(self) -> Generator["ServedModel", None, None]:
        """Keep the engine for as long as the block runs, even when another version takes over."""
        with self._holders.held():
            yield self

    @contextmanager
    def admit(
        self, num_tokens: int, *, num_prompts: int = 1, held_tokens: int = 0
    ) -> Generator[EngineClient, None, None]:
        """Take on a request for as long as the block runs; its value is the engine to ask.

        Args:
            num_tokens: What the request may cost: its prompt and everything it may make.
            num_prompts: Requests of its call, which are admitted together or not at all.
            held_tokens: What those of them may cost that were admitted before.

        Raises:
            RequestError: The engine is loading, lost or full, or the cost is above any limit.
        """
        client = self.supervisor.client
        if client is None:
            if self.supervisor.state is EngineState.LOADING:
                raise RequestError(
                    ErrorKind.MODEL_LOADING, "the model is loading", retry_after_seconds=2
                )
            raise RequestError(
                ErrorKind.ENGINE_UNAVAILABLE,
                "the engine was lost and is being restarted",
                retry_after_seconds=2,
            )
        with self._admission.enter(num_tokens, num_prompts=num_prompts, held_tokens=held_tokens):
            yield client

    async def try_out(self, num_tokens: int) -> list[int]:
        """Let the engine make some tokens, as a request would.

        Raises:
            EngineLoadError: It could not.
        """
        client = self.supervisor.client
        submit = Submit(
            request_id=0,
            prompt_ids=[0],
            max_tokens=min(num_tokens, self.context_tokens),
            temperature=1.0,
            seed=secrets.randbits(32),
            kind=self.kind,
        )
        token_ids: list[int] = []
        try:
            if client is None:
                raise EngineLoadError("the engine was lost")
            deadline = asyncio.get_running_loop().time() + TRIAL_SECONDS
            with client.open(submit, deadline=deadline) as stream:
                async for batch in stream:
                    token_ids += batch.token_ids
        except RequestError as error:
            raise EngineLoadError(f"{self.label}: a trial failed: {error}") from None
        return token_ids

    def note_report(self, report: StepOutput | Heartbeat) -> None:
        """Its engine has made a step, or shown that it lives."""
        self._reporter.note_report(report)
        if isinstance(report, StepOutput):
            self._admission.note_step(num_tokens=report.num_tokens, seconds=report.seconds)

    def note_change(self) -> None:
        """The state of the engine process has changed."""
        client = self.supervisor.client
        if client is not None and (loaded := client.loaded_of(self.kind)) is not self.loaded:
            self.loaded = loaded
            self._reporter.note_loaded(loaded)
        self._reporter.note_change(num_restarts=self.supervisor.num_restarts)

    def note_ended(self) -> None:
        """The engine process has ended for good."""
        self._reporter.note_ended()

"""All models behind a server, looked up by the name that a client gives; they may change.

NAME is the version that is served now, NAME@VERSION is that or another that is kept loaded (--pin,
--model). Versions that are not loaded are not found: nothing that a client says loads a model.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from service.errors import ErrorKind, RequestError
from service.served_model import ServedModel

__all__ = ["RefusedVersion", "ServedModel", "ServedModels"]

_SAFE_NAME = re.compile(r"[A-Za-z0-9._@-]{1,64}")


@dataclass(frozen=True, slots=True)
class RefusedVersion:
    """A version in the store that is not served although it is asked for, and why."""

    version: str
    reason: str


class ServedModels:
    """The models of a server. While it is loading there are none, and requests are told so."""

    def __init__(self) -> None:
        self._is_loading = True
        self._default_name = ""
        self._current: dict[str, ServedModel] = {}
        self._pinned: dict[str, ServedModel] = {}
        self._retiring: list[ServedModel] = []
        self._refused: dict[str, tuple[RefusedVersion, ...]] = {}

    def open(self, current: Iterable[ServedModel], pinned: Iterable[ServedModel]) -> None:
        """Begin to serve.

        The model that was made last is the default from now on: by its name, whatever is published
        later, since the requests of those who name none should not change their model at night.

        Args:
            current: What each name means; at least one.
            pinned: Versions kept beside or besides those.
        """
        ordered = sorted(current, key=lambda model: -model.folder.created)
        self._current = {model.folder.name: model for model in ordered}
        self._pinned = {model.label: model for model in pinned}
        self._default_name = ordered[0].folder.name
        self._is_loading = False

    @property
    def all(self) -> list[ServedModel]:
        """What each name means now: the default model first, the others newest first."""
        rest = [model for name, model in self._current.items() if name != self._default_name]
        rest.sort(key=lambda model: -model.folder.created)
        return [*([] if self._is_loading else [self.default]), *rest]

    @property
    def engines(self) -> list[ServedModel]:
        """Every version with an engine, those included that end their last requests."""
        models = [*self._current.values(), *self._pinned.values(), *self._retiring]
        return list({id(model): model for model in models}.values())

    @property
    def default(self) -> ServedModel:
        """The model of requests that name none; there is one once loading is over."""
        return self._current[self._default_name]

    def find(self, name: str | None) -> ServedModel:
        """The model that NAME or NAME@VERSION means now; None means the default.

        Raises:
            RequestError: No such model, no such version loaded, or none is loaded yet.
        """
        if self._is_loading:
            raise RequestError(
                ErrorKind.MODEL_LOADING, "the models are loading", retry_after_seconds=2
            )
        if name is None:
            return self.default
        base, at, version = name.partition("@")
        model = self._current.get(base)
        if at and (model is None or model.folder.version != version):
            model = self._pinned.get(name)
        if model is None:
            # What a client sends is repeated only where it cannot be mistaken for anything else.
            shown = f" {name}" if _SAFE_NAME.fullmatch(name) else ""
            loaded = ", ".join([*self._current, *(self._labels(base) if at else ())])
            raise RequestError(
                ErrorKind.MODEL_NOT_FOUND,
                f"model{shown} is not loaded; loaded are: {loaded}",
                field="model",
            )
        return model

    def versions_of(self, name: str) -> tuple[str, ...]:
        """Versions of a name that can be asked for, the one that the name means first."""
        return tuple(label.partition("@")[2] for label in self._labels(name))

    def current(self, name: str) -> ServedModel | None:
        """What a name means now."""
        return self._current.get(name)

    def put(self, model: ServedModel) -> ServedModel | None:
        """Let a name mean this model from now on.

        Returns:
            The one it meant before, if that is to end with its last request. It counts among
            ``engines`` until it is dropped.
        """
        before = self._current.get(model.folder.name)
        self._current[model.folder.name] = model
        if before is None or before.label in self._pinned:
            return None
        self._retiring.append(before)
        return before

    def drop(self, model: ServedModel) -> None:
        """Forget a version whose engine has ended."""
        self._retiring.remove(model)

    def pinned(self, name: str, version: str) -> ServedModel | None:
        """A version that is kept loaded."""
        return self._pinned.get(f"{name}@{version}")

    def set_refused(self, name: str, refused: tuple[RefusedVersion, ...]) -> None:
        """Say which versions of a name are refused now."""
        self._refused[name] = refused

    def refused(self, name: str) -> tuple[RefusedVersion, ...]:
        """Versions of a name that are refused now."""
        return self._refused.get(name, ())

    def fail_all(self, error: RequestError) -> None:
        """End every running request of every engine with an error."""
        for model in self.engines:
            model.supervisor.fail_all(error)

    def _labels(self, name: str) -> list[str]:
        current = self._current.get(name)
        labels = [] if current is None else [current.label]
        return labels + [
            label
            for label, model in self._pinned.items()
            if model.folder.name == name and label not in labels
        ]

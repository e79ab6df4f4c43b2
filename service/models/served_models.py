"""All models behind a server, looked up by the name that a client gives; they may change.

NAME is the version that is served now, NAME@VERSION is that or another that is kept loaded (--pin,
--model); NAME:ngram and NAME:ngram@VERSION are the n-gram models of the same versions. Versions
that are not loaded are not found: nothing that a client says loads a model.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from service.errors import ErrorKind, RequestError
from service.models.ngram_sibling import NGRAM_FAMILY, split_name
from service.models.served_model import ServedModel
from service.models.served_version import ServedVersion

__all__ = ["RefusedVersion", "ServedModel", "ServedModels", "ServedVersion"]

_SAFE_NAME = re.compile(r"[A-Za-z0-9._:@-]{1,64}")


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
        self._current: dict[str, ServedVersion] = {}
        self._pinned: dict[str, ServedVersion] = {}
        self._retiring: list[ServedVersion] = []
        self._refused: dict[str, tuple[RefusedVersion, ...]] = {}

    def open(self, current: Iterable[ServedVersion], pinned: Iterable[ServedVersion]) -> None:
        """Begin to serve.

        The model that was made last is the default from now on: by its name, whatever is published
        later, since the requests of those who name none should not change their model at night.

        Args:
            current: What each name means; at least one.
            pinned: Versions kept beside or besides those.
        """
        ordered = sorted(current, key=lambda version: -version.folder.created)
        self._current = {version.folder.name: version for version in ordered}
        self._pinned = {version.label: version for version in pinned}
        self._default_name = ordered[0].folder.name
        self._is_loading = False

    @property
    def versions(self) -> list[ServedVersion]:
        """What each name means now: the default first, the others newest first."""
        rest = [version for name, version in self._current.items() if name != self._default_name]
        rest.sort(key=lambda version: -version.folder.created)
        return [*([] if self._is_loading else [self._current[self._default_name]]), *rest]

    @property
    def all(self) -> list[ServedModel]:
        """The models of these versions, each n-gram model after its network."""
        return [model for version in self.versions for model in version.models]

    @property
    def engines(self) -> list[ServedVersion]:
        """Every version with an engine process, those included that end their last requests."""
        versions = [*self._current.values(), *self._pinned.values(), *self._retiring]
        return list({id(version): version for version in versions}.values())

    @property
    def default(self) -> ServedModel:
        """The model of requests that name none; there is one once loading is over."""
        return self._current[self._default_name].model

    def find(self, name: str | None) -> ServedModel:
        """The model that a name means now; None means the default.

        Args:
            name: NAME, NAME@VERSION, NAME:ngram or NAME:ngram@VERSION.

        Raises:
            RequestError: No such model, no such version loaded, none with an n-gram model, or none
                is loaded yet.
        """
        if self._is_loading:
            raise RequestError(
                ErrorKind.MODEL_LOADING, "the models are loading", retry_after_seconds=2
            )
        if name is None:
            return self.default
        model_name, at, number = name.partition("@")
        base, family = split_name(model_name)
        version = self._current.get(base)
        if at and (version is None or version.folder.version != number):
            version = self._pinned.get(f"{base}@{number}")
        if version is None or family not in (None, NGRAM_FAMILY):
            # What a client sends is repeated only where it cannot be mistaken for anything else.
            shown = f" {name}" if _SAFE_NAME.fullmatch(name) else ""
            names = [model.folder.name for each in self._current.values() for model in each.models]
            loaded = ", ".join([*names, *(self._labels(base) if at else ())])
            raise RequestError(
                ErrorKind.MODEL_NOT_FOUND,
                f"model{shown} is not loaded; loaded are: {loaded}",
                field="model",
            )
        return version.model if family is None else _ngram_of(version)

    def both(self, model: ServedModel) -> tuple[ServedModel, ServedModel]:
        """The network and the n-gram model of the version of a model that is held.

        Raises:
            RequestError: It has no n-gram model.
        """
        version = next(version for version in self.engines if model in version.models)
        return version.model, _ngram_of(version)

    def versions_of(self, name: str) -> tuple[str, ...]:
        """Versions of a model's name that can be asked for, the one that the name means first."""
        base, family = split_name(name)
        return tuple(
            version.folder.version
            for version in self._versions(base)
            if family is None or version.ngram is not None
        )

    def current(self, name: str) -> ServedVersion | None:
        """What a name means now."""
        return self._current.get(name)

    def put(self, version: ServedVersion) -> ServedVersion | None:
        """Let a name mean this version from now on.

        Returns:
            The one it meant before, if that is to end with its last request. It counts among
            ``engines`` until it is dropped.
        """
        before = self._current.get(version.folder.name)
        self._current[version.folder.name] = version
        if before is None or before.label in self._pinned:
            return None
        self._retiring.append(before)
        return before

    def drop(self, version: ServedVersion) -> None:
        """Forget a version whose engine process has ended."""
        self._retiring.remove(version)

    def pinned(self, name: str, number: str) -> ServedVersion | None:
        """A version that is kept loaded."""
        return self._pinned.get(f"{name}@{number}")

    def set_refused(self, name: str, refused: tuple[RefusedVersion, ...]) -> None:
        """Say which versions of a name are refused now."""
        self._refused[name] = refused

    def refused(self, name: str) -> tuple[RefusedVersion, ...]:
        """Versions of a model's name that are refused now."""
        return self._refused.get(split_name(name)[0], ())

    def fail_all(self, error: RequestError) -> None:
        """End every running request of every engine with an error."""
        for version in self.engines:
            version.supervisor.fail_all(error)

    def _labels(self, name: str) -> list[str]:
        return [version.label for version in self._versions(name)]

    def _versions(self, name: str) -> list[ServedVersion]:
        current = self._current.get(name)
        versions = [] if current is None else [current]
        return versions + [
            version
            for label, version in self._pinned.items()
            if version.folder.name == name and label not in (each.label for each in versions)
        ]


def _ngram_of(version: ServedVersion) -> ServedModel:
    if version.ngram is None:
        raise RequestError(
            ErrorKind.MODEL_NOT_FOUND,
            f"{version.label} has no n-gram model beside its network",
            field="model",
        )
    return version.ngram

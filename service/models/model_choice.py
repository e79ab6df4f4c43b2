"""Which models the settings ask for: folders, a store, versions to keep loaded beside others.

It looks at names and headers only, in milliseconds, so that what cannot be served is said before a
port is taken. Files are verified when they are loaded.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from model.artifact import NAME_PATTERN
from service.models.model_store import StoreError, read_folder
from service.models.store_scan import StoredName, scan_store
from service.setting_spec import SettingsError
from service.settings import DEFAULT_ROOT, Settings

__all__ = ["ChosenFolder", "ModelChoice", "choose_models"]


@dataclass(frozen=True, slots=True)
class ChosenFolder:
    """A version that is served because a setting says so."""

    name: str
    version: str
    directory: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelChoice:
    """What a server is to serve.

    Attributes:
        folders: Of --model; where two have one name, the name means the one of the higher version.
        root: The model store, None where there is none.
        stored: Its names.
        pins: Versions of the store to keep loaded.
    """

    folders: tuple[ChosenFolder, ...]
    root: Path | None
    stored: Mapping[str, StoredName]
    pins: tuple[ChosenFolder, ...]

    @property
    def num_models(self) -> int:
        """Versions that may be loaded at once, those aside that replace another."""
        names = [name for name, stored in self.stored.items() if stored.versions]
        return len(self.folders) + len(names) + len(self.pins)


def choose_models(settings: Settings) -> ModelChoice:
    """Find what the settings name.

    Raises:
        SettingsError: A name of --model cannot be asked for, --pin is malformed, or without a
            store.
        StoreError: A folder or the store cannot be read, two folders claim one name and version,
            or there is nothing.
    """
    folders = tuple(_chosen_folder(text) for text in settings.model)
    labels = [(folder.name, folder.version) for folder in folders]
    for name, version in labels:
        if labels.count((name, version)) > 1:
            raise StoreError(
                f"two models are called {name}@{version}; give one another name: --model NAME=DIR"
            )
    root = _store_root(settings)
    stored = {} if root is None else scan_store(root)
    for folder in folders:
        if folder.name in stored:
            raise StoreError(
                f"two models are called {folder.name}, one of them in {root}; give the other "
                "another name: --model NAME=DIR"
            )
    if not folders and not any(each.versions for each in stored.values()):
        faults = [f"; {each.fault}" for each in stored.values()]
        raise StoreError(
            f"{root}: no model that can be served{''.join(faults)}; `make train` makes one"
        )
    pins = tuple(_pin(text, root, stored) for text in settings.pin)
    return ModelChoice(folders=folders, root=root, stored=stored, pins=pins)


def _chosen_folder(text: str) -> ChosenFolder:
    name, separator, place = text.partition("=")
    if separator and not NAME_PATTERN.fullmatch(name):
        raise SettingsError(
            "--model NAME=DIR must have a NAME of 1 to 64 letters, digits, dots, dashes and "
            f"underscores, the first a letter or digit, got {name[:80]!a}"
        )
    directory = Path(place if separator else text)
    folder = read_folder(directory, name=name if separator else None, verify=False)
    return ChosenFolder(folder.name, folder.version, directory)


def _store_root(settings: Settings) -> Path | None:
    """--models, else the default store when no --model is given."""
    if settings.models:
        return Path(settings.models)
    return None if settings.model else Path(DEFAULT_ROOT)


def _pin(text: str, root: Path | None, stored: Mapping[str, StoredName]) -> ChosenFolder:
    name, _, version = text.partition("@")
    if not name or not version:
        raise SettingsError(f"--pin must be NAME@VERSION, got {text[:80]!a}")
    if root is None:
        raise SettingsError(f"--pin needs a model store: give --models too; got {text[:80]!a}")
    if name in stored and stored[name].fault and not stored[name].versions:
        raise StoreError(f"{root}: no version {text[:80]!a} to pin: {stored[name].fault}")
    if name not in stored or version not in stored[name].versions:
        raise StoreError(f"{root}: no version {text[:80]!a} to pin")
    return ChosenFolder(name, version, root / name / version)

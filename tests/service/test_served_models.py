"""Which model a name means: the network of a version, or the n-gram model beside it."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import pytest

from service.errors import ErrorKind, RequestError
from service.models.model_choice import choose_models
from service.models.served_models import RefusedVersion, ServedModels, ServedVersion
from service.setting_spec import SettingsError
from service.settings_sources import load_settings
from tests.service.store_scene import Folder


@dataclass(eq=False)
class Model:
    """Stands for what a request can name."""

    folder: Folder


@dataclass(eq=False)
class Version:
    """Stands for a version with one model or two."""

    folder: Folder
    has_ngram: bool = True
    model: Model = field(init=False)
    ngram: Model | None = field(init=False)

    def __post_init__(self) -> None:
        name, version = self.folder.name, self.folder.version
        self.model = Model(self.folder)
        self.ngram = Model(Folder(f"{name}:ngram", version)) if self.has_ngram else None

    @property
    def label(self) -> str:
        return f"{self.folder.name}@{self.folder.version}"

    @property
    def models(self) -> tuple[Model, ...]:
        return (self.model,) if self.ngram is None else (self.model, self.ngram)


FIRST = Version(Folder("tiny", "1"), has_ngram=False)
SECOND = Version(Folder("tiny", "2", created=2))
OTHER = Version(Folder("other", "7", created=1), has_ngram=False)


def served(*current: Version, pinned: tuple[Version, ...] = ()) -> ServedModels:
    models = ServedModels()
    models.open(cast("list[ServedVersion]", current), cast("list[ServedVersion]", pinned))
    return models


def test_a_name_with_a_colon_means_the_ngram_model_of_the_same_version() -> None:
    models = served(SECOND, OTHER, pinned=(FIRST,))
    expected = {
        None: SECOND.model,
        "tiny": SECOND.model,
        "tiny@2": SECOND.model,
        "tiny@1": FIRST.model,
        "tiny:ngram": SECOND.ngram,
        "tiny:ngram@2": SECOND.ngram,
        "other": OTHER.model,
    }
    assert {name: cast("Model", models.find(name)) for name in expected} == expected
    names = [model.folder.name for model in models.all]
    assert names == ["tiny", "tiny:ngram", "other"]
    for model in SECOND.models:
        assert models.both(model) == SECOND.models  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("name", ["other:ngram", "other:ngram@7", "tiny:ngram@1"])
def test_a_version_without_one_is_named(name: str) -> None:
    models = served(SECOND, OTHER, pinned=(FIRST,))
    label = name.replace(":ngram", "") if "@" in name else "other@7"
    with pytest.raises(RequestError, match=f"{label} has no n-gram model") as caught:
        models.find(name)
    assert (caught.value.kind, caught.value.field) == (ErrorKind.MODEL_NOT_FOUND, "model")
    with pytest.raises(RequestError, match="other@7 has no n-gram model"):
        models.both(models.find("other"))


def test_only_versions_that_have_one_can_be_asked_for() -> None:
    models = served(SECOND, OTHER, pinned=(FIRST,))
    assert models.versions_of("tiny") == ("2", "1")
    assert models.versions_of("tiny:ngram") == ("2",)
    refused = (RefusedVersion("3", "damaged"),)
    models.set_refused("tiny", refused)
    assert models.refused("tiny") == models.refused("tiny:ngram") == refused


@pytest.mark.parametrize("name", ["tiny:ngram", "tiny@1", "", "../x", "x" * 65])
def test_a_folder_gets_no_name_that_means_something_else(name: str, tmp_path: Path) -> None:
    settings = load_settings(["--model", f"{name}={tmp_path}"]).settings
    with pytest.raises(SettingsError, match="NAME of 1 to 64 letters"):
        choose_models(settings)

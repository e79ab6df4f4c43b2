"""Where the model that comes with the project lies."""

from pathlib import Path

from model.store import locate

__all__ = ["BUNDLED_NAME", "bundled_model"]

BUNDLED_NAME = "fairytales"


def bundled_model() -> Path:
    """Folder of the bundled model's current version.

    Raises:
        ArtifactError: This installation does not carry it.
    """
    return locate(Path(__file__).resolve().parents[1] / "artifacts", BUNDLED_NAME)

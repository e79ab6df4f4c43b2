"""The n-gram model of a version, as the model NAME:ngram. Torch-free.

It was trained on the same text over the same tokens, so it answers the same requests; it is what
the network has to beat.
"""

from dataclasses import replace

from service.models.model_store import ModelFolder

__all__ = ["NGRAM_FAMILY", "sibling_folder", "split_name"]

NGRAM_FAMILY = "ngram"


def sibling_folder(folder: ModelFolder) -> ModelFolder:
    """The same artifact under the name of its n-gram model.

    Args:
        folder: One that has an n-gram model.
    """
    assert folder.ngram is not None
    name = f"{folder.name}:{NGRAM_FAMILY}"
    return replace(folder, name=name, vocabulary_size=folder.ngram.vocab_size)


def split_name(name: str) -> tuple[str, str | None]:
    """NAME and what follows its colon, None where there is none; no name of a store has one."""
    base, colon, family = name.partition(":")
    return base, family if colon else None

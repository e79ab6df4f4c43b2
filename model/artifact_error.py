"""The one error of everything that reads or writes artifact folders, for users."""

__all__ = ["ArtifactError"]


class ArtifactError(ValueError):
    """A file or folder is damaged, unsafe, incomplete or of another kind.

    The message is one line that names the file and the broken rule, never the file's content.
    """

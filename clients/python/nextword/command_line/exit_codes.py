"""What the command's exit code says, and the one line beside it."""

from enum import IntEnum

from nextword.errors import (
    AuthenticationError,
    ConnectionFailedError,
    DeadlineExceededError,
    NextwordError,
    NotPossibleError,
    OverloadedError,
    ProtocolError,
    ServerFaultError,
    StatusError,
    UnavailableError,
)

__all__ = ["ExitCode", "describe", "exit_code_of"]


class ExitCode(IntEnum):
    """How a command ended."""

    DONE = 0
    FAILED = 1
    WRONG_REQUEST = 2
    NOT_AVAILABLE = 3
    TIME_OVER = 4
    OUTPUT_CLOSED = 128 + 13
    INTERRUPTED = 128 + 2


def exit_code_of(error: NextwordError) -> ExitCode:
    """The exit code of an error."""
    match error:
        case ConnectionFailedError() | OverloadedError() | UnavailableError():
            return ExitCode.NOT_AVAILABLE
        case DeadlineExceededError():
            return ExitCode.TIME_OVER
        case ProtocolError() | ServerFaultError():
            return ExitCode.FAILED
        case NotPossibleError() | StatusError():
            return ExitCode.WRONG_REQUEST
        case _:
            return ExitCode.FAILED


def describe(error: NextwordError) -> str:
    """The error in one line, with what to do about it where we know."""
    match error:
        case ConnectionFailedError() if "nobody answers" in str(error):
            advice = "; start a server with `make serve` or nextword-serve, or name one by --url"
        case AuthenticationError(code=code):
            advice = f" ({code}); give the key by --key-file FILE or NEXTWORD_API_KEY"
        case StatusError(retry_after_seconds=float() as seconds):
            advice = f" ({error.code}; try again in {seconds:g} s)"
        case StatusError(code=code):
            advice = f" ({code})"
        case _:
            advice = ""
    return " ".join(f"{error}{advice}".split())

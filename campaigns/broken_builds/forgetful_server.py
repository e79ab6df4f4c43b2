"""A server that never tells its engine that a client has left: the control of the leak campaign."""

import sys

from service.engine.messages import Cancel, Pause, Resume, Submit
from service.main import main
from service.token_stream import TokenStream


def forget_cancels() -> None:
    """Let every new stream keep its cancels to itself."""
    build = TokenStream.__init__

    def altered(self: TokenStream, request: Submit, **others: object) -> None:
        tell = others["send"]
        assert callable(tell)

        def forgetful(message: Cancel | Pause | Resume) -> None:
            if not isinstance(message, Cancel):
                tell(message)

        build(self, request, **{**others, "send": forgetful})  # pyright: ignore[reportArgumentType]

    TokenStream.__init__ = altered


if __name__ == "__main__":
    forget_cancels()
    sys.exit(main())

"""How likely each token was, and its likeliest rivals, as a table on the standard error."""

import math
from collections.abc import Sequence

from nextword.answers import RivalToken, TokenLogprob

__all__ = ["print_logprobs"]


def print_logprobs(entries: Sequence[tuple[int, TokenLogprob]]) -> None:
    """Print a row for each token.

    Args:
        entries: Number of the continuation and what is known of the token, as they came.
    """
    from nextword.command_line.tables import new_table, print_table

    has_several = any(index for index, _ in entries)
    heads = [
        *(["choice"] if has_several else []),
        "token",
        "id",
        "probability",
        "rank",
        "likeliest",
    ]
    table = new_table(*heads, numbers=("id", "probability", "rank"))
    for index, entry in sorted(entries, key=lambda pair: pair[0]):
        cells = [
            _shown(entry),
            str(entry.id),
            _percent(entry.logprob),
            "-" if entry.rank is None else str(entry.rank),
            "  ".join(f"{_shown(rival)} {_percent(rival.logprob)}" for rival in entry.top),
        ]
        table.add_row(*([str(index + 1), *cells] if has_several else cells))
    print_table(table, is_remark=True)


def _shown(token: TokenLogprob | RivalToken) -> str:
    if not token.bytes:
        return f"<{token.id}>"
    try:
        return repr(token.bytes.decode())
    except UnicodeDecodeError:
        return f"<{token.bytes.hex(' ').upper()}>"


def _percent(logprob: float | None) -> str:
    return "-" if logprob is None else f"{math.exp(logprob):.2%}"

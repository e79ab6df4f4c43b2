"""How tokens were chosen, as a table: one row for each, its rivals beside it."""

import base64
import json
from collections.abc import Sequence
from dataclasses import asdict

from nextword.command_line.tables import new_table, plain, print_table
from nextword.command_line.terminal_text import visible
from nextword.inspections import CandidateInspection, TokenInspection, TokenView

__all__ = ["inspections_json", "print_inspections"]


def print_inspections(inspections: Sequence[TokenInspection]) -> None:
    """Print a row for each position, and how well the text was predicted."""
    numbers = ("place", "id", "model", "drawn from", "bits", "rank", "kept", "number")
    heads = ("place", "token", *numbers[1:], "draws", "likeliest: model > drawn from")
    table = new_table(*heads, numbers=numbers)
    for each in inspections:
        is_drawn = each.drawn_token == each.token
        table.add_row(
            str(each.position),
            plain(_shown(each.token) + (" (ends the text)" if each.ends_text else "")),
            str(each.token.id),
            f"{2**-each.surprise_bits:.2%}",
            f"{each.chosen_probability:.2%}",
            f"{each.surprise_bits:.2f}",
            str(each.rank),
            str(each.stages[-1].num_kept) if each.stages else "-",
            f"{each.random_number:.6f}",
            plain("it" if is_drawn else _shown(each.drawn_token)),
            plain("  ".join(_rival(candidate) for candidate in each.candidates)),
        )
    print_table(table)
    if inspections:
        mean = sum(each.surprise_bits for each in inspections) / len(inspections)
        print(f"{len(inspections)} tokens, {mean:.2f} bits of surprise each")


def inspections_json(inspections: Sequence[TokenInspection]) -> str:
    """The same for programs, as REST writes it."""
    written = [
        {**asdict(each), "logits": base64.b64encode(each.logits).decode()} for each in inspections
    ]
    # Bytes are lists of numbers.
    return json.dumps(written, default=list)


def _shown(token: TokenView) -> str:
    """The token's own characters in quotes; its bytes where it holds no whole ones."""
    if token.is_control:
        return visible(f"<{token.text or token.id}>")
    try:
        return repr(token.bytes.decode())
    except UnicodeDecodeError:
        return f"<{token.bytes.hex(' ').upper()}>"


def _rival(candidate: CandidateInspection) -> str:
    before, after = candidate.probabilities[0], candidate.probabilities[-1]
    told = f"{_shown(candidate.token)} {before:.1%}"
    return f"{told} > {candidate.removed_by or f'{after:.1%}'}"

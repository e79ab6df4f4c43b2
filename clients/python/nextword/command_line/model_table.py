"""The served models as a table, with what else can be asked for and what was refused."""

from datetime import UTC, datetime

from nextword.answers import Model
from nextword.command_line.tables import new_table, print_table
from nextword.command_line.terminal_text import visible

__all__ = ["print_models"]


def print_models(found: tuple[Model, ...]) -> None:
    """Print a row for each model."""
    numbers = ("parameters", "context", "vocabulary")
    heads = ("model", *numbers, "published", "state", "computed by", "defaults")
    table = new_table(*heads, numbers=numbers)
    for model in found:
        created = datetime.fromtimestamp(model.created, UTC)
        computed_by = (model.executor, model.device, model.dtype)
        table.add_row(
            f"{model.id}@{model.version}",
            _short(model.num_parameters) + (" n-grams" if model.kind == "ngram" else ""),
            str(model.context_tokens),
            str(model.vocabulary_size),
            f"{created:%Y-%m-%d}",
            f"{model.status}, default" if model.is_default else model.status,
            " ".join(part for part in computed_by if part is not None) or "-",
            _defaults(model),
        )
    print_table(table)
    for model in found:
        others = [f"{model.id}@{version}" for version in model.versions if version != model.version]
        if others:
            print(f"{model.id} also answers as {', '.join(others)}")
        for refused in model.refused:
            print(visible(f"{model.id}@{refused.version} is refused: {refused.reason}"))


def _short(number: int) -> str:
    for size, letter in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if number >= size:
            return f"{number / size:.1f} {letter}"
    return str(number)


def _defaults(model: Model) -> str:
    given = model.default_parameters.given()
    shown = ("max_tokens", "temperature", "top_k", "top_p", "min_p", "repetition_penalty")
    return " ".join(f"{name}={given[name]}" for name in shown if name in given)

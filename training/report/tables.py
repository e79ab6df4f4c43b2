"""Tables and lists of facts for the report's page."""

from collections.abc import Iterator, Mapping, Sequence

from training.report.markup import Markup, tag
from training.run_log.facts import JsonValue


def table(heads: Sequence[str], rows: Sequence[Sequence[str]], *, marked: Sequence[bool]) -> Markup:
    """Returns a table of figures; marked rows stand out. Wide ones scroll by themselves on a
    phone."""
    head = tag("tr", *(tag("th", text, scope="col") for text in heads))
    body = [
        tag("tr", *(tag("td", text) for text in row), class_="marked" if is_marked else None)
        for row, is_marked in zip(rows, marked, strict=True)
    ]
    return tag(
        "div", tag("table", tag("thead", head), tag("tbody", *body)), class_="scroll", tabindex="0"
    )


def fact_list(facts: Mapping[str, str | None], *, class_: str = "facts") -> Markup:
    """Returns names and values; what is None is left out."""
    return tag(
        "dl",
        *(
            tag("div", tag("dt", name), tag("dd", value, dir="auto"))
            for name, value in facts.items()
            if value is not None
        ),
        class_=class_,
    )


def flatten(prefix: str, value: JsonValue) -> Iterator[tuple[str, str]]:
    """Yields nested settings as dotted names and texts."""
    match value:
        case Mapping():
            for key, item in value.items():
                yield from flatten(f"{prefix}.{key}" if prefix else key, item)
        case bool():
            yield prefix, "true" if value else "false"
        case None:
            yield prefix, "none"
        case str() | int() | float():
            yield prefix, str(value)
        case _:
            yield prefix, ", ".join(text for item in value for _, text in flatten("", item))

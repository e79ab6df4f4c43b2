"""The report of a load test as one page: verdict, figures, plots; it needs no other file."""

from collections.abc import Sequence
from datetime import UTC, datetime
from html import escape
from importlib import metadata, resources

from nextword.bench.level_charts import course_charts, growth_charts, level_name, time_charts
from nextword.bench.plan import Plan
from nextword.bench.repeats import Median, level_groups, repeated_levels
from nextword.bench.results import LevelResult
from nextword.bench.server_facts import ServerFacts
from nextword.bench.svg_charts import Chart, draw
from nextword.bench.sweep import SweepResult

__all__ = ["render_page"]


def render_page(
    plan: Plan,
    servers: Sequence[ServerFacts],
    results: Sequence[LevelResult],
    sweeps: Sequence[SweepResult],
) -> str:
    """The page; nothing in it is fetched from anywhere."""
    style = resources.files("nextword.bench").joinpath("report.css").read_text("utf-8")
    created = datetime.now(UTC).isoformat(sep=" ", timespec="minutes")
    sections = [
        f"<h1>Load test of {escape(', '.join(server.model for server in servers))}</h1>",
        f"<p>{escape(created)}, nextword bench {metadata.version('nextword')}</p>",
        _verdicts(plan, sweeps),
        _facts(plan, servers),
        _figures(plan, results),
        _remarks(results),
        _charts("Under load", growth_charts(results, plan.objective)),
        _charts("Times", time_charts(results)),
        _charts("Course", course_charts(results)),
        _explanation(plan),
    ]
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>Load test</title><style>\n{style}</style></head>\n"
        f"<body><main>\n{chr(10).join(section for section in sections if section)}\n"
        "</main></body></html>\n"
    )


def _verdicts(plan: Plan, sweeps: Sequence[SweepResult]) -> str:
    bounds = "" if plan.objective is None else f"<br>{escape(plan.objective.label)}"
    return "".join(
        f'<p class="verdict">{escape(found.url)} '
        f"<strong>{escape(found.verdict)}</strong>{bounds}</p>"
        for found in sweeps
    )


def _facts(plan: Plan, servers: Sequence[ServerFacts]) -> str:
    rows: list[tuple[str, str]] = []
    for server in servers:
        version = "" if server.model_version is None else f"@{server.model_version}"
        how = f", computed by {server.computed_by}" if server.computed_by else ""
        rows.append(("server", f"{server.url}: {server.model}{version}{how}"))
    length = f"{plan.num_requests} requests" if plan.seconds is None else f"{plan.seconds:g} s"
    prompts = plan.prompts
    made = f"random, {prompts.prompt_tokens.label} tokens"
    rows += [
        ("API", f"{plan.api}, tokens counted by {_counted(plan)}"),
        ("prompts", f"{len(prompts.given)} of {prompts.file}" if prompts.given else made),
        ("tokens of each answer", f"exactly {prompts.max_tokens.label}"),
        ("each level", length if plan.num_repeats == 1 else f"{length}, {plan.num_repeats} times"),
        ("arrivals of open loops", plan.arrivals),
        ("temperature", "the server's" if plan.temperature is None else f"{plan.temperature:g}"),
        ("objective", "none" if plan.objective is None else plan.objective.label),
        ("seed", str(plan.seed)),
    ]
    items = "".join(f"<dt>{escape(name)}</dt><dd>{escape(text)}</dd>" for name, text in rows)
    return f"<h2>What was done</h2><dl>{items}</dl>"


def _counted(plan: Plan) -> str:
    return "their ids" if plan.api == "native" else "the server's usage"


def _figures(plan: Plan, results: Sequence[LevelResult]) -> str:
    heads = ["level", "ok", "failed", "requests/s", "tokens/s"]
    heads += ["first token p50, p99 (ms)", "between tokens p50, p99 (ms)", "request p50 (ms)"]
    heads += [] if plan.objective is None else ["within objective"]
    lines: list[str] = []
    for group, level in zip(level_groups(results), repeated_levels(results), strict=True):
        num_ok = sum(repeat.num_ok for repeat in group)
        num_failed = sum(repeat.num_requests for repeat in group) - num_ok
        first = f"{_ms(level.first_token_seconds_p50)}, {_ms(level.first_token_seconds_p99)}"
        between = (
            f"{_ms(level.between_tokens_seconds_p50)}, {_ms(level.between_tokens_seconds_p99)}"
        )
        cells = [
            level_name(group[0], results),
            str(num_ok),
            str(num_failed),
            _number(level.requests_per_second),
            _number(level.output_tokens_per_second),
            first,
            between,
            _ms(level.request_seconds_p50),
        ]
        if plan.objective is not None:
            share = level.goodput_share.median
            cells.append("-" if share is None else f"{share:.1%}")
        lines.append(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in cells)}</tr>")
    head = "".join(f"<th>{escape(name)}</th>" for name in heads)
    return (
        '<h2>Figures</h2><div class="wide"><table>'
        f"<thead><tr>{head}</tr></thead><tbody>{''.join(lines)}</tbody></table></div>"
    )


def _remarks(results: Sequence[LevelResult]) -> str:
    remarks: list[str] = []
    for level in results:
        name = level_name(level, results)
        remarks += [f"{name}: {e.count} x {e.code}: {e.example}" for e in level.errors]
        if level.is_given_up:
            remarks.append(f"{name}: ended early, since it could no longer keep the objective")
        elif not level.is_complete:
            remarks.append(f"{name}: stopped after {level.seconds:.1f} s")
        if level.is_client_busy or level.is_client_late:
            remarks.append(
                f"{name}: the client itself was busy ({level.client_cpu_share:.0%} of a core) or "
                f"late ({(level.send_delay_seconds.p99 or 0) * 1000:.1f} ms at the 99th percentile)"
            )
    items = "".join(f"<li>{escape(remark)}</li>" for remark in remarks)
    return f"<h2>Remarks</h2><ul>{items}</ul>" if items else ""


def _charts(title: str, charts: Sequence[Chart]) -> str:
    if not charts:
        return ""
    drawn = "".join(draw(chart) for chart in charts)
    return f'<h2>{escape(title)}</h2><div class="charts">{drawn}</div>'


def _explanation(plan: Plan) -> str:
    texts = [
        "Times of an open loop count from when a request was due, those of a closed one from when "
        "it was sent. Only requests that brought exactly the tokens asked for are in the times.",
        "Tokens that came in one message share its wait.",
    ]
    if plan.num_repeats > 1:
        texts.append(
            "Figures are medians of the repeats; lines over percentiles and over time are those "
            "of the repeat with the middle throughput."
        )
    return f"<footer>{''.join(f'<p>{escape(text)}</p>' for text in texts)}</footer>"


def _number(value: Median) -> str:
    return "-" if value.median is None else f"{value.median:.4g}"


def _ms(value: Median) -> str:
    return "-" if value.median is None else f"{1000 * value.median:.1f}"

"""``nextword-train``: the flags people type, the help made from the settings' declarations.

A user's mistake is one line on the standard error and exit code 2; never a traceback.
"""

import os
import shlex
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import cast

import click

from training.config import TrainingConfig
from training.presets import (
    PRESETS,
    Values,
    build_config,
    describe_settings,
    read_preset,
    read_toml,
)
from training.printable import printable_line
from training.stop_request import Terminated, exit_on_termination

__all__ = ["main"]

# Flags that stand for a setting, with the setting they stand for.
_SHORTHANDS = {
    "minutes": "schedule.minutes",
    "epochs": "schedule.epochs",
    "steps": "schedule.steps",
    "depth": "model.depth",
    "device": "run.device",
    "seed": "schedule.seed",
    "metrics_port": "run.metrics_port",
}


class _TrainCommand(click.Group):
    """Trains unless a subcommand is named; its help ends with every setting."""

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        del ctx
        for section, settings in describe_settings().items():
            with formatter.section(f"Settings [{section}]"):
                formatter.write_dl([(s.name, f"{s.text} {_shown(s.default)}") for s in settings])


def _shown(default: object) -> str:
    match default:
        case None:
            return "[no default]"
        case ():
            return "[default: none]"
        case tuple():
            return f"[default: {','.join(cast('tuple[str, ...]', default))}]"
        case "":
            return "[default: empty]"
        case bool():
            return f"[default: {str(default).lower()}]"
        case _:
            return f"[default: {default}]"


@click.group(
    cls=_TrainCommand,
    invoke_without_command=True,
    context_settings={"max_content_width": 100, "help_option_names": ["-h", "--help"]},
)
@click.option(
    "--corpus",
    multiple=True,
    metavar="TEXT",
    help="File, folder, archive or dist:NAME/GLOB to learn from; may be given several times.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    metavar="ROOT/NAME",
    help="Where to publish: the next version of model NAME in the store ROOT.",
)
@click.option(
    "--preset",
    type=click.Choice(["auto", *PRESETS]),
    default="auto",
    show_default=True,
    help="Set of settings to begin with; auto takes one by the corpus's size.",
)
@click.option("--config", type=click.Path(path_type=Path), help="TOML file of settings.")
@click.option(
    "--set",
    "assignments",
    multiple=True,
    metavar="SECTION.FIELD=VALUE",
    help="One setting of those listed below; may be given several times.",
)
@click.option("--minutes", metavar="N", help="Length of the whole job (schedule.minutes).")
@click.option("--epochs", metavar="N", help="Passes over the text (schedule.epochs).")
@click.option("--steps", metavar="N", help="Number of updates (schedule.steps).")
@click.option("--depth", metavar="N", help="Number of layers, the size dial (model.depth).")
@click.option("--device", metavar="NAME", help="auto, cpu or cuda (run.device).")
@click.option("--seed", metavar="N", help="Seed of everything random (schedule.seed).")
@click.option("--metrics-port", metavar="N", help="Port for Prometheus (run.metrics_port).")
@click.option(
    "--init-from",
    metavar="ARTIFACT",
    help="Start from this model folder's weights and tokenizer; bundled names the shipped model.",
)
@click.option("--resume", is_flag=True, help="Go on with the unfinished run in --out.")
@click.option("--force", is_flag=True, help="Resume although settings or text have changed.")
@click.option(
    "--text-status", metavar="TEXT", help="What the model card says of your texts' rights."
)
@click.pass_context
def _train(
    ctx: click.Context,
    corpus: tuple[str, ...],
    out: Path | None,
    preset: str,
    config: Path | None,
    assignments: tuple[str, ...],
    init_from: str | None,
    resume: bool,
    force: bool,
    text_status: str | None,
    **shorthands: str | None,
) -> None:
    """Train a language model on your text and publish it: tokenizer, n-gram model, transformer.

    Example: nextword-train --corpus book.txt --out artifacts/alice --minutes 5
    """
    if ctx.invoked_subcommand is not None:
        return
    started = time.monotonic()
    if out is None:
        raise click.UsageError("--out ROOT/NAME is missing, for example --out artifacts/alice")
    # Torch takes seconds to import; help and mistakes in flags should not.
    from training.job import JobRequest, run_job
    from training.parallel import processes

    given = [
        f"{_SHORTHANDS[name]}={value}" for name, value in shorthands.items() if value is not None
    ]
    typed: list[Values] = [{"corpus": {"sources": corpus}}] if corpus else []
    from_file = [read_toml(config)] if config is not None else []

    def make_config(name: str) -> TrainingConfig:
        sources = [read_preset(name), *from_file, *typed]
        return build_config(*sources, assignments=(*given, *assignments))

    request = JobRequest(
        make_config=make_config,
        preset=preset,
        out=out,
        parent=None if init_from is None else _parent(init_from),
        resume=resume,
        force=force,
        text_status=text_status,
        command=_command_line(),
        started=started,
    )
    checked = make_config("quickstart" if preset == "auto" else preset)
    with processes(may_use_gpu=checked.run.device != "cpu") as all_processes:
        published = run_job(request, all_processes)
    if published is not None:
        click.echo(published.summary)
        click.echo(f"report: {published.directory / 'report' / 'report.html'}")
        click.echo(f"serve it: nextword-serve --model {shlex.quote(str(published.directory))}")


@_train.command()
@click.argument("directory", type=click.Path(path_type=Path))
@click.option("--corpus", multiple=True, required=True, metavar="TEXT", help="Text to score on.")
@click.option("--set", "assignments", multiple=True, metavar="corpus.FIELD=VALUE")
@click.option("--context", type=int, default=0, help="Tokens of a window; 0 is the model's own.")
@click.option(
    "--device",
    type=click.Choice(["cpu", "cuda"]),
    default="cpu",
    show_default=True,
    help="Where to compute.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def evaluate(
    directory: Path,
    corpus: tuple[str, ...],
    assignments: tuple[str, ...],
    context: int,
    device: str,
    as_json: bool,
) -> None:
    """Loss, perplexity and bits per byte of any Llama-like model folder on a text.

    The whole text is scored, in windows side by side; the folder's n-gram beside it if it has one.
    """
    from training.evaluation_command import evaluate_directory

    for assignment in assignments:
        if not assignment.strip().startswith("corpus."):
            raise click.UsageError(f"evaluate takes settings of [corpus] only, got {assignment}")
    evaluate_directory(
        directory,
        build_config({"corpus": {"sources": corpus}}, assignments=assignments).corpus,
        context_length=context,
        device=device,
        as_json=as_json,
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command; ends the process with 0, or 2 after a user's mistake."""
    _guarded(lambda: _train.main(args=arguments, prog_name="nextword-train", standalone_mode=False))
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        # Threads of the exchange between processes may still let go of tensors. One that does while
        # the interpreter is taken down aborts the process, long after all was published.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)


def _guarded(run: Callable[[], object]) -> None:
    try:
        with exit_on_termination():
            run()
    except (click.exceptions.Abort, KeyboardInterrupt, Terminated) as error:
        print("nextword-train: stopped; nothing was published", file=sys.stderr)
        sys.exit(143 if isinstance(error, Terminated) else 130)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except Exception as error:
        from training.user_errors import is_user_error

        if not is_user_error(error):
            raise
        print(f"nextword-train: {printable_line(str(error))}", file=sys.stderr)
        sys.exit(2)


def _parent(name: str) -> Path:
    from training.bundled import bundled_model

    return bundled_model() if name == "bundled" else Path(name)


def _command_line() -> str:
    return shlex.join(["nextword-train", *sys.argv[1:]])

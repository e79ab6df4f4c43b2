"""Turns the facts of one log line into its typed event: the only place that knows the keys in the
file."""

from collections.abc import Mapping

from training.run_log.events import (
    CorpusRead,
    End,
    Evaluation,
    Event,
    LogGap,
    NgramTrained,
    Note,
    Resume,
    Sample,
    Start,
    Step,
    Surprise,
    TokenizerTrained,
)
from training.run_log.facts import EventError, FactReader, JsonValue


def parse_event(kind: str, facts: Mapping[str, JsonValue]) -> Event:
    """Returns the typed event of one log line.

    Raises:
        EventError: the kind is unknown, a fact is missing or has the wrong type.
    """
    read = FactReader(kind, facts)
    match kind:
        case "start":
            return Start(
                command=read.text("command"),
                name=read.text("name"),
                parameters=read.count_or_none("parameters"),
                model_config=read.mapping("model_config"),
                settings=read.mapping("settings"),
                device=read.text_or_none("device"),
                dtype=read.text_or_none("dtype"),
                torch_version=read.text_or_none("torch_version"),
                num_threads=read.count_or_none("num_threads"),
                is_compiled=read.flag_or_none("compiled"),
                parent=facts.get("parent"),
            )
        case "corpus":
            return CorpusRead(
                description=read.text("description"),
                documents=read.count("documents"),
                bytes=read.count("bytes"),
                train_bytes=read.count_or_none("train_bytes"),
                held_out_bytes=read.count_or_none("held_out_bytes"),
                removed_bytes=read.counts("removed"),
                sha256=read.text_or_none("sha256"),
                train_tokens=read.count_or_none("train_tokens"),
                held_out_tokens=read.count_or_none("held_out_tokens"),
                notes=read.texts("notes"),
            )
        case "tokenizer":
            return TokenizerTrained(
                tokenizer_kind=read.text("kind"),
                vocab_size=read.count("vocab_size"),
                bytes_per_token=read.number_or_none("bytes_per_token"),
                examples=read.examples("examples"),
            )
        case "ngram":
            return NgramTrained(
                order=read.count("order"),
                bits_per_byte=read.number("bits_per_byte"),
                nats_per_token=read.number("nats_per_token"),
                perplexity=read.number_or_none("perplexity"),
                size_bytes=read.count_or_none("size_bytes"),
                seconds=read.number_or_none("seconds"),
                contexts=read.count_or_none("contexts"),
            )
        case "step":
            return Step(
                step=read.count("step"),
                num_steps=read.count("num_steps"),
                loss=read.number("loss"),
                learning_rate=read.number("learning_rate"),
                gradient_norm=read.number_or_none("gradient_norm"),
                tokens=read.count("tokens"),
                tokens_per_second=read.number("tokens_per_second"),
                elapsed_seconds=read.number("elapsed_seconds"),
            )
        case "evaluation":
            return Evaluation(
                step=read.count("step"),
                loss=read.number("loss"),
                bits_per_byte=read.number("bits_per_byte"),
                perplexity=read.number_or_none("perplexity"),
                train_loss=read.number_or_none("train_loss"),
                elapsed_seconds=read.number_or_none("elapsed_seconds"),
                is_best=read.flag_or_none("is_best") or False,
            )
        case "sample":
            return Sample(
                step=read.count("step"),
                prompt=read.text("prompt"),
                text=read.text("text"),
                temperature=read.number_or_none("temperature"),
                top_k=read.count_or_none("top_k"),
                seed=read.count_or_none("seed"),
            )
        case "surprise":
            tokens, bits = read.texts("tokens"), read.numbers("bits")
            if len(tokens) != len(bits):
                raise EventError(f"surprise: {len(tokens)} tokens but {len(bits)} bits")
            return Surprise(
                step=read.count("step"), text=read.text("text"), tokens=tokens, bits=bits
            )
        case "resume":
            return Resume(step=read.count("step"))
        case "note":
            return Note(text=read.text("text"))
        case "log_gap":
            return LogGap(events=read.count("events"))
        case "end":
            return End(
                reason=read.text("reason"),
                steps=read.count("steps"),
                best_step=read.count_or_none("best_step"),
                best_loss=read.number_or_none("best_loss"),
                best_bits_per_byte=read.number_or_none("best_bits_per_byte"),
                elapsed_seconds=read.number_or_none("elapsed_seconds"),
                tokens=read.count_or_none("tokens"),
                tokens_per_second=read.number_or_none("tokens_per_second"),
            )
        case _:
            raise EventError(f"{kind}: not a kind of event")

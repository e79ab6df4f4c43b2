"""What a run leaves for people: a page, pictures and the model card, all from the facts in its
log."""

from training.report.card import model_card
from training.report.writer import write_report

__all__ = ["model_card", "write_report"]

"""The colours of the charts: by role, for pictures as they are, for the page as CSS variables."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Palette:
    """One colour for each role in a chart, as #rrggbb."""

    surface: str
    ink: str
    muted: str
    grid: str
    train: str
    held_out: str
    ngram: str
    alarm: str


LIGHT = Palette(
    surface="#ffffff",
    ink="#1d2127",
    muted="#5d6673",
    grid="#e4e7eb",
    train="#8fa9cc",
    held_out="#1f5fd0",
    ngram="#b8510d",
    alarm="#c0262d",
)
DARK = Palette(
    surface="#171a1f",
    ink="#e8eaed",
    muted="#9aa4b2",
    grid="#2c323a",
    train="#5b7296",
    held_out="#7db2ff",
    ngram="#f2a15f",
    alarm="#ff7b72",
)
# Colours that no chart uses otherwise: they mark the places where the page's variables go, so that
# one drawing follows the reader's light or dark setting.
PLACEHOLDERS = Palette(
    surface="#000a01",
    ink="#000a02",
    muted="#000a03",
    grid="#000a04",
    train="#000a05",
    held_out="#000a06",
    ngram="#000a07",
    alarm="#000a08",
)

"""Scores of trained models as people read them."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd


def shown_score(value: float, metric: str) -> str:
    """A score: accuracy in percent."""
    return f"{value:.1%}" if metric == "accuracy" else f"{value:.3f}"


def shown_scores(row: "pd.Series[Any]") -> str:
    """The score of a row of the cross table, and the uncompressed model's in brackets."""
    score, plain = (shown_score(row[column], row["metric"]) for column in ("score", "baseline_score"))
    return f"{score} ({plain})"

"""Scores of trained models as people read them."""

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd


def shown_score(value: float, metric: str, half_width: float = math.nan) -> str:
    """A score: accuracy in percent; with the half-width of its interval where there is one."""
    percent = metric == "accuracy"
    width = "" if math.isnan(half_width) else f" ± {100 * half_width:.1f}" if percent else f" ± {half_width:.3f}"
    return f"{100 * value:.1f}{width}%" if percent else f"{value:.3f}{width}"


def score_beside(row: "pd.Series[Any]") -> tuple[str, str]:
    """The score of a row of the cross table, and the uncompressed model's."""
    score, plain = (
        shown_score(row[f"{whose}score"], row["metric"], row[f"{whose}score_ci95"]) for whose in ("", "baseline_")
    )
    return score, plain


def shown_scores(row: "pd.Series[Any]") -> str:
    """The score of a row of the cross table, and the uncompressed model's in brackets."""
    score, plain = score_beside(row)
    return f"{score} ({plain})"

"""Sentences about what a score may be said to show, filled from the tables."""

from __future__ import annotations

import pandas as pd


def planted_claims(table: pd.DataFrame, equal: pd.DataFrame, gain: pd.DataFrame) -> pd.DataFrame:
    """claim, holds, evidence."""
    return pd.DataFrame(columns=["claim", "holds", "evidence"])

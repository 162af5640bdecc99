"""How a selection differs from those of other selectors: words, lengths, clusters, samples."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from airlens.errors import DataError
from airlens.shares import Share

from .confounds import confound_table
from .overlap import choices, spread
from .residuals import groups_of
from .select import SELECTORS, TOP, Ranked, Selection, select, selector_values

# AttentionInfluence's Table 4 compares the words that stand out in what two selectors chose.
N_WORDS = 100
TOPS = (0.1, 0.2, 0.5)
# Simple explanations of a score: length, ease, uncertainty, and what any heads would give.
AGAINST = ("n_tokens", "loss_base", "entropy", "ifd", "ais_control")


def column_of(by: str) -> str:
    """The column that a selector ranks by; of one that ranks by no column, its own name."""
    own = SELECTORS.own.get(by)
    return own.column if isinstance(own, Ranked) else by


def usable_selectors(samples: pd.DataFrame) -> list[str]:
    """The selectors whose column is present and has values, and ``random``."""
    found = [
        name
        for name in SELECTORS.own
        if column_of(name) in samples and samples[column_of(name)].notna().any()
    ]
    return [*found, "random"]


def correlations(
    samples: pd.DataFrame,
    by: str = "ais",
    columns: Sequence[str] = AGAINST,
    *,
    within: str | None = "domain",
    seed: int = 0,
) -> pd.DataFrame:
    """Spearman's ρ of a selector with simple columns such as length, and 95 % intervals.

    Args:
        samples: one row per sample.
        by: the selector.
        columns: the simple columns; those that are missing or empty are left out.
        within: with several groups in this column, ρ is also computed of ranks within groups.
        seed: of the selector ``random``.

    Columns: column, scope ("overall" or "within <column>"), rho, lo, hi, n.
    """
    others = [name for name in columns if name != column_of(by)]
    table = confound_table(
        samples.assign(selector=selector_values(samples, by, seed)),
        scores=["selector"],
        against=others,
        within=within,
        each=False,
    ).rename(columns={"against": "column", "group": "scope"})
    table["scope"] = table["scope"].replace("all", "overall")
    inside = table["scope"] != "overall"
    table = pd.concat([table[~inside], table[inside]], ignore_index=True)
    return table[["column", "scope", "rho", "lo", "hi", "n"]]


def length_table(
    samples: pd.DataFrame,
    selectors: Sequence[str] | None = None,
    top: Share = TOP,
    *,
    within: str | None = "domain",
    seed: int = 0,
) -> pd.DataFrame:
    """Mean length of the samples each selector takes and leaves (AttentionInfluence, Table 3).

    Columns: selector, domain, selected, not_selected (mean tokens), ratio, lo, hi (``random`` is
    the mean over its draws, lo and hi the range of ``selected``; NaN for the others). The domain
    "all" is the whole choice; ``ais, length-matched`` is AIS with the same share of each tenth of
    lengths.
    """
    names = list(selectors or usable_selectors(samples))
    made = {by: choices(samples, by, top, within=within, seed=seed) for by in names}
    if "ais" in names:
        matched = select(samples, "ais", top, within=within, length_matched=True)
        made["ais, length-matched"] = [matched]
    groups = groups_of(samples, within).to_numpy()  # the rows of each draw are the samples' own
    domains = sorted(set(groups))
    rows: list[tuple[object, ...]] = []
    for name, draws in made.items():
        frames = [draw.samples for draw in draws]
        rows.append((name, "all", *_lengths(frames)))
        for domain in domains if len(domains) > 1 else ():
            rows.append((name, domain, *_lengths([frame[groups == domain] for frame in frames])))
    columns = ["selector", "domain", "selected", "not_selected", "ratio", "lo", "hi"]
    return pd.DataFrame(rows, columns=columns)


def _lengths(draws: Sequence[pd.DataFrame]) -> tuple[float, float, float, float, float]:
    taken = [float(part.loc[part["selected"], "n_tokens"].mean()) for part in draws]
    left = [float(part.loc[~part["selected"], "n_tokens"].mean()) for part in draws]
    mean, lo, hi = spread(taken)
    other = float(np.mean(left))
    return mean, other, mean / other, lo, hi


def word_overlap(
    samples: pd.DataFrame,
    texts: pd.Series,
    by: str = "ais",
    others: Sequence[str] | None = None,
    tops: Sequence[float] = TOPS,
    *,
    within: str | None = "domain",
    seed: int = 0,
) -> pd.DataFrame:
    """Share of top words that two selections have in common (AttentionInfluence, Table 4).

    Args:
        samples: one row per sample.
        texts: the text of each, by id.
        by: the selector that the others are compared with.
        others: selectors; default: all that have values.
        tops: kept shares.
        within: as in `airlens.selection.select.select`.
        seed: of ``random``.

    Columns: other, top, tf, tf_idf: of the `N_WORDS` words with the highest mean (TF-IDF) weight in
    one selection, the share that is also among those of the other; tf_lo, tf_hi, tf_idf_lo,
    tf_idf_hi:
    the range over the draws of ``random``, NaN for the others.

    Raises:
        DataError: a sample has no text.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer

    missing = set(samples["id"]) - set(texts.index)
    if missing:
        raise DataError(f"{len(missing)} samples have no text, the first is {min(missing)!r}")
    names = [n for n in (others or usable_selectors(samples)) if n != by]
    made = {}
    for kind, idf in (("tf", False), ("tf_idf", True)):
        vectorizer = TfidfVectorizer(use_idf=idf, token_pattern=r"(?u)\b[^\W\d]{2,}\b")
        made[kind] = vectorizer.fit_transform(texts.loc[samples["id"]].astype(str))
    rows = []
    for top in tops:
        own = select(samples, by, top, within=within, seed=seed)
        words = {kind: _top_words(matrix, own) for kind, matrix in made.items()}
        for name in names:
            row: dict[str, object] = {"other": name, "top": top}
            draws = choices(samples, name, top, within=within, seed=seed)
            for kind, matrix in made.items():
                shares = [_shared(words[kind], _top_words(matrix, draw)) for draw in draws]
                row[kind], row[f"{kind}_lo"], row[f"{kind}_hi"] = spread(shares)
            rows.append(row)
    columns = ["other", "top", "tf", "tf_idf", "tf_lo", "tf_hi", "tf_idf_lo", "tf_idf_hi"]
    return pd.DataFrame(rows, columns=columns)


def _top_words(matrix: Any, chosen: Selection) -> set[int]:
    rows = np.flatnonzero(chosen.samples["selected"].to_numpy(dtype=bool))
    weights = np.asarray(matrix[rows].mean(axis=0)).ravel()
    order = np.argsort(-weights, kind="stable")[:N_WORDS]
    return {int(word) for word in order if weights[word] > 0}


def _shared(a: set[int], b: set[int]) -> float:
    return len(a & b) / max(1, len(a))


def telling_samples(
    samples: pd.DataFrame, by: str = "ais", against: str = "loss", n: int = 3
) -> pd.DataFrame:
    """Samples worth reading: highest and lowest by a selector, and where two selectors disagree.

    Columns id, why ("highest", "lowest", "disputed: …"), and both ranks as shares (1 = best).
    Disputed samples are those that ``by`` ranks far above ``against``, or far below.
    """
    frame = pd.DataFrame({"id": samples["id"]})
    frame["rank"] = selector_values(samples, by).rank(pct=True)
    frame["rank_against"] = selector_values(samples, against).rank(pct=True)
    known = frame.dropna()
    gap = known["rank"] - known["rank_against"]
    parts = [
        ("highest", known.nlargest(n, "rank")),
        ("lowest", known.nsmallest(n, "rank")),
        (f"disputed: {by} high, {against} low", known.loc[gap.nlargest(n).index]),
        (f"disputed: {by} low, {against} high", known.loc[gap.nsmallest(n).index]),
    ]
    return pd.concat([part.assign(why=why) for why, part in parts], ignore_index=True)


def cluster_shares(embedded: pd.DataFrame, selected: pd.Series) -> pd.DataFrame:
    """Share of each cluster among all and among the chosen (AttentionInfluence, Fig. 6).

    Args:
        embedded: from `airlens.corpus.embedding_map.embed_map`: id and cluster.
        selected: bool by id.

    Columns: cluster, all, selected (shares), n.
    """
    chosen = selected.reindex(embedded["id"]).fillna(False).to_numpy(dtype=bool)
    counts = embedded["cluster"].value_counts().sort_index()
    kept = embedded.loc[chosen, "cluster"].value_counts().reindex(counts.index, fill_value=0)
    return pd.DataFrame(
        {
            "cluster": counts.index,
            "all": (counts / counts.sum()).to_numpy(),
            "selected": (kept / max(1, kept.sum())).to_numpy(),
            "n": counts.to_numpy(),
        }
    )


def cluster_words(embedded: pd.DataFrame, n: int = 4) -> dict[int, str]:
    """Words that name each cluster: those whose mean TF-IDF exceeds the overall mean most.

    Args:
        embedded: cluster and text of each sample.
        n: words per cluster.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer

    vectorizer = TfidfVectorizer(stop_words="english", token_pattern=r"(?u)\b[^\W\d]{3,}\b")
    try:
        matrix = vectorizer.fit_transform(embedded["text"].astype(str))
    except ValueError as error:
        if "vocabulary" not in str(error):
            raise
        return {}  # no words at all
    words = vectorizer.get_feature_names_out()
    overall = np.asarray(matrix.mean(axis=0)).ravel()
    found = {}
    for cluster, place in embedded.reset_index(drop=True).groupby("cluster").groups.items():
        excess = np.asarray(matrix[place.to_numpy()].mean(axis=0)).ravel() - overall
        best = np.argsort(-excess, kind="stable")[:n]
        found[int(str(cluster))] = ", ".join(words[i] for i in best if excess[i] > 0)
    return found

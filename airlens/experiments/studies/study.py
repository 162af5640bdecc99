"""The comparison of selections and weights: which arms there are, and the table of their runs.

``benchmarks/selection_study.py`` makes the runs; this file evaluates them, without a model.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from airlens.arguments import checked
from airlens.control_kinds import CONTROL_WORDS
from airlens.errors import ConfigError, DataError, need_columns, one_of
from airlens.files import atomic_file
from airlens.selection.select import select
from airlens.step_influence.influence import Influence
from airlens.training.evaluate import per_token
from airlens.training.step_weights import PREFIX, StepWeights, step_weights

from .arm_differences import arm_differences
from .paired_runs import difference_rows

Budget = Literal["tokens", "samples", "all"]
STUDY_FILE = "results/selection_study.parquet"  # in the folder of bundled data
_METADATA = b"airlens"


@dataclass(frozen=True)
class Arm:
    """One way to choose and weigh training data.

    Attributes:
        name: in the column ``arm``.
        by: selector or column ranked by; None: the whole pool.
        length_matched: the same share of each tenth of the lengths.
        residual_on: columns whose effect is removed from the ranking score.
        scheme: of step weights; None: plain fine-tuning.
        shuffled: the weights of a trace are permuted among its steps (control).
        seeded: the arm's selection is random, so several seeds are needed.
    """

    name: str
    by: str | None = None
    length_matched: bool = False
    residual_on: tuple[str, ...] = ()
    scheme: str | None = None
    shuffled: bool = False
    seeded: bool = False


# Selections by AIR and every baseline, then variants of AIR, step weights, and the whole pool.
ARMS: tuple[Arm, ...] = (
    Arm("random", "random", seeded=True),
    Arm("AIR", "ais"),
    Arm("longest", "length"),
    Arm("highest loss", "loss"),
    Arm("highest entropy", "entropy"),
    Arm("IFD", "ifd"),
    Arm(CONTROL_WORDS["random"], "ais_control"),
    Arm("AIR, mean mode", "ais_mean"),
    Arm("AIR, length-matched", "ais", length_matched=True),
    Arm("AIR, loss-residualised", "ais", residual_on=("loss_base",)),
    Arm("AIR + threshold weights", "ais", scheme="threshold"),
    Arm("AIR + linear weights", "ais", scheme="linear"),
    Arm("AIR + shuffled weights", "ais", scheme="threshold", shuffled=True),
    Arm("full data"),
    Arm("full data + threshold weights", scheme="threshold"),
    Arm("full data + linear weights", scheme="linear"),
    Arm("full data + shuffled weights", scheme="threshold", shuffled=True),
)
# AIS of the tokens that are no copy: asked for by name, a study is whole without.
NOVEL_ARMS: tuple[Arm, ...] = (
    Arm("AIR, no copies", "ais_novel"),
    Arm(f"AIR, no copies, {CONTROL_WORDS['same_layers']}", "ais_novel_control"),
)


def arm_named(name: str, arms: Sequence[Arm] = ARMS) -> Arm:
    """The arm of that name.

    Raises:
        ConfigError: there is none.
    """
    for arm in arms:
        if arm.name == name:
            return arm
    raise ConfigError(f"no arm {name!r}; there are {', '.join(a.name for a in arms)}")


def choose(
    arm: Arm, samples: pd.DataFrame, share: float, budget: Budget, seed: int = 0
) -> list[str]:
    """Ids an arm trains on, best first.

    Args:
        arm: the arm.
        samples: one row per sample, with ``n_tokens`` and the column to rank by.
        share: of the pool.
        budget: ``samples``: equally many samples for every arm. ``tokens``: equally many response
            tokens, as nearly as whole samples allow. ``all``: the pool.
        seed: of a random arm.
    """
    if arm.by is None or budget == "all":
        return list(samples["id"])
    ranked = select(
        samples,
        arm.by,
        1.0,
        within=None,
        seed=seed,
        length_matched=arm.length_matched,
        residual_on=arm.residual_on,
    ).samples
    ranked = ranked[ranked["selected"]]
    # Length-matched: the first of each tenth of lengths, then the second, so that every prefix is
    # balanced.
    keys = ["rank_in_group", "selector"] if arm.length_matched else ["selector"]
    ranked = ranked.sort_values(keys, ascending=[k == "rank_in_group" for k in keys], kind="stable")
    if budget == "samples":
        return list(ranked["id"][: max(1, round(share * len(samples)))])
    goal = share * samples["n_tokens"].sum()
    total = ranked["n_tokens"].cumsum().to_numpy(float)
    count = int(np.argmin(np.abs(total - goal))) + 1
    return list(ranked["id"][:count])


def arm_weights(
    arm: Arm, scores: Influence, seed: int = 0, prefix: int = PREFIX
) -> StepWeights | None:
    """Step weights of an arm by the pool's scores; None for plain fine-tuning.

    Args:
        arm: the arm.
        scores: of the pool.
        seed: of shuffled weights.
        prefix: tokens that count under the scheme of that name.
    """
    if arm.scheme is None:
        return None
    return step_weights(
        scores.steps,
        arm.scheme,
        tokens=scores.tokens,
        prefix=prefix,
        shuffle=seed if arm.shuffled else None,
        source=scores.provenance,
    )


def finished(path: str | Path, setting: str, key: str) -> set[tuple[str, str, int]]:
    """(arm, budget, seed) of the runs of a setting that a file holds; none without a file.

    Args:
        path: the Parquet file.
        setting: name of the setting.
        key: fingerprint of the setting and its data.

    Raises:
        ConfigError: it holds runs of another setting by the same name, which may not be mixed.
    """
    if not Path(path).exists():
        return set()
    runs = read_runs(path)
    runs = runs[runs["setting"] == setting]
    if set(runs["fingerprint"]) - {key}:
        raise ConfigError(
            f"{path} holds runs of another setting {setting!r} or of other data: give another --out"
        )
    return {
        (arm, budget, int(seed))
        for arm, budget, seed in zip(runs["arm"], runs["budget"], runs["seed"], strict=True)
    }


def same_run(path: str | Path, key: str, arm: str, seed: int, data: str) -> dict[str, Any] | None:
    """The row of an arm and seed that trained on the same samples, under another budget.

    Args:
        path: the Parquet file.
        key: fingerprint of the setting and its data, as for :func:`finished`.
        arm: name of the arm.
        seed: of the run.
        data: fingerprint of the ids it trains on, as in the column ``data``.
    """
    if not Path(path).exists():
        return None
    runs = read_runs(path)
    same = (runs["fingerprint"] == key) & (runs["arm"] == arm) & (runs["seed"] == seed)
    same &= runs["data"] == data
    return {str(k): v for k, v in runs[same].iloc[0].items()} if same.any() else None


def append_run(path: str | Path, row: dict[str, Any], note: dict[str, Any]) -> None:
    """Add a run to the Parquet file of a study, in one step; ``note`` is its provenance."""
    known = read_runs(path) if Path(path).exists() else pd.DataFrame()
    frame = pd.concat([known, pd.DataFrame([row])], ignore_index=True)
    notes = {**runs_provenance(path), str(row["setting"]): note}
    table = pa.Table.from_pandas(frame, preserve_index=False)
    text = json.dumps(notes, ensure_ascii=False, default=str).encode()
    table = table.replace_schema_metadata({**(table.schema.metadata or {}), _METADATA: text})
    with atomic_file(path) as temporary:
        pq.write_table(table, temporary)


def read_runs(path: str | Path) -> pd.DataFrame:
    """The runs of a study, one row each.

    Raises:
        DataError: no such file.
    """
    try:
        # By one handle: a path is opened more than once, and a study replaces the file meanwhile.
        with Path(path).open("rb") as file:
            return pd.read_parquet(file)
    except (OSError, ValueError) as error:
        reason = f"no runs ({error}); make them with `python benchmarks/selection_study.py`"
        raise DataError(reason, file=str(path)) from error


def runs_provenance(path: str | Path) -> dict[str, Any]:
    """Provenance of each setting in the file; empty without a file."""
    if not Path(path).exists():
        return {}
    found = (pq.read_schema(path).metadata or {}).get(_METADATA, b"{}")
    return dict(json.loads(found))


def largest_setting(runs: pd.DataFrame) -> pd.DataFrame:
    """The runs of one setting: of that with the most held-out problems (then training labels).

    A setting that has not run every selection and weighting once, a study under way, is taken only
    where no other has.
    """
    wanted = {arm.name for arm in ARMS if arm.by}
    sizes = runs.assign(problems=runs["problem_id"].map(len)).groupby("setting", sort=False)
    order = sizes[["problems", "n_labels"]].max()
    order.insert(0, "whole", sizes["arm"].agg(lambda arms: wanted <= set(arms)))
    rows: pd.DataFrame = runs.loc[runs["setting"] == order.sort_values([*order]).index[-1]]
    return rows


@checked
def study_table(runs: pd.DataFrame, against: str = "random") -> pd.DataFrame:
    """One row per arm and budget: its held-out NLL, and the difference to another arm's.

    The interval of the NLL is over problems, of the runs that there are. That of the difference is
    over problems and runs (:mod:`airlens.experiments.studies.paired_runs`): NaN where nothing tells
    how much the runs of an arm vary.

    Returns:
        setting, budget, arm, n_runs, n_samples, n_labels, steps, nll, lo, hi, seed_std,
        difference, difference_lo, difference_hi (to ``against`` of the same setting: at the same
        budget where it ran, otherwise at equal tokens), and accuracy where it was measured; best
        first.
    """
    need_columns(runs, ["setting", "budget", "arm", "nll"], "study_table")
    if against not in set(runs["arm"]):
        raise ConfigError(
            one_of(against, sorted(set(runs["arm"]))), argument="against", value=against
        )
    rows = []
    for (setting, budget), group in runs.groupby(["setting", "budget"], sort=False):
        others = runs[(runs["setting"] == setting) & (runs["arm"] == against)]
        same = others[others["budget"] == budget]
        reference = same if len(same) else others[others["budget"] == "tokens"]
        compared = pd.concat([group[group["arm"] != against], reference])
        pairs = [(str(a), against) for a in compared["arm"].unique() if len(reference)]
        gaps = arm_differences(compared, pairs)
        for arm, of_arm in group.groupby("arm", sort=False):
            rows.append({"setting": setting, "budget": budget, "arm": arm, **_summary(of_arm)})
            gap = gaps.get((str(arm), against))
            if gap is not None:
                lo, hi = gap.interval()
                of_gap = {"difference": gap.value, "difference_lo": lo, "difference_hi": hi}
                rows[-1] |= of_gap
    frame = pd.DataFrame(rows)
    return frame.sort_values(["setting", "budget", "nll"]).reset_index(drop=True)


def _summary(runs: pd.DataFrame) -> dict[str, Any]:
    row: dict[str, Any] = {
        "n_runs": len(runs),
        **{name: float(runs[name].mean()) for name in ("n_samples", "n_labels", "steps")},
        **per_token(mean_problems(runs)),
        "seed_std": float(runs["nll"].std()) if len(runs) > 1 else np.nan,
    }
    if "accuracy" in runs and runs["accuracy"].notna().any():
        row["accuracy"] = float(runs["accuracy"].mean())
    return row


def weights_table(runs: pd.DataFrame) -> pd.DataFrame:
    """Effect of step weights: difference to the same data without them, and with shuffled ones.

    Returns:
        setting, budget, arm (with step weights), against (the same data plain, or with its weights
        on other steps), and what :func:`~airlens.experiments.studies.paired_runs.difference_rows`
        gives, of held-out NLL (nats per token; below 0: the weights help).
    """
    tables = []
    for (setting, budget), group in runs.groupby(["setting", "budget"], sort=False):
        ran = set(group["arm"])
        weighted = [a for a in ARMS if a.scheme and not a.shuffled and a.name in ran]
        pairs = [(a.name, b.name) for a in weighted for b in _same_data(a) if b.name in ran]
        gaps = arm_differences(group, pairs)
        names = [{"setting": setting, "budget": budget, "arm": a, "against": b} for a, b in gaps]
        if gaps:
            tables.append(difference_rows(list(zip(names, gaps.values(), strict=True))))
    if tables:
        return pd.concat(tables, ignore_index=True)
    return pd.DataFrame(columns=["setting", "budget", "arm", "against", "difference", "lo", "hi"])


def _same_data(arm: Arm) -> list[Arm]:
    """The arms that train on the data of a weighted arm, without weights or with shuffled ones."""
    plain = replace(arm, name="", scheme=None)
    found = (replace(a, name="", scheme=None, shuffled=False) for a in ARMS)
    pairs = zip(ARMS, found, strict=True)
    return [a for a, data in pairs if data == plain and (a.shuffled or not a.scheme)]


def mean_problems(runs: pd.DataFrame) -> pd.DataFrame:
    """Per problem, the mean over runs: id, n_tokens, nll (summed over the tokens of a problem).

    Raises:
        DataError: the runs were not evaluated on the same problems.
    """
    ids: Sequence[Any] = list(runs["problem_id"].iloc[0])
    if any(list(other) != ids for other in runs["problem_id"]):
        raise DataError("the runs of an arm were evaluated on different problems")
    nll = np.mean([np.asarray(values, dtype=float) for values in runs["problem_nll"]], axis=0)
    return pd.DataFrame({"id": ids, "n_tokens": runs["problem_tokens"].iloc[0], "nll": nll})

"""Loss weights of steps, for step-weighted fine-tuning (AIR).

AIR gives more weight to steps that depend on the retrieval heads; its exact scheme is not
published, so the schemes here are ours, except ``prefix`` (UPFT, 2503.02875). In every scheme the
mean weight over a trace's tokens is 1: weights shift the loss within a trace, never between traces.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from airlens.arguments import checked
from airlens.errors import ConfigError, DataError, need_columns
from airlens.files import atomic_file
from airlens.provenance import provenance
from airlens.traces.encoding import EncodedTrace
from airlens.traces.trace import Trace

from .scored_tokens import check_scored, hash_texts, text_hashes, token_hashes

Scheme = Literal["threshold", "linear", "softmax", "prefix", "uniform"]
SCHEMES: tuple[str, ...] = get_args(Scheme)
UNSCORED = ("prefix", "uniform")  # schemes that need no scores

# All ours: no paper we have gives their numbers.
TOP = 0.3  # threshold: share of a trace's steps that count more
FACTOR = 2.0  # threshold: how much more
LO, HI = 0.5, 1.5  # linear: weights of the lowest and the highest step
TEMPERATURE = 1.0  # softmax: over scores in standard deviations of their trace
PREFIX = 32  # prefix: tokens at the start of a response

_METADATA = b"airlens"


@dataclass(frozen=True)
class StepWeights:
    """A weight for every step of every trace.

    Attributes:
        table: one row per step: id, step, n_tokens, weight. The mean over a trace's tokens is 1.
        scheme: the scheme that made the weights.
        prefix: for ``prefix``, how many tokens at the start of a response have a weight.
        token_hash: per trace, a hash of its response's token ids, which detects a tokenizer other
            than the scorer's. Empty where the scorer's tokens were not given; then only the number
            of tokens per step is checked.
        text_hash: per trace, a hash of the texts of its scored steps, which detects another trace
            of the same id. Empty where the texts of steps were not given.
        provenance: settings, and those of the score.
    """

    table: pd.DataFrame
    scheme: str
    prefix: int | None = None
    token_hash: dict[str, str] = field(default_factory=dict)
    provenance: dict[str, Any] = field(default_factory=dict)
    text_hash: dict[str, str] = field(default_factory=dict)
    _rows: dict[str, np.ndarray] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "table", _cleaned(self.table))
        groups = self.table.groupby("id", sort=False).indices
        object.__setattr__(self, "_rows", {str(name): rows for name, rows in groups.items()})

    def of(self, encoded: EncodedTrace) -> np.ndarray:
        """Weight of each response token of a trace: float64 [n_response], mean 1.

        Raises:
            DataError: the trace or a step has no weight, or the tokens are not those that were
                scored.
        """
        trace = encoded.trace
        if trace.id not in self._rows:
            raise DataError(f"trace {trace.id!r} has no step weights", field="id")
        scored = self.text_hash.get(trace.id)
        if scored is not None and scored != hash_texts(s.text for s in trace.whole_steps()):
            raise DataError(
                f"trace {trace.id!r} has other texts or steps than the one of that id that was "
                "scored: score the data that is trained on",
                field="id",
            )
        rows = self.table.iloc[self._rows[trace.id]]
        of_step = rows.set_index("step")["weight"]
        missing = sorted(set(encoded.step.tolist()) - set(of_step.index))
        if missing:
            raise DataError(f"trace {trace.id!r}: step {missing[0]} has no weight", field="step")
        count = max(len(trace.whole_steps()), int(encoded.step.max(initial=0)) + 1)
        if of_step.index.max() >= count:
            raise DataError(
                f"trace {trace.id!r}: a weight for step {of_step.index.max()}, but it has {count} "
                f"step{'s' if count > 1 else ''}: the weights were made with other steps",
                field="step",
            )
        check_scored(rows, self.token_hash.get(trace.id), encoded)
        weights = of_step.loc[encoded.step].to_numpy(dtype=np.float64)
        if self.prefix is not None:
            weights = weights * (np.arange(len(weights)) < self.prefix)
        return normalised(weights, trace.id)

    def save(self, path: str | Path) -> Path:
        """Write one Parquet file, scheme and provenance in its metadata."""
        note = {
            "scheme": self.scheme,
            "prefix": self.prefix,
            "token_hash": self.token_hash,
            "text_hash": self.text_hash,
            "provenance": self.provenance,
        }
        table = pa.Table.from_pandas(self.table, preserve_index=False)
        text = json.dumps(note, ensure_ascii=False, default=str).encode()
        table = table.replace_schema_metadata({**(table.schema.metadata or {}), _METADATA: text})
        with atomic_file(path) as temporary:
            pq.write_table(table, temporary)
        return Path(path)

    @classmethod
    def load(cls, path: str | Path) -> StepWeights:
        """Read what :meth:`save` wrote.

        A Parquet or CSV file with just the columns id, step and weight works too.

        Raises:
            DataError: not such a file, or a weight that is missing, NaN or negative.
        """
        try:
            table, note = _read(Path(path))
        except (OSError, ValueError, pa.ArrowException) as error:
            raise DataError(f"no table of step weights ({error})", file=str(path)) from error
        try:
            return cls(table, **note)
        except DataError as error:
            raise DataError(error.reason, file=str(path), field=error.field) from error


def _read(path: Path) -> tuple[pd.DataFrame, dict[str, Any]]:
    """A table of weights and its metadata."""
    if path.suffix == ".csv":
        # An id may be "NA" or "007"; a number may be missing.
        blank = ["", "NA", "NaN", "nan", "null"]
        missing = dict.fromkeys(("step", "weight", "n_tokens"), blank)
        table = pd.read_csv(
            path, dtype={"id": str}, skipinitialspace=True, keep_default_na=False, na_values=missing
        )
        return table, {"scheme": "file"}
    table = pq.read_table(path)
    note = json.loads((table.schema.metadata or {}).get(_METADATA, b'{"scheme": "file"}'))
    return table.to_pandas(), note


@checked
def step_weights(
    steps: pd.DataFrame,
    scheme: str = "threshold",
    *,
    by: str = "ais",
    tokens: pd.DataFrame | None = None,
    top: float = TOP,
    factor: float = FACTOR,
    lo: float = LO,
    hi: float = HI,
    temperature: float = TEMPERATURE,
    prefix: int = PREFIX,
    shuffle: int | None = None,
    source: dict[str, Any] | None = None,
) -> StepWeights:
    """Weigh each step by its score, within its trace.

    Args:
        steps: ``Influence.steps``, or any frame with id, step, n_tokens and the column ``by``.
        scheme: ``threshold``: the top share of a trace's steps weigh ``factor``, the others 1.
            ``linear``: the score of the trace's steps scaled to [``lo``, ``hi``]. ``softmax``:
            exp(z / ``temperature``), z the score in standard deviations of the trace. ``prefix``:
            the first ``prefix`` tokens only. ``uniform``: plain fine-tuning.
        by: the column with the score.
        tokens: ``Influence.tokens``; with it, training refuses any other tokenizer, without it only
            one that gives a step another number of tokens.
        top: see ``threshold``.
        factor: see ``threshold``.
        lo: see ``linear``.
        hi: see ``linear``.
        temperature: see ``softmax``.
        prefix: see ``prefix``.
        shuffle: seed of a control that permutes the weights among the steps of each trace.
        source: provenance of the scores.

    A step below the floor of base loss has no score (``below_floor``); it gets the mean of its
    trace.

    Raises:
        ConfigError: an unknown scheme or a setting out of range.
        DataError: a column or a score is missing.
    """
    settings = {"top": top, "factor": factor, "lo": lo, "hi": hi, "temperature": temperature}
    _check_settings(scheme, prefix, **settings)
    if not {"id", "step", "n_tokens"} <= set(steps) or not len(steps):
        raise DataError("no steps to weigh: a table with id, step and n_tokens is needed")
    if tokens is not None:
        need_columns(tokens, ["id", "token_id"], "step_weights")
    table = _cleaned(steps[["id", "step", "n_tokens"]].assign(weight=1.0))
    table["score"] = 0.0 if scheme in UNSCORED else _scores(steps, by).to_numpy()
    rng = np.random.default_rng(shuffle) if shuffle is not None else None
    parts = []
    for name, rows in table.groupby("id", sort=False):
        raw = _raw(rows["score"].to_numpy(dtype=np.float64), scheme, settings)
        raw = rng.permutation(raw) if rng is not None else raw
        counts = rows["n_tokens"].to_numpy(dtype=np.float64)
        parts.append(rows.assign(weight=raw / _mean(raw, counts, str(name))))
    joined = pd.concat(parts)[["id", "step", "n_tokens", "weight"]].reset_index(drop=True)
    note = provenance(
        scheme=scheme, by=by, shuffle=shuffle, prefix=prefix, **settings, score=source or {}
    )
    limit = prefix if scheme == "prefix" else None
    return StepWeights(joined, scheme, limit, token_hashes(tokens), note, text_hashes(steps))


def joined_weights(parts: Sequence[StepWeights]) -> StepWeights:
    """The weights of several groups of traces, made in the same way, as one.

    Raises:
        DataError: there are none, or they hold a trace twice.
    """
    if not parts:
        raise DataError("no steps to weigh: a table with id, step and n_tokens is needed")
    table = pd.concat([part.table for part in parts], ignore_index=True)
    tokens: dict[str, str] = {}
    texts: dict[str, str] = {}
    for part in parts:
        tokens |= part.token_hash
        texts |= part.text_hash
    return replace(parts[0], table=table, token_hash=tokens, text_hash=texts)


def unscored_weights(
    traces: Iterable[Trace], scheme: str = "prefix", *, prefix: int = PREFIX
) -> StepWeights:
    """The weights of ``prefix`` or ``uniform``, which need no scores.

    Args:
        traces: what is to be trained on.
        scheme: see :func:`step_weights`.
        prefix: see :func:`step_weights`.

    Raises:
        ConfigError: another scheme, which needs scores, or a prefix below 1.
    """
    if scheme not in UNSCORED:
        raise ConfigError(
            f"needs the scores of steps; without them there are {' and '.join(UNSCORED)}",
            argument="scheme",
            value=scheme,
        )
    if prefix < 1:
        raise ConfigError("at least one token", argument="prefix", value=prefix)
    rows = [(trace.id, k, 1.0) for trace in traces for k in range(len(trace.whole_steps()))]
    table = pd.DataFrame(rows, columns=["id", "step", "weight"])
    limit = prefix if scheme == "prefix" else None
    note = provenance(scheme=scheme, prefix=limit, score={})
    return StepWeights(table, scheme, limit, {}, note)


def normalised(weights: np.ndarray, name: str) -> np.ndarray:
    """``weights`` [n] divided by their mean.

    Raises:
        DataError: no weight is positive; the message names the trace ``name``.
    """
    if not len(weights):
        return weights
    # Of any size: neither a sum that overflows nor a mean that is rounded to 0.
    weights = weights / (weights.max() or 1.0)
    return np.asarray(weights / _mean(weights, np.ones(len(weights)), name))


def _mean(weights: np.ndarray, counts: np.ndarray, name: str) -> float:
    total = counts.sum()
    mean = float((weights * counts).sum() / total) if total else 1.0
    if not mean > 0:
        raise DataError(f"trace {name!r}: no step has a weight above 0", field="weight")
    return mean


def _raw(score: np.ndarray, scheme: str, settings: dict[str, float]) -> np.ndarray:
    """Weights of the steps of one trace before they are normalised; float64 [n_steps]."""
    if np.nanmax(np.abs(score), initial=0.0) > 1e100:
        score = score / np.nanmax(np.abs(score))  # only their proportions count
    known = score[~np.isnan(score)]
    spread = float(known.max() - known.min()) if len(known) else 0.0
    if scheme in UNSCORED or spread == 0.0:
        return np.ones(len(score))
    filled = np.where(np.isnan(score), known.mean(), score)
    if scheme == "threshold":
        count = max(1, round(settings["top"] * len(score)))
        order = np.argsort(-np.where(np.isnan(score), -np.inf, score), kind="stable")
        raw = np.ones(len(score))
        raw[order[:count]] = settings["factor"]
        return raw
    if scheme == "linear":
        share = (filled - known.min()) / spread
        return np.asarray(settings["lo"] + share * (settings["hi"] - settings["lo"]))
    z = (filled - filled.mean()) / filled.std()
    return np.asarray(np.exp((z - z.max()) / settings["temperature"]))


def _scores(steps: pd.DataFrame, by: str) -> pd.Series:
    if by not in steps or not pd.api.types.is_numeric_dtype(steps[by]):
        raise DataError(
            f"no numeric column of scores; there are {', '.join(map(str, steps))}", field=by
        )
    score = steps[by].astype(float)
    excused = steps["n_tokens"] == 0
    if "below_floor" in steps:
        excused |= steps["below_floor"].astype(bool)
    if by == "ais_novel":  # its floor is that of the novel tokens alone
        excused |= score.isna()
    bad = ~np.isfinite(score) & ~(excused & score.isna())
    if bad.any():
        row = steps[bad].iloc[0]
        reason = f"trace {row['id']!r}, step {row['step']}: the score is {row[by]}"
        raise DataError(f"{reason} ({int(bad.sum())} such steps)", field=by)
    return score


def _cleaned(table: pd.DataFrame) -> pd.DataFrame:
    """A table of weights: id text, step and n_tokens whole numbers, weight float64.

    Raises:
        DataError: a column or a value is missing or no such value, or a step has two weights.
    """
    missing = [name for name in ("id", "step", "weight") if name not in table]
    if missing or not len(table):
        raise DataError("a table of step weights has id, step and weight", field=", ".join(missing))
    made = table.reset_index(drop=True)
    unnamed = np.asarray(made["id"].isna() | (made["id"].astype(str) == ""))
    if unnamed.any():
        raise DataError(f"row {int(unnamed.argmax()) + 1} has no id", field="id")
    made["id"] = made["id"].astype(str)
    for name in ("step", "n_tokens", "weight"):
        if name in made:
            made[name] = _numbers(made, name)
    if (double := made.duplicated(["id", "step"])).any():
        row = made[double].iloc[0]
        raise DataError(f"trace {row['id']!r}: two weights for step {row['step']}", field="step")
    return made


def _numbers(table: pd.DataFrame, name: str) -> pd.Series:
    """The column ``name``, finite and from 0; whole but for the weights."""
    whole = name != "weight"
    values = table[name]
    if not pd.api.types.is_numeric_dtype(values) or pd.api.types.is_complex_dtype(values):
        kind = "whole numbers" if whole else "numbers"
        raise DataError(f"expected {kind}, found {values.dtype}", field=name)
    values = values.astype("Float64").astype("float64")  # a missing integer is NaN
    bad = np.asarray(~np.isfinite(values) | (values < 0) | (whole & (values % 1 != 0)))
    if bad.any():
        row = int(bad.argmax())
        step = "" if name == "step" else f", step {table['step'][row]}"
        what = "a whole number from 0" if whole else "finite and at least 0"
        reason = f"trace {table['id'][row]!r}{step}: the {name} is {table[name][row]}; "
        raise DataError(f"{reason}it must be {what}", field=name)
    return values.astype("int64") if whole else values


def _check_settings(scheme: str, prefix: int, **settings: float) -> None:
    if scheme not in SCHEMES:
        raise ConfigError(f"scheme={scheme!r}: use {', '.join(SCHEMES)}")
    top, lo, hi = settings["top"], settings["lo"], settings["hi"]
    checks = {
        f"top={top}: a share in (0, 1]": 0 < top <= 1,
        f"factor={settings['factor']}: must be above 0": settings["factor"] > 0,
        f"lo={lo}, hi={hi}: 0 <= lo <= hi, hi above 0": 0 <= lo <= hi and hi > 0,
        f"temperature={settings['temperature']}: must be above 0": settings["temperature"] > 0,
        f"prefix={prefix}: at least one token": prefix >= 1,
    }
    finite = all(np.isfinite(value) for value in settings.values())
    for message, fine in checks.items():
        if not (fine and finite):
            raise ConfigError(message if not fine else "settings of weights must be finite")

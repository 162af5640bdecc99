"""Attention Influence Score of tokens, steps and samples (AIR; AttentionInfluence eq. 5).

AIS = (L_ref - L_base) / L_base, with L the mean token NLL in nats of the base model and of the
reference model, which is the base model with its retrieval heads ablated. Of single tokens only the
difference is given: their ratio explodes where the base model is certain.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
from tqdm.auto import tqdm

from . import ais
from .ablation import DEFAULT_MODE, as_head_set, mean_z
from .cache import atomic_file, atomic_write_text
from .compute import Precision, check_precision, matmul_precision
from .encode import EncodedTrace, Long, Template, Window, encode_traces, resolve_template, windows
from .engine import Engine, choose_engine
from .engine.score import score_fast
from .errors import ConfigError, DataError
from .heads import HeadSet, random_heads
from .provenance import provenance
from .token_losses import WindowLoss, score_windows
from .trace import Step, Trace
from .types import MeanZ, Mode

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

CONTROLS = 3  # ours: draws of random heads beside every score
TABLES = ("tokens", "steps", "samples", "controls")


@dataclass(frozen=True)
class Influence:
    """What ablating the heads does to every token, step and sample, as tidy tables.

    All losses are mean token NLL in nats; ``ref`` is the ablated model, ``control`` the mean over
    draws of random heads. See the column lists in :mod:`airlens.ais`.

    Attributes:
        tokens: one row a response token.
        steps: one row a step.
        samples: one row a trace.
        controls: one row a trace and draw.
        provenance: model, heads, mode, settings, versions.
    """

    tokens: pd.DataFrame
    steps: pd.DataFrame
    samples: pd.DataFrame
    controls: pd.DataFrame
    provenance: dict[str, Any] = field(default_factory=dict)

    def save(self, folder: str | Path) -> Path:
        """Write the tables as Parquet and the provenance as JSON into ``folder``."""
        folder = Path(folder)
        for name in TABLES:
            with atomic_file(folder / f"{name}.parquet") as temporary:
                getattr(self, name).to_parquet(temporary, index=False)
        text = json.dumps(self.provenance, ensure_ascii=False, indent=1)
        atomic_write_text(folder / "provenance.json", text)
        return folder

    @classmethod
    def load(cls, folder: str | Path) -> Influence:
        """Read what :meth:`save` wrote.

        Raises:
            DataError: a file is missing or unreadable.
        """
        folder = Path(folder)
        try:
            tables = {name: pd.read_parquet(folder / f"{name}.parquet") for name in TABLES}
            note = json.loads((folder / "provenance.json").read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise DataError(f"not a saved influence ({error})", file=str(folder)) from error
        return cls(**tables, provenance=note)


def influence(
    model: TransformerBridge,
    traces: Iterable[Trace] | Trace,
    heads: HeadSet | Iterable[Any] | str,
    *,
    mode: Mode = DEFAULT_MODE,
    controls: int = CONTROLS,
    control: Literal["same_layers", "random"] = "same_layers",
    seed: int = 0,
    scope: Literal["response", "document"] = "response",
    template: Template = "auto",
    long: Long = "stride",
    floor: float = ais.FLOOR,
    means: MeanZ | None = None,
    max_tokens_per_batch: int | None = None,
    engine: Engine = "auto",
    precision: Precision = "full",
    progress: bool = True,
) -> Influence:
    """Measure what ablating ``heads`` costs each token, step and sample of the traces.

    Args:
        model: the bridge.
        traces: what is scored; a trace without steps counts as one step.
        heads: the critical heads, e.g. ``scores.top(0.05)``.
        mode: ablation mode, see :mod:`airlens.ablation`.
        controls: draws of as many random heads, disjoint from ``heads``; 0 for none.
        control: where the random heads come from: the layers of ``heads`` first, or anywhere.
        seed: of the draws.
        scope: ``response``: response tokens only, the prompt is context (AIR). ``document``: every
            token of prompt and response, as plain text (AttentionInfluence).
        template: how a prompt is put before its response: ``chat``, ``plain``, or ``auto``.
        long: a trace longer than the context is scored in strides or cut.
        floor: where L_base is under this many nats, AIS is NaN and ``below_floor`` is set.
        means: for ``mode="mean"``, from :func:`~airlens.ablation.mean_z`.
        max_tokens_per_batch: bounds memory.
        engine: ``hooks``, ``fast``, or ``auto``: the fast one where it can run
            (:mod:`airlens.engine`).
        precision: ``bf16`` rounds the factors of matrix products: faster, and single tokens move
            by some hundredths of a nat.
        progress: show a progress bar.

    Raises:
        ConfigError, HeadError, DataError: bad arguments; see the message.
    """
    items = _prepare([traces] if isinstance(traces, Trace) else list(traces), scope)
    heads = as_head_set(heads)
    shape = (int(model.cfg.n_layers), int(model.cfg.n_heads))
    heads.check(*shape)
    template = "plain" if scope == "document" else resolve_template(model.tokenizer, template)  # type: ignore[assignment]
    draws = control_sets(shape, heads, controls, control, seed)
    if mode == "mean" and means is None and len(heads):
        means = mean_z(model)
    encoded = encode_traces(model.tokenizer, items, template)
    chosen = choose_engine(model, engine, mode=mode)
    check_precision(precision, chosen)
    score = partial(
        score_fast if chosen == "fast" else score_windows,
        mode=mode,
        means=means,
        max_tokens_per_batch=max_tokens_per_batch,
    )
    with matmul_precision(precision, next(model.original_model.parameters()).device):
        losses = _score(model, encoded, [heads, *draws], score, long, progress)
    note = provenance(
        model,
        heads=heads.names(),
        head_set=heads.name,
        heads_from=heads.provenance.get("probes"),
        mode=mode,
        seed=seed,
        controls=[d.names() for d in draws],
        control=control,
        scope=scope,
        template=template,
        long=long,
        floor=floor,
        engine=chosen,
        precision=precision,
        n_traces=len(items),
    )
    tables = ais.tables(encoded, losses, floor)
    return Influence(*tables, provenance=note)


def control_sets(
    shape: tuple[int, int],
    heads: HeadSet,
    draws: int,
    control: str,
    seed: int,
) -> list[HeadSet]:
    """The random-heads controls of a score; none for an empty head set.

    Raises:
        ConfigError: an unknown kind of control.
    """
    if control not in ("same_layers", "random"):
        raise ConfigError(f"control={control!r}: use 'same_layers' or 'random'")
    if not draws or not len(heads):
        return []
    same = control == "same_layers"
    return random_heads(shape, heads, draws=draws, seed=seed, same_layers=same)


def _prepare(traces: list[Trace], scope: str) -> list[Trace]:
    if scope not in ("response", "document"):
        raise ConfigError(f"scope={scope!r}: use 'response' or 'document'")
    seen: set[str] = set()
    for trace in traces:
        if trace.id in seen:
            raise DataError(f"two traces have the id {trace.id!r}", field="id")
        seen.add(trace.id)
    return [as_document(t) for t in traces] if scope == "document" else traces


def as_document(trace: Trace) -> Trace:
    """Prompt and response as one text without a prompt; the prompt becomes the first step."""
    if not trace.prompt:
        return trace
    head = trace.prompt + "\n"
    first = Step(head, 0, len(head), "prompt")
    rest = ais.steps_of(trace)
    moved = tuple(replace(s, start=s.start + len(head), end=s.end + len(head)) for s in rest)
    return replace(trace, prompt="", response=head + trace.response, steps=(first, *moved))


def _score(
    model: TransformerBridge,
    encoded: Sequence[EncodedTrace],
    head_sets: Sequence[HeadSet],
    score: Callable[..., list[WindowLoss]],
    long: Long,
    progress: bool,
) -> list[ais.TraceLoss]:
    parts = [windows(e, int(model.cfg.n_ctx), long) for e in encoded]
    flat: list[Window] = [w for part in parts for w in part]
    total = sum(len(w.tokens) for w in flat)
    with tqdm(total=total, unit="tok", desc="influence", disable=not progress) as bar:
        found = iter(score(model, flat, head_sets, on_progress=bar.update))
    joined = []
    for e, part in zip(encoded, parts, strict=True):
        joined.append(_join(e, part, [next(found) for _ in part], len(head_sets)))
    return joined


def _join(
    encoded: EncodedTrace, part: Sequence[Window], losses: Sequence[WindowLoss], n_sets: int
) -> ais.TraceLoss:
    """Windows of one trace put together; what no window scored stays NaN."""
    n = encoded.n_response
    base, entropy = np.full(n, np.nan, "f4"), np.full(n, np.nan, "f4")
    others = np.full((n_sets, n), np.nan, "f4")
    for window, loss in zip(part, losses, strict=True):
        where = slice(window.position, window.position + window.n_scored)
        base[where], entropy[where], others[:, where] = loss.base, loss.entropy, loss.ablated
    return ais.TraceLoss(base, entropy, others[0], others[1:])

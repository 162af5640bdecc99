"""Measure every score on planted and real steps; an interrupted measurement can be resumed.

Tables:

- items, one row a scored step: source, kind ("real" or of
  :data:`airlens.experiments.validity.planting.KINDS`), step, text, n_tokens, loss, entropy, length,
  position, overlap, attention, novel (share of the tokens that are no copy) and loss_novel (of
  those alone; NaN without any), and the scores of rival papers
  (:data:`airlens.experiments.validity.rival_steps.SCORES`)
- losses, one row a step and ablation: source, kind, mode, heads ("top", "random",
  "same_layers"), draw, loss_ref, loss_ref_novel
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from tqdm.auto import tqdm

from airlens.ablation import MODES, Mode, mean_z
from airlens.control_kinds import CONTROL_KINDS
from airlens.errors import ConfigError, DataError
from airlens.files import atomic_file
from airlens.heads import HeadSet, control_sets
from airlens.json_lines import json_line, read_json_lines
from airlens.losses.shared_beginnings import score_all
from airlens.model.heads import heads_in, heads_of
from airlens.provenance import fingerprint, provenance
from airlens.traces.chat_template import Template, template_identity
from airlens.traces.identity import traces_key
from airlens.traces.novel_tokens import novel_tokens
from airlens.traces.readings import how_read
from airlens.traces.trace import Trace

from .alternatives import step_window
from .attention_received import attention_received
from .heuristics import overlap
from .planting import planted_info, real_of
from .rival_steps import rival_steps

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

Group = tuple[str, HeadSet, int]


@dataclass(frozen=True)
class Measured:
    """Measurements on a planted set.

    Attributes:
        items: one row per scored step.
        losses: one row per step, mode and head set.
        provenance: model, heads, modes, draws, seed, versions.
    """

    items: pd.DataFrame
    losses: pd.DataFrame
    provenance: dict[str, Any] = field(default_factory=dict)

    def scores(self) -> pd.DataFrame:
        """``losses`` with loss, kind and length of the step, delta (nats per token) and ais.

        And, where novel tokens were told apart, novel, loss_novel, ais_novel (0 for a step without
        any) and ais_novel_share, its product with novel.
        """
        keys = ["source", "kind"]
        told = [name for name in ("novel", "loss_novel") if name in self.items]
        frame = self.losses.merge(self.items[[*keys, "loss", "n_tokens", *told]], on=keys)
        frame["delta"] = frame["loss_ref"] - frame["loss"]
        frame["ais"] = frame["delta"] / frame["loss"]
        if told:
            ratio = frame["loss_ref_novel"] / frame["loss_novel"] - 1
            frame["ais_novel"] = ratio.where(frame["novel"] > 0, 0.0)
            frame["ais_novel_share"] = frame["ais_novel"] * frame["novel"]
        return frame


def measure_planted(
    model: TransformerBridge,
    planted: Iterable[Trace],
    heads: HeadSet,
    *,
    modes: Sequence[Mode] = ("uniform", "zero", "mean"),
    draws: Mapping[str, int] | int = 2,
    seed: int = 0,
    template: Template = "auto",
    path: str | Path | None = None,
    progress: bool = True,
) -> Measured:
    """Score the planted steps, and the real steps that they replace or follow.

    Args:
        model: the bridge.
        planted: from :func:`airlens.experiments.validity.planting.plant`.
        heads: the critical heads.
        modes: ablation modes.
        draws: control head sets of each kind (`CONTROL_KINDS`), or one number for both.
        seed: of the controls.
        template: how the prompt is put before the response.
        path: a JSON-lines file that stores finished sources; the same call, or one with more
            traces, continues from there. A file made with other heads, modes, controls or another
            model is refused.
        progress: show a progress bar.

    Raises:
        ConfigError: an unknown mode or control, or ``path`` holds a run with other settings.
        DataError: a trace without ``meta["planted"]``.
    """
    traces = list(planted)
    groups = head_groups(model, heads, draws, seed)
    for mode in modes:
        MODES.find(mode)
    settings = {
        "heads": heads.names(),
        "modes": list(modes),
        "controls": {f"{name} {draw}": chosen.names() for name, chosen, draw in groups[1:]},
        "seed": seed,
        "template": template,
    }
    note = provenance(model, **settings, reading=how_read(traces))
    written = template_identity(model.tokenizer, template)
    of = {**settings, "model": note["model"], "written": written, "told": "novel, rivals"}
    done = _open(path, fingerprint(of))
    by_source = [list(group) for _, group in groupby(traces, key=_source)]
    for group in tqdm(by_source, desc="planted steps", unit="trace", disable=not progress):
        texts = _texts(group)
        if texts not in done:
            done[texts] = _measure_source(model, group, groups, modes, template)
            _append(path, {"texts": texts, **done[texts]})
    records = [done[_texts(group)] for group in by_source]
    items = pd.DataFrame([row for record in records for row in record["items"]])
    losses = pd.DataFrame([row for record in records for row in record["losses"]])
    return Measured(items, losses, note)


def _source(trace: Trace) -> str:
    return str(planted_info(trace)["source"])


def _texts(group: Sequence[Trace]) -> str:
    """Key under which a measurement on these traces is stored."""
    return traces_key(group)


def head_groups(
    model: TransformerBridge, heads: HeadSet, draws: Mapping[str, int] | int, seed: int
) -> list[Group]:
    """(name, heads, draw) of the critical heads and of every control, controls disjoint from them.

    Raises:
        ConfigError: an unknown kind of control.
    """
    heads_in(model, heads)
    wanted = dict.fromkeys(CONTROL_KINDS, draws) if isinstance(draws, int) else dict(draws)
    groups: list[Group] = [("top", heads, 0)]
    for name, count in wanted.items():
        if name not in CONTROL_KINDS:
            raise ConfigError(f"control {name!r}: use one of {', '.join(CONTROL_KINDS)}")
        found = control_sets(heads_of(model), heads, name, draws=count, seed=seed)
        groups += [(name, chosen, draw) for draw, chosen in enumerate(found)]
    return groups


def _measure_source(
    model: TransformerBridge,
    planted: Sequence[Trace],
    groups: Sequence[Group],
    modes: Sequence[Mode],
    template: Template,
) -> dict[str, Any]:
    """Items and losses of the alternatives of one source, the real step first."""
    real = real_of(planted[0])
    infos = [planted_info(trace) for trace in planted]
    at = [int(info["step"]) for info in infos]
    # "after": the real step stands before the planted one.
    real_step = at[0] - (infos[0].get("place") == "after")
    traces = [real, *planted]
    steps = [real_step, *at]
    kinds = ["real", *(str(info["kind"]) for info in infos)]
    pairs = [
        step_window(model.tokenizer, trace, step, template)
        for trace, step in zip(traces, steps, strict=True)
    ]
    windows = [window for window, _ in pairs]
    attention = attention_received(model, windows, [after for _, after in pairs])
    items: list[dict[str, Any]] = []
    losses: list[dict[str, Any]] = []
    cells = [(mode, *group) for mode in modes for group in groups]
    means = mean_z(model) if "mean" in modes else None
    found = score_all(
        model,
        windows,
        [heads for _, _, heads, _ in cells],
        [cell[0] for cell in cells],
        means=means,
    )
    rivals = rival_steps(model, traces, steps, windows, found, template)
    for k, (window, loss) in enumerate(zip(windows, found, strict=True)):
        novel = novel_tokens(window.tokens, window.first)
        key = {"source": real.id, "kind": kinds[k]}
        text = traces[k].steps[steps[k]].text
        items.append(
            {
                **key,
                "step": steps[k],
                "text": text,
                "n_tokens": len(loss.base),
                "loss": _mean(loss.base),
                "entropy": _mean(loss.entropy),
                "length": len(loss.base),
                "position": steps[k] / max(1, len(traces[k].steps) - 1),
                "overlap": overlap(text, real.prompt),
                "attention": attention[k],
                "novel": _mean(novel),
                "loss_novel": _mean(loss.base[novel]),
                **rivals[k],
            }
        )
        for (mode, name, _, draw), ref in zip(cells, loss.ablated, strict=True):
            row = {"mode": mode, "heads": name, "draw": draw, "loss_ref": _mean(ref)}
            losses.append({**key, **row, "loss_ref_novel": _mean(ref[novel])})
    return {"items": items, "losses": losses}


def _mean(values: np.ndarray) -> float:
    return float(np.mean(values, dtype=np.float64)) if len(values) else float("nan")


def _open(path: str | Path | None, identity: str) -> dict[str, dict[str, Any]]:
    """Results of an earlier run in ``path``; a line cut off by an interruption is dropped."""
    if path is None:
        return {}
    target = Path(path)
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(json_line({"run": identity}))
        return {}
    # A killed run leaves its last line cut off: it is left out here, and measured again.
    records = list(read_json_lines(target, cut=True))
    if not records or not isinstance(records[0], dict) or "run" not in records[0]:
        raise DataError("not a file of measured steps", file=str(target))
    if records[0]["run"] != identity:
        raise ConfigError(f"{target} holds a run with other settings; name another file")
    with atomic_file(target) as temporary:
        temporary.write_bytes(b"".join(json_line(record, strict=False) for record in records))
    return {record["texts"]: record for record in records[1:]}


def _append(path: str | Path | None, record: dict[str, Any]) -> None:
    if path is not None:
        with Path(path).open("ab") as out:
            out.write(json_line(record, strict=False))

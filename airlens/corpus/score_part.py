"""Score one part of a corpus: the same code for a local run and for Ray, hence equal numbers."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args

import pandas as pd

from airlens.ablation import DEFAULT_MODE, MODES, Mode
from airlens.chat_template import Template, Think, resolve_template
from airlens.engine.fast_losses import out_of_memory
from airlens.errors import ConfigError, RunError
from airlens.heads import HeadSet
from airlens.provenance import fingerprint, model_info
from airlens.step_influence import FLOOR, Influence, control_sets, influence
from airlens.token_losses import Long
from airlens.trace import Trace

from .rows import Row

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

Control: TypeAlias = Literal["same_layers", "random"]
Scope: TypeAlias = Literal["response", "document"]
_CHOICES = {"control": Control, "scope": Scope, "template": Template, "think": Think, "long": Long}

# Fields of a trace that the table of texts holds as JSON, beside its steps.
ROW_JSON = ("meta", "turns", "tools", "step_meta", "reading")
# Ours: the first batch size tried after memory ran out with the engine's default.
FIRST_BUDGET = 16_384


@dataclass(frozen=True)
class Settings:
    """Settings that affect the scores of a run; see `airlens.step_influence.influence` for each.

    Args:
        ifd: score each response without its prompt too, for IFD = L(y given x) / L(y)
            (Cherry LLM, 2308.12032).
    """

    mode: Mode = DEFAULT_MODE
    controls: int = 1
    control: Control = "same_layers"
    seed: int = 0
    scope: Scope = "response"
    template: Template = "auto"
    think: Think = "auto"
    long: Long = "stride"
    floor: float = FLOOR
    ifd: bool = False

    def __post_init__(self) -> None:
        MODES.find(self.mode)
        for name, kind in _CHOICES.items():
            if getattr(self, name) not in get_args(kind):
                names = ", ".join(get_args(kind))
                raise ConfigError(f"{name}={getattr(self, name)!r}: use one of {names}")
        if self.ifd and self.scope == "document":
            raise ConfigError(
                "IFD compares a response with and without prompt: a document has none"
            )


def run_identity(
    model: TransformerBridge, heads: HeadSet, settings: Settings, how: dict[str, Any]
) -> dict[str, Any]:
    """Everything that decides the scores of a row; its fingerprint is the run's key.

    Args:
        model: identified by its weights, not its name.
        heads: in any order.
        settings: of the score.
        how: how rows are read (columns, splitter), which decides prompts, responses and steps.
    """
    info = model_info(model)
    shape = (info["n_layers"], info["n_heads"])
    heads.check(*shape)
    template = settings.template
    if settings.scope == "document":
        template = "plain"
    draws = control_sets(shape, heads, settings.controls, settings.control, settings.seed)
    return {
        "weights": info["weights"],
        "dtype": info["dtype"],
        "n_ctx": int(model.cfg.n_ctx),
        "heads": sorted(heads.names()),
        "control_heads": [sorted(draw.names()) for draw in draws],
        **{k: v for k, v in asdict(settings).items() if k not in ("controls", "control", "seed")},
        "template": resolve_template(model.tokenizer, template),
        **how,
    }


class PartScorer:
    """A model, its heads and settings; call it with the rows of a part."""

    def __init__(
        self,
        model: TransformerBridge,
        heads: HeadSet,
        settings: Settings,
        identity: dict[str, Any],
        *,
        keep: Sequence[str] = ("rows", "steps"),
        max_tokens_per_batch: int | None = None,
    ) -> None:
        self.model, self.heads, self.settings = model, heads, settings
        self.identity, self.key = identity, fingerprint(identity)
        self.keep = tuple(keep)
        self.budget = max_tokens_per_batch
        self.halved = 0

    def __call__(self, rows: Sequence[Row]) -> dict[str, pd.DataFrame]:
        """Tables of a part: ``parts`` (one row per sample), and the side tables asked for."""
        traces = [row.trace for row in rows]
        result = self._with_memory(self._influence, traces)
        samples = result.samples
        if self.settings.ifd:
            alone = self._with_memory(self._alone, traces)
            samples = samples.assign(loss_alone=alone, ifd=samples["loss_base"] / alone)
        n_chars = [len(trace.response) for trace in traces]
        tables = {"parts": samples.assign(n_chars=n_chars, fingerprint=self.key)}
        for name in self.keep:
            tables[name] = _texts(rows) if name == "rows" else getattr(result, name)
        return tables

    def _influence(self, traces: list[Trace], budget: int | None) -> Influence:
        s = self.settings
        return influence(
            self.model,
            traces,
            self.heads,
            mode=s.mode,
            controls=s.controls,
            control=s.control,
            seed=s.seed,
            scope=s.scope,
            template=s.template,
            think=s.think,
            long=s.long,
            floor=s.floor,
            max_tokens_per_batch=budget,
            progress=False,
        )

    def _alone(self, traces: list[Trace], budget: int | None) -> pd.Series:
        """Mean NLL of each response without its prompt, nats; NaN where nothing could be scored."""
        bare = [replace(trace.without_prompt(), steps=(), step_meta=()) for trace in traces]
        found = influence(
            self.model,
            bare,
            HeadSet(()),
            controls=0,
            long=self.settings.long,
            max_tokens_per_batch=budget,
            progress=False,
        )
        return found.samples["loss_base"]

    def _with_memory(self, score: Any, traces: list[Trace]) -> Any:
        """Score, with smaller batches each time memory runs out; the size found stays in use.

        Raises:
            RunError: memory is too small for a single window.
        """
        while True:
            try:
                return score(traces, self.budget)
            except (RuntimeError, MemoryError) as error:
                if not out_of_memory(error):
                    raise
                smaller = FIRST_BUDGET if self.budget is None else self.budget // 2
                if smaller < 1:
                    raise RunError(f"out of memory with one text at a time: {error}") from error
            # Outside the handler: its traceback holds the tensors that are to be freed.
            self.budget = smaller
            self.halved += 1
            _free(self.model)


def _free(model: TransformerBridge) -> None:
    import gc

    import torch

    gc.collect()
    if str(model.cfg.device).startswith("cuda"):
        torch.cuda.empty_cache()


def _json(value: Any) -> str:
    return json.dumps(value, default=str)


def _texts(rows: Sequence[Row]) -> pd.DataFrame:
    """Prompt, response, steps and the other columns of each row, and where it was read."""
    records = []
    for row in rows:
        trace = row.trace
        steps = [[step.start, step.end, step.label] for step in trace.steps]
        records.append(
            {
                "id": trace.id,
                "prompt": trace.prompt,
                "response": trace.response,
                "steps": json.dumps(steps),
                **{name: _json(getattr(trace, name)) for name in ROW_JSON},
                "thinking": trace.thinking,
                "answer": trace.answer,
                "file": row.file,
                "line": row.line if row.line is not None else -1,
            }
        )
    columns = ["id", "prompt", "response", "steps", *ROW_JSON, "thinking", "answer"]
    columns += ["file", "line"]
    return pd.DataFrame(records, columns=columns)

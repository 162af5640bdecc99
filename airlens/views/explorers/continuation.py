"""Greedy continuations and next-token probabilities, with and without some heads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import TYPE_CHECKING

import pandas as pd
import torch

from airlens.ablation import DEFAULT_MODE, Mode, ablated
from airlens.detectors.answer_attention import token_texts
from airlens.detectors.greedy_decoding import greedy_tokens
from airlens.errors import ConfigError
from airlens.heads import HeadSet
from airlens.model.checks import embedding_rows
from airlens.model.state import forward, running
from airlens.traces.chat_template import Template, prompt_text, resolve_template
from airlens.traces.trace import Trace

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge


@dataclass(frozen=True)
class Continuations:
    """Greedy continuations of one prompt by the base model and with some heads ablated.

    Attributes:
        prompt: ids of the prompt.
        base: ids that the base model writes.
        ablated: ids that it writes with the heads ablated.
        heads: the heads.
        mode: ablation mode.
        base_texts: text of each token of ``base``.
        ablated_texts: text of each token of ``ablated``.
    """

    prompt: tuple[int, ...]
    base: tuple[int, ...]
    ablated: tuple[int, ...]
    heads: HeadSet
    mode: Mode
    base_texts: tuple[str, ...]
    ablated_texts: tuple[str, ...]

    @property
    def divergence(self) -> int | None:
        """Index of the first token that differs; None where both texts are the same."""
        pairs = zip(self.base, self.ablated, strict=False)
        found = next((i for i, (a, b) in enumerate(pairs) if a != b), None)
        same = len(self.base) == len(self.ablated)
        return found if found is not None or same else min(len(self.base), len(self.ablated))

    @property
    def differing(self) -> tuple[list[int], list[int]]:
        """Indices of the tokens of ``base``, and of ``ablated``, that the other text has not.

        The two texts are aligned, so that what is equal after a difference is not among them.
        """
        aligned = SequenceMatcher(None, self.base, self.ablated, autojunk=False)
        changes = [(i, j, k, n) for tag, i, j, k, n in aligned.get_opcodes() if tag != "equal"]
        base = [index for i, j, _, _ in changes for index in range(i, j)]
        return base, [index for _, _, k, n in changes for index in range(k, n)]

    def frame(self) -> pd.DataFrame:
        """One row per position: position, base, ablated (texts, None past an end), same."""
        n = max(len(self.base), len(self.ablated))
        base = [*self.base_texts, *[None] * (n - len(self.base))]
        other = [*self.ablated_texts, *[None] * (n - len(self.ablated))]
        ids = [*self.base, *[-1] * (n - len(self.base))]
        other_ids = [*self.ablated, *[-1] * (n - len(self.ablated))]
        same = [a == b for a, b in zip(ids, other_ids, strict=True)]
        columns = {"position": range(n), "base": base, "ablated": other, "same": same}
        return pd.DataFrame(columns)


def encode_prompt(
    model: TransformerBridge, prompt: str, template: Template = "auto"
) -> tuple[int, ...]:
    """Ids of a prompt, under the chat template where the tokenizer has one.

    Raises:
        ConfigError: the prompt is empty, too long for the model, or of a token that it does not
            know.
    """
    if not prompt.strip():
        raise ConfigError("the prompt is empty")
    kind = resolve_template(model.tokenizer, template)
    trace = Trace("prompt", prompt, "")
    text = prompt_text(model.tokenizer, trace, template) if kind == "chat" else prompt
    ids = model.tokenizer(text, add_special_tokens=kind != "chat")["input_ids"]
    if len(ids) >= int(model.cfg.n_ctx):
        raise ConfigError(
            f"the prompt has {len(ids)} tokens, the model's context {model.cfg.n_ctx}"
        )
    rows = embedding_rows(model.original_model)
    if rows is not None and max(ids) >= rows:
        raise ConfigError(
            f"the prompt has the token {max(ids)}, which the model has no embedding for: it has "
            f"{rows}, its tokenizer {len(model.tokenizer)} ids"
        )
    return tuple(int(i) for i in ids)


def continuation(
    model: TransformerBridge, tokens: Sequence[int], max_new_tokens: int = 32
) -> tuple[int, ...]:
    """The ids that the model writes after ``tokens``, greedily.

    Inside a ``with ablated(…)`` block the ablated model writes.
    """
    room = max(1, min(max_new_tokens, int(model.cfg.n_ctx) - len(tokens)))
    return tuple(greedy_tokens(model, tokens, room))


def compare(
    model: TransformerBridge,
    tokens: Sequence[int],
    heads: HeadSet,
    mode: Mode = DEFAULT_MODE,
    *,
    max_new_tokens: int = 32,
    base: Sequence[int] | None = None,
) -> Continuations:
    """Continue ``tokens`` with all heads (``base``, where known) and with ``heads`` ablated."""
    first = tuple(base) if base is not None else continuation(model, tokens, max_new_tokens)
    with ablated(model, heads, mode):
        second = continuation(model, tokens, max_new_tokens)
    texts = (token_texts(model.tokenizer, first), token_texts(model.tokenizer, second))
    return Continuations(tuple(tokens), first, second, heads, mode, *texts)


def next_tokens(
    model: TransformerBridge,
    tokens: Sequence[int],
    written: Sequence[int],
    heads: HeadSet,
    mode: Mode = DEFAULT_MODE,
    *,
    k: int = 8,
) -> pd.DataFrame:
    """The most likely tokens at each position of ``written``, with and without the heads.

    Both see the same text: ``tokens``, and ``written`` up to the position.

    Returns:
        One row per position and candidate, the k likeliest of each side: position, token_id, token,
        p_base, p_ablated (probabilities), written (whether this token stands in the text).
    """
    ids = torch.tensor([[*tokens, *written]], device=model.cfg.device)
    rows = slice(len(tokens) - 1, len(tokens) + len(written) - 1)
    with running(model):
        base = forward(model, ids)[0, rows].float().softmax(-1)
        with ablated(model, heads, mode):
            other = forward(model, ids)[0, rows].float().softmax(-1)
    k = min(k, base.shape[-1])
    found = []
    for position, (p, q) in enumerate(zip(base, other, strict=True)):
        likely = dict.fromkeys([*p.topk(k).indices.tolist(), *q.topk(k).indices.tolist()])
        for token in sorted(likely, key=lambda i: -max(float(p[i]), float(q[i]))):
            found.append((position, token, float(p[token]), float(q[token])))
    frame = pd.DataFrame(found, columns=["position", "token_id", "p_base", "p_ablated"])
    frame.insert(2, "token", list(token_texts(model.tokenizer, frame["token_id"].tolist())))
    stands = dict(enumerate(int(i) for i in written))
    frame["written"] = frame["position"].map(stands) == frame["token_id"]
    return frame

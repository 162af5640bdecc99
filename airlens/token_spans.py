"""Which characters each token of a text stands for.

Tokenizers answer this in ways that leave characters out: some cut blanks off a token's span, some
drop blanks, some control tokens swallow the blanks beside them. Here every character of a
text that is in a token belongs to it, and none to a control token whose text it is not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class TokenRules:
    """How a tokenizer treats control tokens and blanks.

    Attributes:
        control: ids of control tokens, which a template writes and no author of a text.
        greedy: id to text, of those added tokens that take blanks beside them.
        trims: blanks are in tokens, but not in the spans that the tokenizer gives of them.
        tokenizer: knows the texts of tokens.
    """

    control: frozenset[int]
    greedy: dict[int, str]
    trims: bool
    tokenizer: PreTrainedTokenizerBase

    def fixed(self, token: int) -> bool:
        """Whether a token stands for its own text and nothing beside it."""
        return token in self.control or token in self.greedy


def token_rules(tokenizer: PreTrainedTokenizerBase) -> TokenRules:
    """The rules of a fast tokenizer."""
    added = tokenizer.added_tokens_decoder
    greedy = {i: token.content for i, token in added.items() if token.lstrip or token.rstrip}
    special = {i for i, token in added.items() if token.special} | set(tokenizer.all_special_ids)
    last = tokenizer.backend_tokenizer.post_processor
    # It tells its settings to nobody but `pickle`, as JSON.
    trims = last is not None and b'"trim_offsets":true' in last.__getstate__()
    return TokenRules(frozenset(special), greedy, trims, tokenizer)


def without_taken_blanks(
    spans: np.ndarray, ids: Sequence[int], text: str, rules: TokenRules
) -> np.ndarray:
    """``spans`` [n, 2] in ``text``, with those of control tokens cut to their own text."""
    if not rules.greedy:
        return spans
    spans = spans.copy()
    for i in np.flatnonzero(np.isin(ids, list(rules.greedy))).tolist():
        content = rules.greedy[ids[i]]
        at = text.find(content, *spans[i].tolist())
        if at >= 0:
            spans[i] = (at, at + len(content))
    return spans


def covering(
    spans: np.ndarray, ids: Sequence[int], text: str, n: int, real: np.ndarray, rules: TokenRules
) -> np.ndarray:
    """``spans`` grown over the characters that no token stands for.

    Such a character belongs to tokens without any text that stand there (blanks of which the
    tokenizer cut the span), as many as they are long; else to the next token, or at the end to the
    last one. Blanks between the words of a tokenizer that knows none belong to no token.

    Args:
        spans: int [n, 2], in the order of the text.
        ids: of the n tokens.
        text: what the spans count in: a prompt and a response.
        n: characters of the prompt, whose tokens do not grow into the response.
        real: bool [n], tokens of the text; the others were put before or after it.
        rules: of the tokenizer. Control tokens are not grown.
    """
    places = np.flatnonzero(real)
    if not len(places):
        return spans
    starts, ends = spans[places].T
    gaps = starts > np.concatenate([[0], np.maximum.accumulate(ends)[:-1]])
    if not gaps.any() and ends.max() >= len(text):
        return spans
    spans = spans.copy()
    at, bare, last = 0, list[int](), -1
    for i in [*places.tolist(), -1]:  # -1: the end of the text
        start, end = spans[i].tolist() if i >= 0 else (len(text), len(text))
        if i >= 0 and start == end:
            bare.append(i)
            continue
        taken = last >= 0 and ids[last] in rules.greedy
        if at < start and (rules.trims or taken or text[at:start].strip()):
            for j in bare:
                size = len(rules.tokenizer.convert_ids_to_tokens(int(ids[j])))
                spans[j] = (at, at := min(at + size, start))
            if i >= 0 and not rules.fixed(ids[i]):
                spans[i, 0] = at
            elif bare:
                spans[bare[-1], 1] = start
            elif last >= 0 and not rules.fixed(ids[last]) and (start <= n or spans[last, 1] > n):
                spans[last, 1] = start
        at, bare, last = max(at, end), [], i
    return spans


def first_characters(text: str, spans: np.ndarray) -> np.ndarray:
    """Where the first non-blank character of each span of ``text`` stands, int [n].

    It decides to which step or sentence a token belongs. Of blanks alone it is the first.

    Args:
        text: what the spans count in.
        spans: int [n, 2], first character and one past the last.

    >>> first_characters("one. two  ", np.array([[0, 4], [4, 8], [8, 10]]))
    array([0, 5, 8])
    """
    first = spans[:, 0].copy()
    for i, (start, end) in enumerate(spans.tolist()):
        if text[start:end][:1].isspace():
            bare = text[start:end].lstrip()
            first[i] = end - len(bare) if bare else start
    return first

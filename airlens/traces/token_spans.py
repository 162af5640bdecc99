"""Which characters each token of a text stands for.

Tokenizers answer this in ways that leave characters out: some cut blanks off a token's span, some
drop blanks, some control tokens swallow the blanks beside them. Here every character of a
text that is in a token belongs to it, and none to a control token whose text it is not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import numpy as np

from .chat_template import KNOWN_TAGS

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class TokenRules:
    """How a tokenizer treats the tokens added to it, and blanks.

    Attributes:
        added: id to text, of tokens that were added to the vocabulary.
        control: ids of those which a template writes and no author of a text; the tags of a thought
            are an author's.
        greedy: ids of those that take blanks beside them.
        trims: blanks are in tokens, but not in the spans that the tokenizer gives of them.
    """

    added: dict[int, str]
    control: frozenset[int]
    greedy: frozenset[int]
    trims: bool


_RULES: WeakKeyDictionary[Any, tuple[Any, TokenRules]] = WeakKeyDictionary()


def token_rules(tokenizer: PreTrainedTokenizerBase) -> TokenRules:
    """The rules of a fast tokenizer."""
    last = tokenizer.backend_tokenizer.post_processor
    # It tells its settings to nobody but `pickle`, as JSON.
    settings = last.__getstate__() if last is not None else b""
    state = (len(tokenizer), tokenizer.all_special_ids, settings)
    known = _RULES.get(tokenizer)
    if known is None or known[0] != state:
        rules = _rules(tokenizer, b'"trim_offsets":true' in settings)
        known = _RULES[tokenizer] = (state, rules)
    return known[1]


def _rules(tokenizer: PreTrainedTokenizerBase, trims: bool) -> TokenRules:
    added = tokenizer.added_tokens_decoder
    named = zip(tokenizer.all_special_ids, tokenizer.all_special_tokens, strict=True)
    texts = {int(i): str(text) for i, text in named}
    special = set(texts) | {i for i, token in added.items() if token.special}
    greedy = (i for i, token in added.items() if token.lstrip or token.rstrip)
    texts |= {i: token.content for i, token in added.items()}
    tags = {tag for both in KNOWN_TAGS for tag in both}
    control = frozenset(i for i in special if texts[i] not in tags)
    return TokenRules(texts, control, frozenset(greedy), trims)


def added_tokens(
    spans: np.ndarray, ids: Sequence[int], text: str, rules: TokenRules
) -> tuple[np.ndarray, np.ndarray]:
    """Spans [n, 2] in ``text``, those of added tokens cut to their own text; and which these are.

    Returns:
        the spans, and bool [n]: tokens that stand in the text as they are called. An unknown word
        may have the id of a control token and is none.
    """
    found = np.isin(ids, list(rules.added))
    spans = spans.copy()
    for i in np.flatnonzero(found).tolist():
        own = rules.added[ids[i]]
        at = text.find(own, *spans[i].tolist()) if own else -1
        found[i] = at >= 0
        if found[i]:
            spans[i] = (at, at + len(own))
    return spans, found


def covering(
    spans: np.ndarray,
    ids: Sequence[int],
    text: str,
    n: int,
    skip: np.ndarray,
    added: np.ndarray,
    rules: TokenRules,
    tokenizer: PreTrainedTokenizerBase,
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
        skip: bool [n], tokens that were put before or after the text.
        added: bool [n], tokens that stand for their own text alone.
        rules: of the tokenizer.
        tokenizer: knows how long a token is.
    """
    places = np.flatnonzero(~skip)
    if not len(places):
        return spans
    starts, ends = spans[places].T
    gaps = starts > np.concatenate([[0], np.maximum.accumulate(ends)[:-1]])
    if not gaps.any() and ends.max() >= len(text):
        return spans
    spans = spans.copy()
    fixed = added & np.isin(ids, list(rules.control | rules.greedy))
    at, bare, last = 0, list[int](), -1
    for i in [*places.tolist(), -1]:  # -1: the end of the text
        start, end = spans[i].tolist() if i >= 0 else (len(text), len(text))
        if i >= 0 and start == end:
            bare.append(i)
            continue
        taken = last >= 0 and added[last] and ids[last] in rules.greedy
        if at < start and (rules.trims or taken or text[at:start].strip()):
            for j in bare:
                size = len(tokenizer.convert_ids_to_tokens(int(ids[j])))
                spans[j] = (at, at := min(at + size, start))
            if i >= 0 and not fixed[i]:
                spans[i, 0] = at
            elif bare:
                spans[bare[-1], 1] = start
            elif last >= 0 and not fixed[last] and (start <= n or spans[last, 1] > n):
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

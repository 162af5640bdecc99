"""One adapter for each published code: its number and ours, on the same tokens.

Each takes the folder of a checkout and the model, and gives rows: what, theirs, ours. Attention for
their functions comes from Hugging Face's eager model, not from us.
"""

from __future__ import annotations

from . import head_adapters, text_adapters
from .models import Adapter
from .thought_anchors import thought_anchors

# Name, repository, revision that was seen, adapter.
ADAPTERS: dict[str, tuple[str, str, Adapter]] = {
    "rsr": ("UmeanNever/RankSurprisalRatio", "1c908ee", text_adapters.rank_surprisal_ratio),
    "cherry": ("tianyi-lab/Cherry_LLM", "01fac8d", text_adapters.cherry_llm),
    "thought_anchors": ("interp-reasoning/thought-anchors", "2a15f77", thought_anchors),
    "retrieval_head": ("nightdessert/Retrieval_Head", "3ac171a", head_adapters.retrieval_head),
    "qrhead": ("princeton-pli/QRHead", "7a668e7", head_adapters.qrhead),
    "headkv": ("FYYFU/HeadKV", "0862a09", head_adapters.head_kv),
    "locos": ("aryopg/locos", "2f162f5", head_adapters.locos),
    "transformer_lens": ("TransformerLens", "4.3.0", head_adapters.transformer_lens),
}
INSTALLED = {"transformer_lens"}  # run as they are installed, without a checkout

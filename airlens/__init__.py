"""airlens: find retrieval heads, ablate them, and measure which steps of a trace need them.

>>> import airlens as al
>>> model = al.load_model("smollm2-135m")                     # doctest: +SKIP
>>> scores = al.retrieval_scores(model, al.key_value_probes(model.tokenizer))  # doctest: +SKIP
>>> result = al.influence(model, al.load_traces("traces.jsonl"), scores.top(0.05))  # doctest: +SKIP

Names are imported when first used: ``import airlens`` itself loads neither torch nor a model. They
are listed in ``__init__.pyi``.
"""

import lazy_loader

from .version import __version__

__getattr__, __dir__, _names = lazy_loader.attach_stub(__name__, __file__)
__all__ = ["__version__", *_names]

"""Which earlier steps and prompt sentences each step draws on: ``airlens.sources``.

>>> found = al.sources(model, traces, heads)
>>> found.pairs  # a row a step and possible source, beside random heads

`measures` defines copies, attention and knockout (of which the losses are `losses.knockout`);
`units` are the possible sources; attention is read by `hook_reading`, the reference, or
`fast_reading`; `tables` makes DataFrames.
"""

from .measures import MEASURES as MEASURES
from .measures import Sources as Sources
from .measures import sources as sources

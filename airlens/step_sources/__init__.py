"""Which earlier steps and prompt sentences each step draws on: ``airlens.sources``.

>>> sources = al.sources(model, traces, heads)
>>> sources.pairs  # a row a step and possible source, beside random heads

`source_measures` defines copies, attention and knockout (its losses are `losses.knockout`);
`source_units` has the possible sources; attention is read by `hook_reading`, the reference, or
`fast_reading`; `source_tables` makes DataFrames. `source_paths` follows a token through the copies
of a trace, which `copy_forest` puts in order.
"""

from .source_measures import MEASURES as MEASURES
from .source_measures import Sources as Sources
from .source_measures import sources as sources
from .source_paths import Paths as Paths
from .source_paths import paths as paths

"""From which earlier steps and prompt sentences each step fetches: ``airlens.sources``.

`measures` defines copies, attention and knockout; `units` are what can be a source; attention is
read by `hook_reading`, the reference, or `fast_reading`; `tables` makes DataFrames of it.
May import: the core, engine.
Imported by: analysis, explorers, reports, cli.
"""

from .measures import MEASURES as MEASURES
from .measures import Sources as Sources
from .measures import sources as sources

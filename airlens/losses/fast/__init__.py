"""The fast engine: the same numbers as the hooks, in one forked pass over packed sequences.

The hooks are the reference and run wherever the bridge does; `choice` decides which of the two
runs.
May import: the core.
Imported by: step_sources, analysis, corpus, validity, explorers; the core asks for it by name.
"""

from airlens.losses.choice import Engine as Engine
from airlens.losses.choice import choose_engine as choose_engine
from airlens.losses.choice import why_not_fast as why_not_fast

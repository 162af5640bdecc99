"""Names for what a user may add: detectors, ablation modes, selectors, splitters and figures.

All five work alike, a function and a name: :func:`airlens.register`, or an entry point of an
installed package.
May import: the core, detectors, figures.
Imported by: nothing; its functions are public names of `airlens`.
"""

from .registration import register as register
from .registration import registered as registered
from .registration import unregister as unregister

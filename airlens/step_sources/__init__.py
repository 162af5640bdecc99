"""Where each step of a trace fetches from, through the retrieval heads: ``airlens.sources``."""

from .measures import MEASURES as MEASURES
from .measures import Sources as Sources
from .measures import sources as sources

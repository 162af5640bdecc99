"""``python -m airlens.cli``."""

from . import main

main()

"""``python -m airlens`` is ``airlens``."""

from .cli import main

main()

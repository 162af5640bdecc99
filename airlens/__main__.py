"""``python -m airlens`` is ``airlens``."""

from airlens.cli import main

main()

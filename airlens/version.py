"""The version of airlens, in one place."""

__version__ = "0.2.0"

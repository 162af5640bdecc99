"""Figures that only experiments need; :mod:`airlens.figures` lists them beside the others."""

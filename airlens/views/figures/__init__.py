"""Figures of heads, traces and selections: a tidy DataFrame in, a Plotly figure out.

>>> al.figures.step_bars(result.steps)

`style` has colours, headline and look, `labels` the words. :mod:`airlens.figures` lists them all.
"""

"""Intervals, p values and correlations: one way to make each.

`estimates` has the intervals and p values, `grids` the means over clusters and draws of random
heads, `auroc` the AUROC, `correlations` Spearman's ρ, `several` the correction for many tests,
`resampling` bootstrap counts. How often the intervals hold the truth is measured by
``benchmarks/coverage.py``.
"""

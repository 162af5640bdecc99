"""Something to look at: figures, live explorers, a page to send, reports.

>>> al.figures.step_bars(result.steps)
>>> al.TraceExplorer(model, traces, heads)
>>> al.page(result, sources, traces, scores, "page.html")

Figures take tables and know no model; explorers run one in the background.
"""

"""Live views for a notebook, as Jupyter widgets, and the app that serves them.

>>> al.HeadExplorer(model, scores, probes)

A view computes in the background (`jobs`), shows figures and text, and returns its DataFrames. The
scripts that a browser runs lie in `static/`.
"""

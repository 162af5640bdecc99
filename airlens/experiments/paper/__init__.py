"""The figures and tables of the papers, reproduced at the scale of a small model.

`measurements` measures everything once, `reproductions` draws it, `captions` describes it in
sentences filled from the tables.
"""

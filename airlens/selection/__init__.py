"""Choose samples by a score, and what a choice shares with others.

>>> chosen = al.select(result.samples, by="ais", top=0.25, within="domain")

`select` chooses; `residuals` and `confounds` ask what else would explain a score;
`overlap` and `contrast` compare choices.
"""

"""What the loss of each token, step and sample owes to heads: the Attention Influence Score.

>>> result = al.influence(model, traces, heads)
>>> result.steps[["id", "step", "ais", "ais_control"]]

`influence` measures a set of heads beside random ones; `head_influence`, `single_heads` and
`head_costs` take each head alone; `ablation_curves` takes more and more of them.
"""

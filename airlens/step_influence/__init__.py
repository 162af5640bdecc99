"""What the loss of each token, step and sample owes to heads: the Attention Influence Score.

>>> result = al.influence(model, traces, heads)
>>> result.steps[["id", "step", "ais", "ais_control"]]

`influence` measures a set of heads beside random ones; `head_influence`, `single_heads` and
`head_costs` take each head alone; `ablation_curves` takes more and more of them. `early_answers`
cuts a trace after each step and asks for its answer: `forcing` says what is written there, and
`cut_passes` reads all cuts in one pass, as `cut_losses` does in a loop.
"""

"""Fine-tuning on selected traces with a loss weight for each step, and its evaluation.

`train` runs it, `step_weights` makes the weights, `evaluate` measures NLL and accuracy on held-out
problems, `study` compares the arms of an experiment.
"""

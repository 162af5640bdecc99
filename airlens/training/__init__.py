"""Fine-tuning on selected traces with a loss weight for each step, and its evaluation.

>>> weights = al.step_weights(result.steps, "threshold", tokens=result.tokens)
>>> al.fine_tune("smollm2-135m", traces, "runs/model", weights=weights)
>>> al.held_out_nll(*al.load_hf("runs/model/model"), held_out)

`train` runs it, `step_weights` makes the weights, `evaluate` measures NLL and accuracy on held-out
problems. What compares trainings with each other is in `experiments.studies`.
"""

"""The loss of every token, in nats, under the model as it is and under each ablation of heads.

>>> trace_losses(model, encode_traces(model.tokenizer, traces), [heads], "uniform")

`hooks` runs TransformerLens hooks and is the reference; `fast` gives the same numbers in one pass;
`choice` says which of the two runs, `token_losses` runs it, `windows` cuts what is too long.
"""

"""Traces: a prompt, the response to it, its steps and tokens, read from anybody's data.

>>> traces = al.load_traces("openai/gsm8k", limit=8)  # or a file, a folder, a data frame

`trace` says what a trace is, `encoding` makes tokens of it; `steps` and `sentences` cut responses;
`load` loads traces, which `trace_builder` makes of records: `layouts` and `special_layouts` say
what a record means, from parts that `drafts`, `columns`, `conversations` and `step_lists` read.
`records` finds records, `splits` the files of a split.
"""

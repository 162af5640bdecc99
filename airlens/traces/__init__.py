"""Reading of files: traces and data sets in any layout, and models, from disk or from the hub.

`load` loads traces, which `trace_builder` makes of records: `layouts` and `special_layouts` say
what a record means, from parts that `drafts`, `columns`, `conversations` and `step_lists` read.
`records` finds records, `splits` the files of a split, and `record_files`, `csv_files`,
`arrow_files` and `compressed_files` read them. `model_files` and `gguf_model` find the files of a
model.
May import: the core.
Imported by: everything that opens somebody's data; the core asks for `model_files` by name.
"""

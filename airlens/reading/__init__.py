"""Reading of files: traces and data sets in any layout, and models, from disk or from the hub.

`load` makes traces of records; `columns` recognises known layouts; `records` and `record_files`
read the files; `model_files` and `gguf_model` find the files of a model.
May import: the core.
Imported by: everything that opens somebody's data; the core asks for `model_files` by name.
"""

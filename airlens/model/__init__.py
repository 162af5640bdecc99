"""A model ready for hooks: loaded, checked and wrapped by TransformerLens.

>>> model = al.load_model("smollm2-135m")  # or a hub id, a folder, a .gguf, a loaded model

`load` does it; `files`, `gguf` and `packaged` find the files and convert them.
"""

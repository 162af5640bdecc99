"""A model ready for hooks: loaded, checked and wrapped by TransformerLens.

>>> model = al.load_model("smollm2-135m")  # or a hub id, a folder, a .gguf, a loaded model

`load` does it; `model_files`, `gguf_model` and `packaged_models` find the files and convert them.
"""

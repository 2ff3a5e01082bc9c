"""What computes a batch: ONNX Runtime, or a Python class.

Each backend opens a model file as an :class:`~penstock.backends.base.OpenedModel`, which tells
what the file declares and makes one ``Backend`` (``penstock._native.engine``) per instance.
"""

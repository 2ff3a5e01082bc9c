"""ONNX Runtime and Python models behind the core, with real files and the real core."""

"""The wire and nothing else: runs against any Open Inference Protocol server by address.

``pytest tests/conformance`` starts `penstock serve` on the models of ``repository.py``;
``pytest tests/conformance --address host:port`` uses a server that has them already
(``python -m tests.conformance.repository FOLDER`` writes them).
"""

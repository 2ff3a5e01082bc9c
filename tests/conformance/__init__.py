"""The wire and nothing else: runs against any Open Inference Protocol server by address.

``pytest tests/conformance`` starts `penstock serve` on the models of ``repository.py``. With
``--oip-address host:port`` it asks a server that has them already; ``python -m
tests.conformance.repository FOLDER`` writes them, as ONNX files or (``--python``) as classes that
Penstock and Triton both run. Status codes are the same for all; texts, and what the protocol
leaves open, are asserted of Penstock alone (the fixture ``strict``). What another server does not
have is skipped.
"""

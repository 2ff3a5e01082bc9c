"""Everything a server says about itself: the slow gRPC methods, health, reflection, HTTP.

Runs on one uvloop thread, away from the data plane; ``bridge`` brings the calls here.
"""

"""What is watched of the models served: latency, drift, reference profiles."""

"""What a config.pbtxt can ask for and does not get."""

from __future__ import annotations

from typing import Any

from penstock.backends.base import LoadError


def refuse_unserved(message: Any, source: str) -> None:
    """What would change answers if it were left out fails the load.

    Raises:
        LoadError: with the feature's name.
    """
    asked = {
        "sequence_batching": message.HasField("sequence_batching"),
        "ensemble_scheduling": message.HasField("ensemble_scheduling"),
        "model_transaction_policy: decoupled": message.model_transaction_policy.decoupled,
        "model_repository_agents": bool(message.model_repository_agents.agents),
        "batch_input": bool(message.batch_input),
        "batch_output": bool(message.batch_output),
    }
    for entry in message.input:
        asked[f"allow_ragged_batch of input {entry.name!r}"] = entry.allow_ragged_batch
    for entry in (*message.input, *message.output):
        asked[f"is_shape_tensor of {entry.name!r}"] = entry.is_shape_tensor
        asked[f"is_non_linear_format_io of {entry.name!r}"] = entry.is_non_linear_format_io
    for feature, wanted in asked.items():
        if wanted:
            raise LoadError(f"{source}: {feature} is not served")


def left_out(message: Any) -> list[str]:
    """What has no effect here and changes no answer, for the log."""
    optimization = message.optimization
    asked = {
        "response_cache": message.response_cache.enable,
        "instance_group.rate_limiter": any(
            group.HasField("rate_limiter") for group in message.instance_group
        ),
        "instance_group.host_policy": any(group.host_policy for group in message.instance_group),
        "optimization.priority": optimization.priority != 0,
        "optimization.cuda": optimization.HasField("cuda"),
        "cc_model_filenames": bool(message.cc_model_filenames),
        "model_metrics": message.HasField("model_metrics"),
        "runtime": bool(message.runtime),
    }
    return [feature for feature, wanted in asked.items() if wanted]

"""``config.pbtxt``, read into the ModelConfig message."""

from __future__ import annotations

import difflib
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from google.protobuf import json_format, text_format

from penstock import protos
from penstock.backends.base import LoadError

CONFIG_FILE = "config.pbtxt"
_UNSET = -1


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """A model's configuration as it was written."""

    message: Any
    """``inference.ModelConfig``; not to be changed."""
    source: str
    """Where it came from, for error messages."""
    given: bool = True
    """False: there was none, and ``message`` is empty."""
    batch_size_given: bool = False
    """Whether max_batch_size was written: proto3 does not tell 0 from nothing."""


def read_config(folder: Path) -> ModelConfig:
    """The configuration of a model's folder; an empty one if it has no config.pbtxt.

    Raises:
        LoadError: the file cannot be read, or does not hold a ModelConfig.
    """
    path = folder / CONFIG_FILE
    source = f"{folder.name}/{CONFIG_FILE}"
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return ModelConfig(_new(), source, given=False)
    except OSError as error:
        raise LoadError(f"{source}: {error.strerror}") from None
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise LoadError(f"{source}:{line}: not UTF-8 text") from None
    return parse_text(text, source)


def parse_text(text: str, source: str) -> ModelConfig:
    """Protobuf's text format.

    Raises:
        LoadError: with ``source``, line, column, and what was expected.
    """
    message = _new()
    # A second reading over an unlikely value tells whether the field is there.
    probe = _new(max_batch_size=_UNSET)
    try:
        text_format.Parse(text, message, descriptor_pool=protos.pool())
        text_format.Merge(text, probe, descriptor_pool=protos.pool())
    except text_format.ParseError as error:
        where = "".join(f":{part}" for part in (error.GetLine(), error.GetColumn()) if part)
        reason = re.sub(r"^\d+:\d+ : ", "", str(error))
        raise LoadError(f"{source}{where}: {_with_expected(reason)}") from None
    return ModelConfig(message, source, batch_size_given=probe.max_batch_size != _UNSET)


def parse_override(text: str) -> ModelConfig:
    """What a load request carries in place of config.pbtxt: JSON, or the text format.

    Raises:
        LoadError: it is neither.
    """
    source = "the config of the load request"
    if not text.lstrip().startswith("{"):
        return parse_text(text, source)
    message = _new()
    try:
        json_format.Parse(text, message, descriptor_pool=protos.pool())
    except json_format.ParseError as error:
        raise LoadError(f"{source}: {_with_expected(' '.join(str(error).split()))}") from None
    fields = json.loads(text)
    # As in protobuf's JSON, null is as good as nothing.
    given = any(fields.get(key) is not None for key in ("max_batch_size", "maxBatchSize"))
    return ModelConfig(message, source, batch_size_given=given)


def _new(**fields: Any) -> Any:
    return protos.message("inference.ModelConfig")(**fields)


def _with_expected(reason: str) -> str:
    """Protobuf's message, and what there could have been instead."""
    pool = protos.pool()
    field = re.search(r'[Mm]essage type "([\w.]+)" has no field named "(\w+)"', reason)
    if field:
        known = [each.name for each in pool.FindMessageTypeByName(field[1]).fields]
        return f"{reason.rstrip('.')}, expected {_alternatives(field[2], known)}"
    value = re.search(r'[Ee]num type "([\w.]+)" has no value named (\w+)', reason)
    if value:
        known = [each.name for each in pool.FindEnumTypeByName(value[1]).values]
        return f"{reason.rstrip('.')}, expected {_alternatives(value[2], known)}"
    return reason


def _alternatives(name: str, known: list[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    return repr(close[0]) if close else "one of " + ", ".join(known)

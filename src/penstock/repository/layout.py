"""Folders of model repositories: ``REPOSITORY/MODEL/VERSION/model.onnx``."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from penstock.backends.base import LoadError

_log = logging.getLogger("penstock.repository")

Fingerprint = tuple[tuple[str, int, int, int], ...]
"""Relative path, inode, modification time in ns and size of each file."""

MAX_VERSION = 2**63 - 1


@dataclass(frozen=True, slots=True)
class ModelFolder:
    """One model of a repository."""

    name: str
    path: Path

    def versions(self) -> list[int]:
        """Numbers of its version folders, ascending. As in Triton, names that are no number or
        begin with 0 are not versions."""
        return sorted(int(entry.name) for entry in _folders(self.path) if _is_version(entry.name))

    def fingerprint(self) -> Fingerprint:
        """Of what all versions share: config.pbtxt, labels, warm-up data."""
        return _fingerprint(self.path, skip_versions=True)

    def version_fingerprint(self, version: int) -> Fingerprint:
        """Of one version's files."""
        return _fingerprint(self.path / str(version), skip_versions=False)


def find_models(repositories: Sequence[Path]) -> dict[str, list[ModelFolder]]:
    """The folders of each model, by name: more than one if repositories share the name.

    Raises:
        OSError: a repository cannot be read.
    """
    found: dict[str, list[ModelFolder]] = {}
    for repository in repositories:
        for entry in _folders(repository):
            if not entry.name.startswith(".") and _is_text(entry.name):
                folder = ModelFolder(entry.name, Path(entry.path))
                found.setdefault(entry.name, []).append(folder)
    return dict(sorted(found.items()))


def find_model(repositories: Sequence[Path], name: str) -> list[ModelFolder]:
    """The folders of one model; without looking at any other."""
    if not name or name.startswith(".") or "/" in name or "\0" in name:
        return []
    paths = [repository / name for repository in repositories]
    return [ModelFolder(name, path) for path in paths if path.is_dir()]


def wanted_versions(policy: Any, present: Sequence[int], folder: ModelFolder) -> list[int]:
    """The versions that ``ModelVersionPolicy`` selects, ascending.

    Args:
        policy: ``inference.ModelVersionPolicy``; empty means the latest.
        present: ascending.

    Raises:
        LoadError: there is no version.
    """
    if not present:
        raise LoadError(
            f"model {folder.name!r} has no version: expected a folder {folder.name}/1 or the like"
        )
    choice = policy.WhichOneof("policy_choice")
    if choice == "all":
        return list(present)
    if choice == "specific":
        if not policy.specific.versions:
            raise LoadError("version_policy: specific names no versions")
        return sorted(set(policy.specific.versions))
    count = policy.latest.num_versions or 1
    return list(present[-count:])


def file_inside(folder: Path, name: str, what: str) -> Path:
    """The path of a file that a configuration names, in a folder that it must not lead out of.

    Raises:
        LoadError: beginning with ``what``.
    """
    if Path(name).is_absolute() or ".." in Path(name).parts or "\0" in name:
        raise LoadError(f"{what} {name!r}, expected a file in the folder {folder.name!r}")
    return folder / name


def _is_version(name: str) -> bool:
    return name.isascii() and name.isdigit() and name[0] != "0" and int(name) <= MAX_VERSION


def _is_text(name: str) -> bool:
    """Whether clients can ask for a model of this name: protobuf's strings are UTF-8."""
    try:
        name.encode()
    except UnicodeEncodeError:
        _log.warning("folder %r is no model: its name is not UTF-8", os.fsencode(name))
        return False
    return True


def _folders(path: Path) -> list[os.DirEntry[str]]:
    with os.scandir(path) as entries:
        return [entry for entry in entries if _is_folder(entry)]


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError as error:
        # A link to itself, for one.
        _log.warning("%s is left out: %s", entry.path, error.strerror)
        return False


def _fingerprint(root: Path, *, skip_versions: bool) -> Fingerprint:
    files = []
    for folder, subfolders, names in os.walk(root):
        if skip_versions and folder == str(root):
            subfolders[:] = [name for name in subfolders if not _is_version(name)]
        # Compiled Python appears when a model is imported.
        # What is hidden is being written, or an editor's.
        subfolders[:] = sorted(
            name for name in subfolders if name != "__pycache__" and not name.startswith(".")
        )
        for name in sorted(name for name in names if not name.startswith(".")):
            path = os.path.join(folder, name)
            try:
                stat = os.stat(path)
            except OSError:
                # It was removed meanwhile.
                continue
            relative = os.path.relpath(path, root)
            files.append((relative, stat.st_ino, stat.st_mtime_ns, stat.st_size))
    return tuple(files)

"""How many CPU cores this process may use."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path


def available_cores(root: Path = Path("/")) -> int:
    """Cores of the affinity mask, or fewer if a control group's CPU quota says so.

    A quota of 2.5 cores counts as two: a third thread would be throttled half of the time. At
    least 1.

    Args:
        root: of the file system that holds ``proc`` and what it names.
    """
    return max(1, min([len(os.sched_getaffinity(0)), *map(int, _quotas(root))]))


def _quotas(root: Path) -> Iterator[float]:
    """Cores allowed by this process's control groups and by each of their ancestors."""
    for hierarchy, mount_root, mount in _mounts(root):
        for group in _groups(root, hierarchy, mount_root, mount):
            quota = _quota_v2(group) if hierarchy == "" else _quota_v1(group)
            if quota is not None:
                yield quota


def _mounts(root: Path) -> Iterator[tuple[str, str, Path]]:
    """Mounted hierarchies that can limit CPU: "" (v2) or "cpu" (v1), see proc_pid_mountinfo(5)."""
    for line in _lines(root / "proc/self/mountinfo"):
        fields, _, source = line.partition(" - ")
        kind, _, options = source.partition(" ")
        _, _, _, mount_root, mount_point, *_ = fields.split()
        if kind == "cgroup2":
            yield "", mount_root, root / mount_point.lstrip("/")
        elif kind == "cgroup" and "cpu" in options.split()[-1].split(","):
            yield "cpu", mount_root, root / mount_point.lstrip("/")


def _groups(root: Path, hierarchy: str, mount_root: str, mount: Path) -> Iterator[Path]:
    """This process's group and those above it, as far as they are mounted; cgroups(7)."""
    for line in _lines(root / "proc/self/cgroup"):
        _, controllers, path = line.split(":", 2)
        if hierarchy not in controllers.split(","):
            continue
        inside = os.path.relpath(path, mount_root)
        # A container may see its group's path from outside, where only the group is mounted.
        group = mount if inside.startswith("..") else mount / inside
        for folder in (group, *group.parents):
            yield folder
            if folder == mount:
                break


def _quota_v2(group: Path) -> float | None:
    """cpu.max: ``QUOTA PERIOD`` in microseconds, or ``max PERIOD``."""
    for line in _lines(group / "cpu.max"):
        quota, period = line.split()
        return None if quota == "max" else int(quota) / int(period)
    return None


def _quota_v1(group: Path) -> float | None:
    """cpu.cfs_quota_us (-1: none) of cpu.cfs_period_us."""
    quota = _lines(group / "cpu.cfs_quota_us")
    period = _lines(group / "cpu.cfs_period_us")
    if not quota or not period or int(quota[0]) <= 0:
        return None
    return int(quota[0]) / int(period[0])


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text().splitlines()
    except OSError:
        return []

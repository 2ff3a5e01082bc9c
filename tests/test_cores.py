"""CPU quotas of control groups, in file systems made up for the purpose."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from penstock.cores import available_cores

AFFINITY = 64


@pytest.fixture(autouse=True)
def many_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: set(range(AFFINITY)))


def write(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


V2_MOUNT = "30 23 0:26 {root} /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n"
V1_MOUNT = (
    "31 23 0:27 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755\n"
    "32 31 0:28 {root} /sys/fs/cgroup/cpu,cpuacct rw shared:9 - cgroup cgroup rw,cpu,cpuacct\n"
    "33 31 0:29 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
)


def test_without_control_groups_the_affinity_counts(tmp_path: Path) -> None:
    assert available_cores(tmp_path) == AFFINITY


@pytest.mark.parametrize(
    ("cpu_max", "cores"),
    [
        ("max 100000", AFFINITY),
        ("400000 100000", 4),
        ("250000 100000", 2),
        ("50000 100000", 1),
        ("9900000 100000", AFFINITY),
    ],
)
def test_version_2(tmp_path: Path, cpu_max: str, cores: int) -> None:
    write(
        tmp_path,
        {
            "proc/self/mountinfo": V2_MOUNT.format(root="/"),
            "proc/self/cgroup": "0::/app/web\n",
            "sys/fs/cgroup/app/web/cpu.max": cpu_max + "\n",
        },
    )
    assert available_cores(tmp_path) == cores


def test_the_tightest_group_above_counts(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            "proc/self/mountinfo": V2_MOUNT.format(root="/"),
            "proc/self/cgroup": "0::/app/web\n",
            "sys/fs/cgroup/app/web/cpu.max": "800000 100000\n",
            "sys/fs/cgroup/app/cpu.max": "300000 100000\n",
        },
    )
    assert available_cores(tmp_path) == 3


def test_a_container_that_sees_its_path_from_outside(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            "proc/self/mountinfo": V2_MOUNT.format(root="/docker/other"),
            "proc/self/cgroup": "0::/docker/abc\n",
            "sys/fs/cgroup/cpu.max": "200000 100000\n",
        },
    )
    assert available_cores(tmp_path) == 2


def test_a_mounted_subtree(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            "proc/self/mountinfo": V2_MOUNT.format(root="/docker/abc"),
            "proc/self/cgroup": "0::/docker/abc/inner\n",
            "sys/fs/cgroup/inner/cpu.max": "500000 100000\n",
        },
    )
    assert available_cores(tmp_path) == 5


@pytest.mark.parametrize(
    ("quota", "period", "cores"), [("-1", "100000", AFFINITY), ("150000", "50000", 3)]
)
def test_version_1(tmp_path: Path, quota: str, period: str, cores: int) -> None:
    write(
        tmp_path,
        {
            "proc/self/mountinfo": V1_MOUNT.format(root="/"),
            "proc/self/cgroup": "4:memory:/m\n3:cpu,cpuacct:/app\n0::/unmounted\n",
            "sys/fs/cgroup/cpu,cpuacct/app/cpu.cfs_quota_us": quota + "\n",
            "sys/fs/cgroup/cpu,cpuacct/app/cpu.cfs_period_us": period + "\n",
        },
    )
    assert available_cores(tmp_path) == cores

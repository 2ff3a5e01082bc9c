"""Sixty-four clients against models swapped every second: one answer each, nothing left over."""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tritonclient.grpc import service_pb2 as pb

from tests.faults import clients, models
from tests.faults.served import IDLE_GAUGES, Held, Served, serve
from tests.faults.traffic import SERVICE, Tally

WARM_UP_S = 5
GROWTH = Held(descriptors=4, threads=8, resident_mib=16)
"""What may be more after a minute: a scrape's connection that is closing, threads of asyncio's
pool (at most min(32, cores + 4)) that had not been needed before, an allocator's slack. A leak per
swap, per call or per connection is far beyond it."""


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    models.write_repository(tmp_path)
    return tmp_path


@pytest.fixture
def served(repository: Path) -> Iterator[Served]:
    flags = ["--model-control", "explicit", "--load-model", "plus", "--load-model", "wide"]
    with serve(repository, *flags) as running:
        yield running


class Swapper:
    """Replaces both models by their next versions, once a second."""

    def __init__(self, served: Served, repository: Path) -> None:
        self._served = served
        self._repository = repository
        self._versions = itertools.count(2)

    async def run(self, tally: Tally, stop: threading.Event) -> None:
        async with clients.connected(self._served) as channel:
            load = channel.unary_unary(
                SERVICE + "RepositoryModelLoad",
                request_serializer=pb.RepositoryModelLoadRequest.SerializeToString,
                response_deserializer=pb.RepositoryModelLoadResponse.FromString,
            )
            while not stop.is_set():
                version = next(self._versions)
                for name in models.MODELS:
                    models.add_version(self._repository, name, version)
                    await load(pb.RepositoryModelLoadRequest(model_name=name), timeout=30)
                    models.remove_version(self._repository, name, version - 1)
                tally.count("swaps")
                await asyncio.sleep(1)


async def storm(served: Served, swapper: Swapper, seconds: float) -> Tally:
    """Every client at once for ``seconds``; returns when the last has its last answer."""
    tally = Tally()
    stop = threading.Event()
    seeds = itertools.count(1)

    def ill_behaved(client: Callable[[Served, int, Tally, threading.Event], None]) -> None:
        try:
            client(served, next(seeds), tally, stop)
        except Exception as error:
            tally.violate(f"{client.__name__}: {error!r}")

    async with asyncio.TaskGroup() as group:
        for kind, count in ((clients.unary, clients.UNARY), (clients.streaming, clients.STREAMING)):
            for _ in range(count):
                group.create_task(kind(served, next(seeds), tally, stop))
        group.create_task(swapper.run(tally, stop))
        threads = [clients.disconnecting] * clients.DISCONNECTING + [clients.slow] * clients.SLOW
        running = [threading.Thread(target=ill_behaved, args=(client,)) for client in threads]
        for thread in running:
            thread.start()
        await asyncio.sleep(seconds)
        stop.set()
    for thread in running:
        thread.join()
    return tally


def after(served: Served) -> Held:
    """What is held once all is quiet; every call must have ended with one status."""
    metrics = served.wait_idle()
    assert {name: metrics[name] for name in IDLE_GAUGES} == dict.fromkeys(IDLE_GAUGES, 0.0)
    assert metrics["penstock_calls_ended_total"] == metrics["penstock_calls_total"]
    return served.held()


def test_every_request_is_answered_once_and_nothing_leaks(
    served: Served, repository: Path, pytestconfig: pytest.Config
) -> None:
    swapper = Swapper(served, repository)
    # Brings the heaps to their size, so that growth after it is a leak.
    asyncio.run(storm(served, swapper, WARM_UP_S))
    before = after(served)

    tally = asyncio.run(storm(served, swapper, pytestconfig.getoption("--faults-seconds")))
    left = after(served)

    print(f"\n{dict(tally.outcomes)}\nbefore {before}\nafter  {left}")
    assert not tally.violations, "\n".join(tally.violations[:20])
    for outcome in ("plus answered", "wide answered", "cancelled", "disconnected"):
        assert tally.outcomes[outcome] > 0, tally.outcomes
    assert len(tally.versions) > 1
    assert left.descriptors <= before.descriptors + GROWTH.descriptors
    assert left.threads <= before.threads + GROWTH.threads
    assert left.resident_mib <= before.resident_mib + GROWTH.resident_mib

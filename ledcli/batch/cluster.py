"""Work on a Ray cluster: an actor for each device, and tasks that survive the death of a node.

The driver, which is the user's `led`, hands tasks to actors and gets their answers. It never holds
pixels: actors read and write the files, which all machines must see under the same paths.
"""

from __future__ import annotations

import contextlib
import heapq
import os
import time
from collections import Counter
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple, Protocol, Self, TypeVar

import ledcli
from ledcli.batch.cluster_actor import DEPTH, Actor, NodeProblem, Start
from ledcli.batch.cluster_join import LOCAL, join
from ledcli.errors import LedError
from ledcli.reporting import Reporter, Stop, count

ATTEMPTS = 3
"""How often a task may lose its actor before it is given up."""
MAX_CPUS = 8
"""CPUs of an actor by default: the network gains little from more."""
POLL_S = 0.2
"""Seconds between checks for a request to stop."""
PROGRESS_S = 0.5
LOOK_S = 2.0
"""Seconds between questions for progress, and between searches for new nodes."""
WAIT_S = 30.0
"""After so many seconds without a ready actor, say what is waited for."""

R_co = TypeVar("R_co", covariant=True)


class Client(Protocol[R_co]):
    """What a run makes of tasks, which have numbers from 0."""

    def task(self, number: int, attempt: contextlib.ExitStack) -> object:
        """Return a task for an attempt at it, which closes the stack when it ends."""

    def done(self, number: int, answer: Any) -> R_co:  # noqa: ANN401
        """Turn an answer into a result; raises NodeProblem for one that cannot be used."""

    def lost(self, number: int, why: str) -> R_co:
        """Return the result of a task that was given up."""

    def moved(self, number: int, size: int, share: float) -> None:
        """Receive the progress of a task."""


class Share(NamedTuple):
    """What the actors of a node get."""

    actors: int
    cpus: int
    gpus: int


@dataclass(eq=False)
class _Member:
    """The driver's handle on an actor."""

    actor: Any
    node: str
    host: str
    work: set[int] = field(default_factory=set)
    ready: bool = False
    gone: bool = False
    asked: bool = False


class Cluster:
    """A Ray cluster that was joined, or started for this run; left or ended by `close`.

    Raises UsageError if Ray is not installed or the cluster cannot be reached.
    """

    def __init__(self, address: str, report: Reporter, *, gpus: bool = True) -> None:
        self._report, self._gpus, self._own = report, gpus, address == LOCAL
        self._members: list[_Member] = []
        self._unfit: dict[str, str] = {}  # nodes that are not used, and why
        self._pending: dict[Any, Callable[[Callable[[], Any]], None]] = {}
        self._looked = self._asked = -LOOK_S
        with contextlib.ExitStack() as stack:
            self._ray = join(address, stack)
            self._stack = stack.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._end_all()
        self._stack.close()

    @property
    def description(self) -> str:
        """On how many devices the run will work."""
        shares = [share for _, share in divide(self._nodes(), self._gpus)]
        each = {"a GPU" if share.gpus else count(share.cpus, "CPU") for share in shares}
        actors, nodes = sum(share.actors for share in shares), len(shares)
        each_has = f"each with {' or '.join(sorted(each))}"
        return f"{count(actors, 'worker')} on {count(nodes, 'Ray node')}, {each_has}"

    def run(
        self, client: Client[R_co], count: int, start: Start, stop: Stop
    ) -> Generator[R_co, None, None]:
        """Yield the results of `count` tasks in their order.

        `stop` is asked between tasks; those in work are finished then. A task whose actor is gone
        is done by another one, alone, as it may be what ended the first. Raises LedError if no node
        can do the work, and what the work raises.
        """
        queue, begun, lost = list(range(count)), set[int](), Counter[int]()
        results: dict[int, R_co] = {}
        open_attempts: dict[int, contextlib.ExitStack] = {}
        following, waiting_since = 0, time.monotonic()

        def answered(member: _Member, number: int, get: Callable[[], Any]) -> None:
            member.work.discard(number)
            with open_attempts.pop(number):
                try:
                    answer, error = get()
                    if error is not None:
                        raise error
                    results[number] = client.done(number, answer)
                    return
                except NodeProblem as problem:
                    self._exclude(member, str(problem))
                except self._ray.exceptions.RayError:
                    lost[number] += member.node not in self._unfit
                    if not member.gone:
                        self._report.warn(
                            f"a worker on {member.host} died: its photos are tried again"
                        )
                    self._end(member)
            if lost[number] < ATTEMPTS:
                heapq.heappush(queue, number)
                return
            text = f"given up: {ATTEMPTS} workers died on it, the last one on {member.host}"
            results[number] = client.lost(number, text)

        try:
            while following < count:
                if following in results:
                    yield results.pop(following)
                    following += 1
                    continue
                if stop():
                    queue = [number for number in queue if number in begun]
                    if following not in begun:
                        return
                self._look(start, count - following)
                for member, number in self._free(queue, lost):
                    begun.add(number)
                    attempt = open_attempts[number] = contextlib.ExitStack()
                    ref = member.actor.do.remote(number, client.task(number, attempt))
                    self._pending[ref] = partial(answered, member, number)
                if begun:
                    self._ask(client)
                elif time.monotonic() - waiting_since > WAIT_S:
                    waiting_since = float("inf")
                    busy = "" if self._own else ", or the cluster's devices are busy"
                    self._report.info(f"waiting for a Ray worker: none has started yet{busy}")
                self._wait()
        finally:
            self._end_all()  # before what they write is removed
            for attempt in open_attempts.values():
                attempt.close()

    def _free(
        self, queue: list[int], lost: Mapping[int, int]
    ) -> Generator[tuple[_Member, int], None, None]:
        """Yield actors that have room, each with the next task of the queue."""
        while queue:
            able = [m for m in self._members if m.ready and not any(map(lost.get, m.work))]
            member = min(able, key=lambda each: len(each.work), default=None)
            if member is None or len(member.work) >= (1 if lost[queue[0]] else DEPTH):
                return
            number = heapq.heappop(queue)
            member.work.add(number)
            yield member, number

    def _ask(self, client: Client[Any]) -> None:
        """Ask the actors for their progress, from time to time."""
        if time.monotonic() - self._asked < PROGRESS_S:
            return
        self._asked = time.monotonic()

        def told(member: _Member, get: Callable[[], Any]) -> None:
            member.asked = False
            with contextlib.suppress(self._ray.exceptions.RayError):  # its tasks will tell
                for number, (size, share) in get().items():
                    if number in member.work:
                        client.moved(number, size, share)

        for member in self._members:
            if member.work and not member.asked:
                member.asked = True
                self._pending[member.actor.progress.remote()] = partial(told, member)

    def _wait(self) -> None:
        """Wait for answers for a moment, and handle those that have come."""
        if not self._pending:
            time.sleep(POLL_S)
            return
        some, _ = self._ray.wait(list(self._pending), timeout=POLL_S)
        for ref in some:
            self._pending.pop(ref)(partial(self._ray.get, ref))

    def _look(self, start: Start, wanted: int) -> None:
        """Ask for an actor on every device that has none; no more than there are tasks left."""
        if time.monotonic() - self._looked < LOOK_S:
            return
        self._looked = time.monotonic()
        nodes = [node for node in self._nodes() if node["NodeID"] not in self._unfit]
        shares = divide(nodes, self._gpus)
        if not shares:
            why = "; ".join(dict.fromkeys(self._unfit.values()))
            raise LedError(f"no node of the Ray cluster can do the work{why and ': '}{why}")
        affinity = self._ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy
        for node, share in shares:
            name, host = node["NodeID"], node["NodeManagerHostname"]
            there = sum(member.node == name for member in self._members)
            for _ in range(min(share.actors - there, wanted - len(self._members))):
                options = {
                    "num_cpus": share.cpus,
                    "num_gpus": share.gpus,
                    "max_concurrency": DEPTH + 1,
                    "scheduling_strategy": affinity(name, soft=False),
                }
                actor = self._ray.remote(Actor).options(**options).remote(max(share.cpus, 1))
                self._members.append(member := _Member(actor, name, host))
                self._pending[actor.prepare.remote(*start)] = partial(self._prepared, member)

    def _prepared(self, member: _Member, get: Callable[[], Any]) -> None:
        try:
            if (error := get()) is not None:
                raise error
            member.ready = not member.gone
        except NodeProblem as problem:
            self._exclude(member, str(problem))
        except self._ray.exceptions.RayError:
            if not member.gone and any(node["NodeID"] == member.node for node in self._nodes()):
                version = f"led {ledcli.__version__} and this Python"
                self._exclude(member, f"cannot start a worker: it needs {version}")
            self._end(member)

    def _exclude(self, member: _Member, why: str) -> None:
        """Stop using a node."""
        if member.node not in self._unfit:
            self._unfit[member.node] = f"{member.host} {why}"
            self._report.warn(f"a node is not used: {member.host} {why}")
        for other in [each for each in self._members if each.node == member.node]:
            self._end(other)

    def _end(self, member: _Member) -> None:
        member.gone, member.ready, self._looked = True, False, -LOOK_S
        with contextlib.suppress(ValueError):
            self._members.remove(member)
        with contextlib.suppress(Exception):  # it may be gone, and the cluster with it
            self._ray.kill(member.actor)

    def _end_all(self) -> None:
        for member in [*self._members]:
            self._end(member)
        self._pending.clear()

    def _nodes(self) -> list[dict[str, Any]]:
        return [node for node in self._ray.nodes() if node["Alive"]]


def divide(
    nodes: Sequence[Mapping[str, Any]], gpus: bool = True
) -> list[tuple[Mapping[str, Any], Share]]:
    """Return the nodes of a cluster that can be used, each with what its actors get.

    A GPU where the cluster has some; else the CPUs of a node, by as many as OMP_NUM_THREADS says,
    or at most `MAX_CPUS`.
    """
    threads = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0]
    asked = int(threads) if threads.isdigit() else 0
    on_gpus = gpus and any(node["Resources"].get("GPU") for node in nodes)
    found = []
    for node in nodes:
        cpus, own = (int(node["Resources"].get(kind, 0)) for kind in ("CPU", "GPU"))
        if on_gpus:
            share = Share(own, min(cpus // max(own, 1), MAX_CPUS), 1)
        else:
            each = min(asked, cpus) if asked else cpus // max(-(-cpus // MAX_CPUS), 1)
            share = Share(cpus // max(each, 1), each, 0)
        if share.actors:
            found.append((node, share))
    return found

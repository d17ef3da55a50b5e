"""Has records settled that wait for a disk: in a thread, as many at a time as came while those before were settled."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor

from datagate.errors import DatagateError

Job = Callable[[], object]
Told = Callable[[DatagateError | None], object]


class Settling:
    """One worker's jobs that wait.

    Args:
        executor: Whose threads wait.
    """

    def __init__(self, executor: Executor) -> None:
        self._executor = executor
        self._jobs: list[tuple[Job, Told]] = []
        self._task: asyncio.Task[None] | None = None

    def settle(self, job: Job, told: Told) -> None:
        """Do this in a thread, and tell what it raised, if anything, in the loop."""
        self._jobs.append((job, told))
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._run())

    async def _run(self) -> None:
        while self._jobs:
            jobs, self._jobs = self._jobs, []
            faults = await asyncio.get_running_loop().run_in_executor(self._executor, _done, [job for job, _ in jobs])
            for (_, told), fault in zip(jobs, faults, strict=True):
                told(fault)
        self._task = None


def _done(jobs: list[Job]) -> list[DatagateError | None]:
    """The first waits for all that came with it: they stand in one batch of the audit's."""
    faults: list[DatagateError | None] = []
    for job in jobs:
        try:
            job()
        except DatagateError as error:
            faults.append(error)
        else:
            faults.append(None)
    return faults

"""The limiter: holds the limits of one worker's children, by control groups where it can and else by watching."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from typing import TYPE_CHECKING

import psutil

from uno_jobs.runners.limits.cgroup import CgroupTree, CgroupUnavailable, ChildCgroup
from uno_jobs.runners.limits.limits import Limits, unsupported
from uno_jobs.runners.limits.warden import Warden

if TYPE_CHECKING:
    from collections.abc import Callable

logger = logging.getLogger("uno_jobs.runners")


class Limiter:
    """Guards the children of one worker. Belongs to the event loop.

    Args:
        ancestor: The process that all workers of this supervisor descend from.
        claim: Makes the control group ready; raises ``CgroupUnavailable``.
    """

    def __init__(
        self, ancestor: int, *, claim: Callable[[Callable[[int], bool]], CgroupTree] = CgroupTree.claim
    ) -> None:
        self._ancestor = ancestor
        self._claim = claim
        self._tree: asyncio.Task[CgroupTree | None] | None = None
        self._possible: dict[Limits, Limits] = {}
        self._groups: dict[int, ChildCgroup] = {}
        self._removals: set[asyncio.Task[None]] = set()

    def possible(self, limits: Limits) -> Limits:
        """Return those limits that this system can hold; the others were allowed to go without."""
        if limits not in self._possible:
            self._possible[limits] = Limits(
                None if unsupported(Limits(max_memory=limits.max_memory)) else limits.max_memory,
                None if unsupported(Limits(cpu_limit=limits.cpu_limit)) else limits.cpu_limit,
            )
        return self._possible[limits]

    async def guard(
        self, pid: int, limits: Limits, on_breach: Callable[[int], None], dead: asyncio.Future[None]
    ) -> Guard:
        """Hold a child to the limits of its next job, from now on; the job must not have begun.

        Args:
            pid: The child, which leads a process group.
            limits: What its job may use.
            on_breach: Called when it uses more memory, with the bytes in use; it must kill the group.
            dead: Done when the child is dead.
        """
        group = await self._group(pid, dead) if limits else self._groups.get(pid)
        if group is not None:
            try:
                group.hold(limits)
            except OSError as error:
                logger.warning(
                    "a control group refused a limit; it is held by watching instead",
                    extra={"pid": pid, "error": str(error)},
                )
                self._forget(pid)
                group = None
        guard = Guard(Warden(pid, limits, on_breach, throttle=group is None), group)
        guard.start()
        return guard

    async def close(self) -> None:
        """Wait until the control groups of children that are dead are removed."""
        for pid in list(self._groups):
            self._forget(pid)
        await asyncio.gather(*self._removals)

    def _forget(self, pid: int) -> None:
        group = self._groups.pop(pid, None)
        if group is not None:
            group.seal()
            removal = asyncio.create_task(self._remove(group))
            self._removals.add(removal)
            removal.add_done_callback(self._removals.discard)

    async def _remove(self, group: ChildCgroup) -> None:
        try:
            await asyncio.to_thread(group.remove)
        except OSError as error:
            logger.warning("a control group cannot be removed", extra={"cgroup": str(group.path), "error": str(error)})

    async def _group(self, pid: int, dead: asyncio.Future[None]) -> ChildCgroup | None:
        if pid in self._groups:
            return self._groups[pid]
        if self._tree is None:
            self._tree = asyncio.create_task(self._prepare())
        # Shielded: a job that is cancelled while it waits must not take the tree from those that come later.
        tree = await asyncio.shield(self._tree)
        if tree is None:
            return None
        try:
            # Moving a process waits for all processors, some 10 ms: not on the event loop.
            self._groups[pid] = group = await asyncio.to_thread(tree.child, pid)
        except OSError as error:
            logger.warning(
                "a control group cannot be made; the limits are held by watching instead",
                extra={"pid": pid, "error": str(error)},
            )
            return None
        dead.add_done_callback(lambda _: self._forget(pid))
        return group

    async def _prepare(self) -> CgroupTree | None:
        try:
            tree = await asyncio.to_thread(self._claim, self._is_ours)
        except CgroupUnavailable as reason:
            logger.info("limits are held by watching processes: no control groups", extra={"why": str(reason)})
            return None
        logger.info(
            "limits are held by control groups",
            extra={"cgroup": str(tree.path), "controllers": ", ".join(sorted(tree.controllers))},
        )
        return tree

    def _is_ours(self, pid: int) -> bool:
        if pid in (self._ancestor, os.getpid()):
            return True
        with contextlib.suppress(psutil.Error):
            return any(one.pid == self._ancestor for one in psutil.Process(pid).parents())
        return True  # gone


class Guard:
    """What holds one job to its limits: a warden, and a control group where there is one."""

    def __init__(self, warden: Warden, group: ChildCgroup | None) -> None:
        self._warden = warden
        self._group = group
        self._killed_before = group.oom_kills() if group is not None else 0

    @property
    def peak(self) -> int | None:
        """The most memory seen at once so far, in bytes."""
        return self._warden.peak

    def start(self) -> None:
        """Begin."""
        self._warden.start()

    def release(self) -> None:
        """Stop the group no more, so that it can end; its memory is still watched."""
        self._warden.release()

    def note_peak(self) -> None:
        """Take in the child's own peak: to be called while it still lives, as before it is killed."""
        self._warden.note_peak()

    def stop(self) -> int | None:
        """End; the group is left running. Returns the most memory seen at once, in bytes."""
        return self._warden.stop()

    def killed_by_kernel(self) -> bool:
        """Say whether the kernel killed a process of this job for being over ``max_memory``."""
        return self._group is not None and self._group.oom_kills() > self._killed_before

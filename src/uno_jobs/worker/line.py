"""A line to the database: one connection, made again whenever it breaks, for as long as it takes."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from typing import TYPE_CHECKING, Any, Final

from uno_jobs.errors import DatabaseUnavailable
from uno_jobs.storage.gateway import CALL_TIMEOUT, Gateway
from uno_jobs.storage.session import TROUBLE, check_schema, connect, whole

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


logger = logging.getLogger("uno_jobs.worker")

LINE_TROUBLE: Final = (*TROUBLE, DatabaseUnavailable)
_FIRST_WAIT: Final = 0.1
_LONGEST_WAIT: Final = 5.0
_PROVED: Final = 5.0
"""Seconds that a connection must have lasted for the next to be made at once: a full disk lets one connect, no more."""


class Line:
    """One connection with its gateway, for one user at a time (see ``turn``).

    After an error of the database's, ``drop`` it; the next ``get`` connects anew.

    Args:
        url: The database.
        schema: The schema.
        name: What for; shown in pg_stat_activity.
        on_connect: Awaited with each new connection's gateway before it is used.
        pooled: The URL is a transaction pooler's.
    """

    def __init__(
        self,
        url: str,
        schema: str,
        name: str,
        on_connect: Callable[[Gateway], Awaitable[None]] | None = None,
        *,
        pooled: bool = False,
    ) -> None:
        self._url = url
        self._schema = schema
        self._name = name
        self._on_connect = on_connect
        self._pooled = pooled
        self._gateway: Gateway | None = None
        self._wait = _FIRST_WAIT
        self._connected_at = float("-inf")
        self._pause = 0.0
        self.turn = asyncio.Lock()
        """Held by whoever uses the line, where several share it."""
        self.connects = 0
        """How many connections there have been: whoever needs an unbroken one compares."""

    async def get(self) -> Gateway:
        """Return the gateway of a living connection, waiting for the database if need be.

        Raises:
            SchemaNotInstalled, SchemaTooOld, CodeTooOld, UnsupportedServer: Waiting would not help.
        """
        while True:
            gateway = self._gateway
            if gateway is not None and not gateway.connection.is_closed():
                return gateway
            if self._pause:
                await asyncio.sleep(self._pause * random.uniform(0.5, 1.5))  # noqa: S311 - as below
            try:
                self._gateway = await self._connect()
            except LINE_TROUBLE as error:
                wait = self._wait * random.uniform(0.5, 1.5)  # noqa: S311 - spreads reconnects, guards nothing
                logger.warning(
                    "no connection to the database; trying again",
                    extra={"line": self._name, "error": str(error), "wait_s": round(wait, 2)},
                )
                await asyncio.sleep(wait)
                self._wait = min(self._wait * 2, _LONGEST_WAIT)
            else:
                self._wait = _FIRST_WAIT
                self._connected_at = time.monotonic()

    async def _connect(self) -> Gateway:
        connection = await whole(
            connect(self._url, self._schema, name=f"uno-jobs {self._name}", patience=CALL_TIMEOUT, pooled=self._pooled)
        )
        try:
            await check_schema(connection, self._schema)
            gateway = Gateway(connection, self._schema)
            self.connects += 1
            if self._on_connect is not None:
                await self._on_connect(gateway)
        except BaseException:
            connection.terminate()
            raise
        return gateway

    def drop(self, error: BaseException) -> None:
        """Give the connection up after an error that makes its state doubtful."""
        gateway, self._gateway = self._gateway, None
        if gateway is not None:
            gateway.connection.terminate()
            if time.monotonic() - self._connected_at >= _PROVED:
                self._pause = 0.0
            else:
                self._pause = min(_LONGEST_WAIT, max(_FIRST_WAIT, self._pause * 2))
        logger.warning("lost the connection to the database", extra={"line": self._name, "error": _said(error)})

    async def call(self, action: Callable[[Gateway], Awaitable[Any]]) -> Any:
        """Do something idempotent, again and again until the database has answered."""
        while True:
            gateway = await self.get()
            try:
                return await action(gateway)
            except LINE_TROUBLE as error:
                self.drop(error)

    async def close(self) -> None:
        """End the connection."""
        gateway, self._gateway = self._gateway, None
        if gateway is not None:
            try:
                await gateway.connection.close(timeout=2)
            except LINE_TROUBLE:
                gateway.connection.terminate()


def _said(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__

"""A TCP proxy before PostgreSQL that loses a reply, falls silent or cuts connections when a test says so."""

from __future__ import annotations

import asyncio
import contextlib
from urllib.parse import urlsplit, urlunsplit


class Proxy:
    """Forwards connections; each is known by the application_name in its first packet."""

    def __init__(self, url: str) -> None:
        self._target = urlsplit(url)
        self._server: asyncio.Server | None = None
        self._writers: list[asyncio.StreamWriter] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._lose: dict[str, asyncio.Event] = {}
        self._containing = b""
        self.silent_after_handshake = False
        self.silenced = asyncio.Event()
        self.speaking = asyncio.Event()
        self.speaking.set()

    async def __aenter__(self) -> Proxy:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        self.cut()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def url(self) -> str:
        assert self._server is not None
        port = self._server.sockets[0].getsockname()[1]
        user, _, _ = self._target.netloc.rpartition("@")
        return urlunsplit(self._target._replace(netloc=f"{user}@127.0.0.1:{port}"))

    def lose_reply(self, application_name: str, containing: bytes = b"") -> asyncio.Event:
        """Lose the connection's next reply that has these bytes, and cut it; the event says when."""
        self._lose[application_name] = asyncio.Event()
        self._containing = containing
        return self._lose[application_name]

    def cut(self) -> None:
        """Cut all connections."""
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there_reader, there_writer = await asyncio.open_connection(self._target.hostname, self._target.port or 5432)
        except OSError:  # the server is away, and whoever asks is to hear of it
            writer.transport.abort()
            return
        self._writers += [writer, there_writer]
        name: list[str] = []
        asked = asyncio.Event()
        for pump in (
            self._requests(reader, there_writer, name, asked),
            self._replies(there_reader, writer, name, asked),
        ):
            task = asyncio.create_task(pump)
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _requests(self, reader, writer, name: list[str], asked: asyncio.Event) -> None:
        # However this side ends, by a reset too, the other must hear of it: a session would keep its locks.
        with contextlib.closing(writer), contextlib.suppress(OSError):
            while data := await reader.read(65536):
                if not name and b"application_name\0" in data:
                    name.append(data.split(b"application_name\0", 1)[1].split(b"\0", 1)[0].decode())
                if name and name[0] in self._lose and not self._lose[name[0]].is_set():
                    asked.set()
                if self.silent_after_handshake and data[:1] in b"PQ":
                    self.silenced.set()
                    continue  # the first statement, and all that follow, are swallowed
                await self.speaking.wait()
                writer.write(data)
                await writer.drain()

    async def _replies(self, reader, writer, name: list[str], asked: asyncio.Event) -> None:
        with contextlib.closing(writer), contextlib.suppress(OSError):
            while data := await reader.read(65536):
                if asked.is_set() and self._containing in data and not self._lose[name[0]].is_set():
                    self._lose[name[0]].set()
                    writer.transport.abort()
                    return
                await self.speaking.wait()
                writer.write(data)
                await writer.drain()

"""CONNECT proxy of the sandbox: the only way to its hosts, and to nowhere else.

It terminates TLS with a leaf of the sandbox's own authority and passes plain bytes to the loopback port of
the first route that matches. Hosts without a route are refused with 502, so nothing leaves the machine.

Usage: ``python -m triplane.sandbox.gateway ROUTES_JSON`` with
``{"port": int, "ca": directory, "routes": [{"host": glob, "port": int, "grpc_port": int | null}, ...]}``.
"""

from __future__ import annotations

import asyncio
import fnmatch
import json
import logging
import ssl
import sys
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

from triplane.sandbox.ca import HOST, Authority
from triplane.sandbox.service import Route

log = logging.getLogger("gateway")
CHUNK = 1 << 18
HANDSHAKE_SECONDS = 30.0
LINGER_SECONDS = 2.0


class Refused(Exception):
    """A tunnel that the gateway does not open; the text goes to the client."""


def match(routes: Iterable[Route], host: str) -> Route | None:
    """The first route whose glob matches ``host`` (lower case)."""
    return next((route for route in routes if fnmatch.fnmatchcase(host, route.host)), None)


def parse_connect(line: bytes) -> str:
    """Host of ``CONNECT host:443 HTTP/1.1``, in lower case. Raises Refused for anything else."""
    words = line.decode("latin-1").split()
    if len(words) != 3 or words[0] != "CONNECT":
        raise Refused("only CONNECT is served here")
    host, _, port = words[1].lower().rpartition(":")
    if port != "443" or not HOST.fullmatch(host):
        raise Refused(f"only port 443 of a named host can be reached, not {words[1][:100]}")
    return host


class Gateway:
    """Accepts tunnels, ends their TLS, and joins each with the backend of its route."""

    def __init__(self, authority: Authority, routes: list[Route]) -> None:
        self._routes = routes
        self._context = lru_cache(maxsize=None)(self._make_context)
        self._authority = authority

    async def serve(self, port: int) -> None:
        self._connections: set[asyncio.Task[None]] = set()
        server = await asyncio.start_server(self._accept, "127.0.0.1", port, backlog=256)
        async with server:
            await server.serve_forever()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)  # after start_tls nothing else keeps the task alive
        task.add_done_callback(self._connections.discard)
        try:
            host, route = await self._read_connect(reader)
            await self._tunnel(host, route, writer)
        except Refused as error:
            log.info("refused: %s", error)
            body = f"triplane sandbox: {error}\n".encode()
            head = (
                f"HTTP/1.1 502 Not in the sandbox\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
            )
            writer.write(head.encode() + body)
        except (OSError, asyncio.IncompleteReadError, ValueError) as error:
            log.info("closed: %s: %s", type(error).__name__, error)
        finally:
            writer.close()

    async def _read_connect(self, reader: asyncio.StreamReader) -> tuple[str, Route]:
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), HANDSHAKE_SECONDS)
        host = parse_connect(head.split(b"\r\n", 1)[0])
        route = match(self._routes, host)
        if route is None:
            raise Refused(f"no part of the sandbox serves {host}")
        return host, route

    async def _tunnel(self, host: str, route: Route, writer: asyncio.StreamWriter) -> None:
        context = self._context(host, route.grpc_port is not None)
        writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        await writer.drain()
        client_reader, client_writer = await _start_tls(writer, context)
        try:
            grpc = client_writer.get_extra_info("ssl_object").selected_alpn_protocol() == "h2"
            port = route.grpc_port if grpc and route.grpc_port else route.port
            log.info("%s -> %s%s", host, port, " h2" if grpc else "")
            backend_reader, backend_writer = await asyncio.open_connection("127.0.0.1", port)
            await _join((client_reader, client_writer), (backend_reader, backend_writer))
        finally:
            client_writer.close()

    def _make_context(self, host: str, http2: bool) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self._authority.leaf(host))
        # The first protocol that the client offers too wins: HTTP/2 only for clients that speak nothing else.
        context.set_alpn_protocols(["http/1.1", "h2"] if http2 else ["http/1.1"])
        return context


async def _start_tls(
    writer: asyncio.StreamWriter, context: ssl.SSLContext
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Server side of TLS on an accepted connection (3.11's own ``start_tls`` loses the reader)."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=CHUNK)
    protocol = asyncio.StreamReaderProtocol(reader)
    transport = await loop.start_tls(
        writer.transport, protocol, context, server_side=True, ssl_handshake_timeout=HANDSHAKE_SECONDS
    )
    assert transport is not None
    reader.set_transport(transport)
    return reader, asyncio.StreamWriter(transport, protocol, reader, loop)


Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def _join(client: Stream, backend: Stream) -> None:
    """Pass bytes both ways until the backend is done.

    A client that has stopped sending still gets the rest of its answer.
    """
    upward = asyncio.create_task(_pump(client[0], backend[1]))
    downward = asyncio.create_task(_pump(backend[0], client[1]))
    try:
        await asyncio.wait({upward, downward}, return_when=asyncio.FIRST_COMPLETED)
        await asyncio.wait({downward}, timeout=LINGER_SECONDS)
    finally:
        for pump in (upward, downward):
            pump.cancel()
        await asyncio.gather(upward, downward, return_exceptions=True)
        backend[1].close()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(CHUNK):
        writer.write(data)
        await writer.drain()


def main(config_file: str) -> None:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stdout)
    config = json.loads(Path(config_file).read_text())
    routes = [Route(**route) for route in config["routes"]]
    gateway = Gateway(Authority(Path(config["ca"])), routes)
    asyncio.run(gateway.serve(config["port"]))


if __name__ == "__main__":
    main(sys.argv[1])

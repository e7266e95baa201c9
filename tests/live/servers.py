"""Small servers for what no package of the system serves: `servers.py quic PORT`, `servers.py coap PORT`."""

from __future__ import annotations

import asyncio
import sys


async def quic(port):
    """Knows no application and has no certificate: enough to say which versions it knows."""
    from aioquic.asyncio import serve  # noqa: PLC0415 only the one that is asked for needs to be there
    from aioquic.quic.configuration import QuicConfiguration  # noqa: PLC0415 likewise

    await serve("::", port, configuration=QuicConfiguration(is_client=False))


async def coap(port):
    """Has no resources: enough to answer a ping."""
    import aiocoap.resource  # noqa: PLC0415 likewise

    await aiocoap.Context.create_server_context(aiocoap.resource.Site(), bind=("::", port))


async def main():
    kind, port = sys.argv[1:]
    await {"quic": quic, "coap": coap}[kind](int(port))
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())

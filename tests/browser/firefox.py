"""Debian's Firefox for Playwright, which talks WebDriver BiDi to it.

Playwright asks at its start for things that the long-lived release of Firefox does not know: to
keep the bodies of answers, to save downloads, to pretend another screen. They are answered in its
place. So downloads, colour schemes and pages without JavaScript are tried in Chromium alone.

    python firefox.py FIREFOX ARGUMENTS...    starts it and says where its stand-in listens
"""

from __future__ import annotations

import asyncio
import json
import re
import shlex
import signal
import sys
from pathlib import Path

from websockets.asyncio.client import connect
from websockets.asyncio.server import ServerConnection, serve

_UNKNOWN = ("network.addDataCollector", "browser.setDownloadBehavior", "emulation.")
_LISTENS = re.compile(rb"WebDriver BiDi listening on (ws://\S+)")


def write_launcher(firefox: str, folder: Path) -> Path:
    """Write the program that Playwright starts in the place of Firefox; return it."""
    launcher = folder / "firefox"
    command = shlex.join([sys.executable, __file__, firefox])
    launcher.write_text(f'#!/bin/sh\nexec {command} "$@"\n')
    launcher.chmod(0o700)
    return launcher


async def _run(program: str, *arguments: str) -> None:
    firefox = await asyncio.create_subprocess_exec(
        program, *arguments, stderr=asyncio.subprocess.PIPE
    )
    for name in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(name, firefox.terminate)
    assert firefox.stderr is not None
    address = ""
    async for line in firefox.stderr:
        if found := _LISTENS.search(line):
            address = found[1].decode()
            break

    async def relay(client: ServerConnection) -> None:
        assert client.request is not None
        async with connect(address + client.request.path, max_size=None) as there:

            async def answers() -> None:
                async for message in there:
                    await client.send(message)

            answering = asyncio.create_task(answers())
            async for message in client:
                asked = json.loads(message)
                if asked["method"].startswith(_UNKNOWN):
                    done = {"type": "success", "id": asked["id"], "result": {"collector": ""}}
                    await client.send(json.dumps(done))
                else:
                    await there.send(message)
            answering.cancel()

    async with serve(relay, "127.0.0.1", 0, max_size=None) as server:
        port = server.sockets[0].getsockname()[1]
        sys.stderr.write(f"WebDriver BiDi listening on ws://127.0.0.1:{port}\n")
        sys.stderr.flush()
        async for _ in firefox.stderr:
            pass
        await firefox.wait()


if __name__ == "__main__":
    asyncio.run(_run(*sys.argv[1:]))

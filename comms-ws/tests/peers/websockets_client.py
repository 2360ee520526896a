"""A client on the package websockets: prints what arrives, and does what the lines of its input say."""

import asyncio
import json
import sys

import websockets
from websockets.asyncio.client import connect


def show(value):
    print(json.dumps(value), flush=True)


async def read(socket):
    try:
        async for text in socket:
            show({"frame": json.loads(text)})
    except websockets.ConnectionClosed:
        pass
    show({"closed": socket.close_code})


async def ping(socket, payload):
    await (await socket.ping(payload))
    show({"pong": payload})


async def main():
    url, protocols = sys.argv[1], sys.argv[2:]
    async with connect(url, subprotocols=protocols) as socket:
        show({"open": socket.subprotocol})
        reader = asyncio.create_task(read(socket))
        loop = asyncio.get_running_loop()
        while line := await loop.run_in_executor(None, sys.stdin.readline):
            command = json.loads(line)
            if "send" in command:
                await socket.send(json.dumps(command["send"]))
            if "ping" in command:
                await ping(socket, command["ping"])
            if "close" in command:
                await socket.close(command["close"])
        await reader


asyncio.run(main())

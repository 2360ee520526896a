"""A server of the Python package grpcio, for the tests of the channel.

    grpcio_server.py ADDRESS OPTIONS

OPTIONS is a JSON object with channel arguments of grpcio. Prints the port, and serves until it is killed. A request and a
response are JSON in a google.protobuf.StringValue. The field `action` of the request selects what the handler does.
"""

import asyncio
import json
import sys
import time

import grpc
from google.protobuf import any_pb2, wrappers_pb2
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

# The times at which the attempts of a call began, and the attempts that grpc-previous-rpc-attempts reported, by key.
attempts = {}
previous = {}
# The keys of the calls that were executed, each as often as it was.
executed = []
# The number of handlers that began, and of those that were cancelled.
begun = 0
cancelled = 0


def metadata(context):
    return {key: value for key, value in context.invocation_metadata() if isinstance(value, str)}


def note(request, context):
    """Notes the attempt, and returns its number, from 1."""
    key = request["key"]
    attempts.setdefault(key, []).append(time.monotonic())
    previous.setdefault(key, []).append(metadata(context).get("grpc-previous-rpc-attempts"))
    return len(attempts[key])


async def fail(request, context):
    number = note(request, context)
    if number > request["times"]:
        times = attempts[request["key"]]
        gaps = [round((b - a) * 1000) for a, b in zip(times, times[1:])]
        return {"attempts": number, "gaps_ms": gaps, "previous": previous[request["key"]]}
    trailers = ()
    if "pushback" in request:
        trailers = (("grpc-retry-pushback-ms", request["pushback"]),)
    await context.abort(getattr(grpc.StatusCode, request["code"]), "fails on request", trailers)


async def details(_request, context):
    retry = error_details_pb2.RetryInfo()
    retry.retry_delay.FromMilliseconds(1500)
    detail = any_pb2.Any()
    detail.Pack(retry)
    status = status_pb2.Status(code=8, message="no quota: щедро", details=[detail])
    await context.abort_with_status(rpc_status.to_status(status))


async def sleep(request, _context):
    await asyncio.sleep(request["ms"] / 1000)
    executed.append(request.get("key"))
    return {}


async def echo(request, context):
    remaining = context.time_remaining()
    return {
        "remaining_ms": remaining and round(remaining * 1000),
        "metadata": metadata(context),
        "peer": context.peer(),
        "text": "x" * request.get("size", 0),
    }


async def seen(_request, _context):
    return {"begun": begun, "cancelled": cancelled, "executed": executed}


ACTIONS = {"fail": fail, "details": details, "sleep": sleep, "echo": echo, "seen": seen}


async def unary(message, context):
    global begun, cancelled
    request = json.loads(message.value)
    if request["action"] != "seen":
        begun += 1
    try:
        response = await ACTIONS[request["action"]](request, context)
    except asyncio.CancelledError:
        cancelled += 1
        raise
    return wrappers_pb2.StringValue(value=json.dumps(response))


async def stream(message, context):
    """Sends `count` messages of `size` bytes, one every `ms`."""
    request = json.loads(message.value)
    for _ in range(request["count"]):
        await asyncio.sleep(request["ms"] / 1000)
        yield wrappers_pb2.StringValue(value="x" * request["size"])


def handlers():
    value = wrappers_pb2.StringValue
    both = {"request_deserializer": value.FromString, "response_serializer": value.SerializeToString}
    return grpc.method_handlers_generic_handler(
        "peers.Peer",
        {
            "Unary": grpc.unary_unary_rpc_method_handler(unary, **both),
            "Stream": grpc.unary_stream_rpc_method_handler(stream, **both),
        },
    )


async def main():
    address, options = sys.argv[1], json.loads(sys.argv[2])
    # Two servers of the tests must not share a port.
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0), *options.items()])
    server.add_generic_rpc_handlers((handlers(),))
    print(json.dumps({"port": server.add_insecure_port(address)}), flush=True)
    await server.start()
    await server.wait_for_termination()


asyncio.run(main())

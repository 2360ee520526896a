"""A client of the Python package grpcio, for the tests of the server.

    grpcio_client.py ADDRESS WHAT CALL

CALL is a JSON object: `request` (for the handler), `timeout_ms`, `service_config` and `options` of the channel, and
`cancel` (cancel the call when a line is read from standard input). Prints the results as JSON, each on a line.
"""

import json
import sys
import threading

import grpc
from google.protobuf import any_pb2, json_format, wrappers_pb2
from google.rpc import error_details_pb2  # registers the types, so that details are printed as JSON
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_status import rpc_status

assert error_details_pb2 and any_pb2

LIMIT = 20


def show(**result):
    print(json.dumps(result), flush=True)


def timeout_of(call):
    return call.get("timeout_ms", LIMIT * 1000) / 1000


def channel_to(address, call):
    options = list(call.get("options", {}).items())
    # No environment of the machine may put a proxy between the client and the server.
    options.append(("grpc.enable_http_proxy", 0))
    if "service_config" in call:
        options.append(("grpc.service_config", json.dumps(call["service_config"])))
    return grpc.insecure_channel(address, options=options)


def failure(error):
    status = rpc_status.from_call(error)
    details = [json_format.MessageToDict(detail) for detail in status.details] if status else []
    trailers = {key: value for key, value in error.trailing_metadata() or () if isinstance(value, str)}
    return {
        "code": error.code().name,
        "message": error.details(),
        "details": details,
        "trailers": trailers,
    }


def method(channel, kind, name):
    value = wrappers_pb2.StringValue
    return getattr(channel, kind)(
        f"/peers.Peer/{name}",
        request_serializer=value.SerializeToString,
        response_deserializer=value.FromString,
    )


def message(call):
    return wrappers_pb2.StringValue(value=json.dumps(call["request"]))


def unary(channel, call):
    future = method(channel, "unary_unary", "Unary").future(message(call), timeout=timeout_of(call))
    if call.get("cancel"):
        cancel = lambda: sys.stdin.readline() and future.cancel()
        threading.Thread(target=cancel, daemon=True).start()
    try:
        response = future.result()
    except grpc.FutureCancelledError:
        show(code="CANCELLED", by="client")
        return
    except grpc.RpcError as error:
        show(**failure(error))
        return
    show(code="OK", **json.loads(response.value))


def stream(channel, call):
    """Prints the number of messages and bytes of a response stream."""
    responses = method(channel, "unary_stream", "Stream")(message(call), timeout=timeout_of(call))
    count, size = 0, 0
    try:
        for response in responses:
            count += 1
            size += len(response.value)
    except grpc.RpcError as error:
        show(count=count, size=size, **failure(error))
        return
    show(code="OK", count=count, size=size)


def health(channel, call):
    """Prints the states of a watch, and those of checks."""
    stub = health_pb2_grpc.HealthStub(channel)
    for name in call["services"]:
        try:
            answer = stub.Check(health_pb2.HealthCheckRequest(service=name), timeout=LIMIT)
            show(check=name, status=health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status))
        except grpc.RpcError as error:
            show(check=name, status=error.code().name)
    watch = stub.Watch(health_pb2.HealthCheckRequest(service=call["watch"]), timeout=LIMIT)
    try:
        for answer in watch:
            show(watch=health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status))
        show(watch="OK")
    except grpc.RpcError as error:
        show(watch=error.code().name)


def main():
    address, what, call = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
    with channel_to(address, call) as channel:
        {"unary": unary, "stream": stream, "health": health}[what](channel, call)


main()

"""Another implementation of CloudEvents: reads what the test wrote, and writes the same events itself.

One JSON document in, one out. Binary is base64. An event out is {"attributes": {name: text}, "data": ...}
where data is null, {"json": value} or {"base64": text}.
"""

import base64
import json
import sys
from datetime import datetime

from cloudevents.core.bindings import http, kafka
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent

FORMAT = JSONFormat()


def encoded(data):
    return base64.b64encode(data).decode()


def shown(event):
    attributes = {}
    for name, value in event.get_attributes().items():
        if isinstance(value, datetime):
            value = value.isoformat(timespec="milliseconds").replace("+00:00", "Z")
        attributes[name] = str(value)
    data = event.get_data()
    if isinstance(data, str):
        data = data.encode()
    if isinstance(data, bytes):
        data = {"base64": encoded(data)}
    elif data is not None:
        data = {"json": data}
    return {"attributes": attributes, "data": data}


def read(case):
    body = base64.b64decode(case["body"])
    headers = {name: value.encode() for name, value in case["kafka_headers"].items()}
    return {
        "structured": shown(http.from_structured_event(http.HTTPMessage({}, case["structured"].encode()))),
        "http": shown(http.from_http(http.HTTPMessage(case["http_headers"], body), FORMAT)),
        "kafka": shown(kafka.from_kafka_event(kafka.KafkaMessage(headers, case["key"], body))),
    }


def write(case):
    attributes = dict(case["attributes"])
    attributes["time"] = datetime.fromisoformat(attributes["time"])
    data = case["data"]
    if data is not None and "base64" in data:
        data = base64.b64decode(data["base64"])
        if attributes["datacontenttype"].startswith("text/"):
            data = data.decode()
    elif data is not None:
        data = data["json"]
    event = CloudEvent(attributes, data)
    web, log = http.to_binary_event(event), kafka.to_binary_event(event)
    return {
        "structured": http.to_structured_event(event).body.decode(),
        "http_headers": web.headers,
        "kafka_headers": {name: value.decode() for name, value in log.headers.items()},
        "key": log.key,
        "body": encoded(web.body),
    }


cases = json.load(sys.stdin)
json.dump([{"read": read(case), "written": write(case)} for case in cases], sys.stdout)

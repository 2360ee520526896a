"""Another Kafka client: the PyPI package confluent-kafka. Writes records, or reads what others wrote.

    write BROKERS TOPIC          reads a JSON list of records on standard input, and prints where each one is
    read BROKERS TOPIC COUNT     prints COUNT records of all partitions, from the first one on

A record is {"key": HEX, "value": HEX, "headers": [[NAME, HEX], ...], "partition": N, "offset": N}. Key, value and header
values may be null. The partition and the offset are printed only.
"""

import json
import sys
import time

from confluent_kafka import Consumer, Producer, TopicPartition


def encoded(data):
    return None if data is None else data.hex()


def decoded(text):
    return None if text is None else bytes.fromhex(text)


def shown(record):
    headers = [[name, encoded(value)] for name, value in record.headers() or []]
    place = {"partition": record.partition(), "offset": record.offset()}
    return {"key": encoded(record.key()), "value": encoded(record.value()), "headers": headers, **place}


def write(brokers, topic):
    # The default of the client, consistent_random, chooses other partitions than Java does.
    settings = {"bootstrap.servers": brokers, "enable.idempotence": True, "partitioner": "murmur2_random"}
    producer = Producer(settings)
    written = []

    def report(record):
        # The client reports records without their headers.
        def delivered(error, report):
            if error is not None:
                sys.exit(f"not written: {error}")
            written.append({**record, "partition": report.partition(), "offset": report.offset()})

        return delivered

    for record in json.load(sys.stdin):
        headers = [(name, decoded(value)) for name, value in record["headers"]]
        key, value = decoded(record["key"]), decoded(record["value"])
        producer.produce(topic, key=key, value=value, headers=headers, on_delivery=report(record))
    if producer.flush(60) > 0:
        sys.exit("not written within 60 s")
    json.dump(written, sys.stdout)


def read(brokers, topic, count):
    settings = {"bootstrap.servers": brokers, "group.id": "unused", "enable.auto.commit": False}
    consumer = Consumer(settings)
    partitions = consumer.list_topics(topic, 30).topics[topic].partitions
    consumer.assign([TopicPartition(topic, partition, 0) for partition in partitions])
    records, limit = [], time.monotonic() + 60
    while len(records) < int(count) and time.monotonic() < limit:
        for record in consumer.consume(100, 1.0):
            if record.error():
                sys.exit(f"cannot read: {record.error()}")
            records.append(shown(record))
    consumer.close()
    json.dump(records, sys.stdout)


{"write": write, "read": read}[sys.argv[1]](*sys.argv[2:])

//! Kafka's command line tools. They write and read lines of text.

use std::{
    io::Write,
    process::{Command, Stdio},
};

use crate::records::Record;

/// Stands for a null key, value or header value.
const NULL: &str = "<null>";
const READER: &[&str] = &[
    "parse.key=true",
    "parse.headers=true",
    "key.separator=\t",
    "headers.delimiter=\t",
    "null.marker=<null>",
];
const FORMATTER: &[&str] = &[
    "print.partition=true",
    "print.offset=true",
    "print.headers=true",
    "print.key=true",
    "key.separator=\t",
    "headers.separator=,",
    "null.literal=<null>",
];

/// Runs a tool of Kafka with `lines` as its input, and returns its output.
fn run(class: &str, arguments: &[String], lines: &str) -> String {
    const LIBS: &str = "COMMS_TEST_KAFKA_LIBS";
    let libs = std::env::var(LIBS).unwrap_or_else(|_| {
        panic!(
            "{LIBS} is not set: run scripts/services restart kafka, which fetches the tools, and scripts/test"
        )
    });
    let mut java = Command::new("java");
    java.args(["-XX:TieredStopAtLevel=1", "-Dfile.encoding=UTF-8", "-Dstdout.encoding=UTF-8", "-cp"]);
    java.arg(format!("{libs}/*")).arg(class).args(arguments);
    let mut child = java.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(lines.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{class} failed: see its output above");
    String::from_utf8(output.stdout).unwrap()
}

fn arguments(brokers: &str, topic: &str, name: &str, properties: &[&str]) -> Vec<String> {
    let own = [format!("--bootstrap-server={brokers}"), format!("--topic={topic}")];
    own.into_iter().chain(properties.iter().map(|property| format!("--{name}={property}"))).collect()
}

/// Writes `records` with the console producer.
pub fn write(brokers: &str, topic: &str, records: &[Record]) {
    let lines: String = records.iter().map(line).collect();
    let arguments = arguments(brokers, topic, "reader-property", READER);
    run("org.apache.kafka.tools.ConsoleProducer", &arguments, &lines);
}

fn line(record: &Record) -> String {
    let headers: Vec<_> =
        record.headers.iter().map(|(name, value)| format!("{name}:{}", text(value))).collect();
    let headers = if headers.is_empty() { NULL.to_owned() } else { headers.join(",") };
    format!("{headers}\t{}\t{}\n", text(&record.key), text(&record.value))
}

fn text(bytes: &Option<Vec<u8>>) -> &str {
    bytes.as_ref().map_or(NULL, |bytes| std::str::from_utf8(bytes).unwrap())
}

/// Reads `count` records with the console consumer.
pub fn read(brokers: &str, topic: &str, count: usize) -> Vec<Record> {
    let mut arguments = arguments(brokers, topic, "formatter-property", FORMATTER);
    arguments.extend(["--from-beginning".to_owned(), "--timeout-ms=30000".to_owned()]);
    arguments.push(format!("--max-messages={count}"));
    run("org.apache.kafka.tools.consumer.ConsoleConsumer", &arguments, "").lines().map(parse).collect()
}

/// Reads a line such as `Partition:0`, `Offset:7`, `a:1,b:2`, `key`, `value`, with tabs between the fields.
fn parse(line: &str) -> Record {
    let fields: Vec<_> = line.split('\t').collect();
    let [partition, offset, headers, key, value] = fields[..] else { panic!("{line}") };
    let bytes = |text: &str| (text != NULL).then(|| text.as_bytes().to_vec());
    let number = |field: &str, name: &str| field.strip_prefix(name).unwrap().parse::<i64>().unwrap();
    let headers = headers.split(',').filter(|_| headers != "NO_HEADERS");
    let headers = headers.map(|pair| pair.split_once(':').unwrap());
    let partition = i32::try_from(number(partition, "Partition:")).unwrap();
    Record {
        key: bytes(key),
        value: bytes(value),
        headers: headers.map(|(name, value)| (name.to_owned(), bytes(value))).collect(),
        place: Some((partition, number(offset, "Offset:"))),
    }
}

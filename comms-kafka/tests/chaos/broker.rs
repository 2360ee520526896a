//! A broker that only these tests use: they kill it, and delete its topics.

use std::{
    fs,
    os::unix::{fs::symlink, process::CommandExt},
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::OnceLock,
    thread,
    time::Duration,
};

use rdkafka::{
    ClientConfig, Offset, TopicPartitionList,
    admin::{AdminClient, AdminOptions, NewPartitions, NewTopic, TopicReplication},
    client::DefaultClientContext,
    types::RDKafkaErrorCode,
};
use tokio::runtime::Runtime;

static SHARED: OnceLock<Broker> = OnceLock::new();

pub struct Broker {
    folder: PathBuf,
    pub address: String,
    runtime: Runtime,
    /// Stops the broker when this process ends, however it ends: it waits for the end of its input.
    _guard: Child,
}

impl Broker {
    /// Returns the broker of this process, and starts it in the first call.
    pub fn get() -> &'static Self {
        SHARED.get_or_init(Self::start)
    }

    fn start() -> Self {
        let script = script();
        let folder = tempfile::Builder::new().prefix("chaos-").tempdir_in(env!("CARGO_TARGET_TMPDIR"));
        let folder = folder.unwrap().keep();
        fs::create_dir(folder.join("kafka")).unwrap();
        if let Some(libs) = std::env::var_os("COMMS_TEST_KAFKA_LIBS") {
            symlink(libs, folder.join("kafka/libs")).unwrap();
        }
        let guard = "cat >/dev/null; \"$0\" stop kafka; rm -rf \"$COMMS_TEST_SERVICES_DIR\"";
        let guard = Command::new("sh")
            .args(["-c", guard])
            .arg(script)
            .env("COMMS_TEST_SERVICES_DIR", &folder)
            .env_remove("COMMS_TEST_KAFKA_BROKERS")
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let runtime = Runtime::new().unwrap();
        let mut broker = Self { folder, address: String::new(), runtime, _guard: guard.unwrap() };
        broker.services("start");
        let port = fs::read_to_string(broker.folder.join("kafka/port")).unwrap();
        broker.address = format!("127.0.0.1:{}", port.trim());
        broker
    }

    /// Simulates a crash of the machine, without its data loss.
    pub fn kill(&self) {
        self.services("kill");
    }

    /// Starts the broker again and waits until it answers.
    pub fn restart(&self) {
        self.services("start");
    }

    fn services(&self, verb: &str) {
        let mut command = Command::new(script());
        command.args([verb, "kafka"]).env("COMMS_TEST_SERVICES_DIR", &self.folder);
        let output = command.env_remove("COMMS_TEST_KAFKA_BROKERS").output().unwrap();
        assert!(output.status.success(), "{verb}: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// Returns a new empty folder, which is deleted with the broker.
    pub fn folder(&self, name: &str) -> PathBuf {
        let folder = self.folder.join(name);
        fs::create_dir(&folder).unwrap();
        folder
    }

    pub fn client(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.address);
        config
    }

    fn admin(&self) -> AdminClient<DefaultClientContext> {
        self.client().create().unwrap()
    }

    /// Creates `topic`. The broker may still delete an older topic of this name.
    pub fn create(&self, topic: &str, partitions: i32) {
        let new = NewTopic::new(topic, partitions, TopicReplication::Fixed(1));
        for _ in 0..100 {
            let results = self.runtime.block_on(self.admin().create_topics([&new], &options())).unwrap();
            match &results[0] {
                Ok(_) => return,
                Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {
                    thread::sleep(Duration::from_millis(100));
                }
                Err(error) => panic!("{error:?}"),
            }
        }
        panic!("{topic} still exists");
    }

    pub fn grow(&self, topic: &str, partitions: usize) {
        let new = NewPartitions::new(topic, partitions);
        let admin = self.admin();
        self.runtime.block_on(admin.create_partitions([&new], &options())).unwrap().remove(0).unwrap();
    }

    pub fn delete(&self, topic: &str) {
        let admin = self.admin();
        self.runtime.block_on(admin.delete_topics(&[topic], &options())).unwrap().remove(0).unwrap();
    }

    /// Deletes the records of every partition before `offset`.
    pub fn delete_records(&self, topic: &str, partitions: i32, offset: i64) {
        let mut list = TopicPartitionList::new();
        for partition in 0..partitions {
            list.add_partition_offset(topic, partition, Offset::Offset(offset)).unwrap();
        }
        let results = self.runtime.block_on(self.admin().delete_records(&list, &options())).unwrap();
        for element in results.elements() {
            element.error().unwrap();
        }
    }
}

fn options() -> AdminOptions {
    AdminOptions::new().operation_timeout(Some(Duration::from_secs(30)))
}

fn script() -> String {
    std::env::var("COMMS_TEST_SERVICES").expect("COMMS_TEST_SERVICES is not set: run scripts/test")
}

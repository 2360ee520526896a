# shellcheck shell=bash disable=SC2154 # `services` and `scripts` come from common.sh
# Apache Kafka in KRaft mode, from jars that Maven fetches. There is one broker, which is also the controller. Add names to
# `kafka_nodes` for a cluster: identity, rack, voters and replication are derived from them.

kafka_nodes=(kafka)
kafka_racks=([1]=msk-1 [2]=msk-2 [3]=nsk-1)

kafka_id() { [[ $1 == kafka ]] || { echo "${1#kafka-}" && return; }; echo 1; }
kafka_libs() { echo "$services/kafka/libs"; }
kafka_data() { echo "$services/$1/data"; }
kafka_mark() { echo "$services/$1/server.properties"; }
kafka_stop_signal() { echo TERM; }
kafka_address() { echo "127.0.0.1:$(port_of "$1")"; }

kafka_missing() {
  command -v java >/dev/null || echo default-jre-headless
  # The features `ssl` and `gssapi` of comms-kafka, which is tested with these servers, need these headers.
  [[ -e /usr/include/openssl/ssl.h ]] || echo libssl-dev
  [[ -e /usr/include/sasl/sasl.h ]] || echo libsasl2-dev
  kafka_fetched || command -v mvn >/dev/null || echo maven
}

# Succeeds if the jars of the current list are there.
kafka_fetched() { cmp -s "$scripts/kafka/pom.xml" "$(kafka_libs)/pom.xml"; }

# Sends a Metadata request (key 3, version 1, no topics). The last of the first 12 bytes of the response is the number of
# brokers that are ready. An open port alone does not show that.
kafka_answers() {
  local count
  # shellcheck disable=SC2016  # expanded by the inner shell
  count=$(timeout 3 bash -c '
    exec 3<>"/dev/tcp/127.0.0.1/$0" || exit 1
    printf "\0\0\0\016\0\003\0\001\0\0\0\001\377\377\0\0\0\0" >&3
    head -c 12 <&3 | od -An -v -w1 -tu1 | tail -n 1' "$(port_of "$1")" 2>/dev/null) || return 1
  ((count >= ${#kafka_nodes[@]}))
}

kafka_start() {
  local dir=$services/$1 java
  kafka_fetch
  kafka_configure "$1"
  require_free "$1" "$dir/port"
  require_free "$1" "$dir/controller-port"
  [[ -e $dir/data/meta.properties ]] || kafka_format "$1"
  # With only the first JIT compiler (C1) the broker starts sooner. Benchmarks set KAFKA_JVM_OPTS to use both.
  read -ra java <<<"java -Xms256m -Xmx512m ${KAFKA_JVM_OPTS--XX:TieredStopAtLevel=1}"
  launch "$1" "${java[@]}" -Djava.awt.headless=true -XX:+ExitOnOutOfMemoryError \
    "-Dlog4j2.configurationFile=$scripts/kafka/log4j2.properties" \
    -cp "$(kafka_libs)/*" kafka.Kafka "$dir/server.properties"
}

# Fetches the jars if they are missing or another list was fetched. The folder gets its final name when all jars are there.
kafka_fetch() {
  local libs log=$services/kafka/maven.log options=() home
  libs=$(kafka_libs)
  ! kafka_fetched || return 0
  home=$(getent passwd "$EUID" | cut -d: -f6)
  [[ -w $home ]] || options+=("-Dmaven.repo.local=$services/kafka/maven")
  say "kafka: fetching the jars with Maven"
  rm -rf "$libs.part"
  (
    close_inherited
    exec mvn -B -q "${options[@]}" -f "$scripts/kafka/pom.xml" dependency:copy-dependencies \
      -DincludeScope=runtime -DoutputDirectory="$libs.part" </dev/null
  ) >"$log" 2>&1 || die "Maven could not fetch Kafka's jars, see $log: $(grep ERROR "$log" | head -n 3)"
  cp "$scripts/kafka/pom.xml" "$libs.part"
  rm -rf "$libs"
  mv "$libs.part" "$libs"
}

# Writes the settings at each start, so that a restart applies changes.
kafka_configure() {
  local node voters='' nodes=${#kafka_nodes[@]} id isr
  id=$(kafka_id "$1")
  isr=$((nodes > 1 ? 2 : 1))
  for node in "${kafka_nodes[@]}"; do
    mkdir -p "$services/$node"
    keep_port "$services/$node/port"
    keep_port "$services/$node/controller-port"
    voters+="${voters:+,}$(kafka_id "$node")@127.0.0.1:$(<"$services/$node/controller-port")"
  done
  {
    cat "$scripts/kafka/broker.properties"
    cat <<P
node.id=$id
broker.rack=${kafka_racks[id]}
controller.quorum.voters=$voters
listeners=PLAINTEXT://127.0.0.1:$(port_of "$1"),CONTROLLER://127.0.0.1:$(<"$services/$1/controller-port")
advertised.listeners=PLAINTEXT://127.0.0.1:$(port_of "$1")
log.dirs=$(kafka_data "$1")
default.replication.factor=$nodes
min.insync.replicas=$isr
offsets.topic.replication.factor=$nodes
transaction.state.log.replication.factor=$nodes
transaction.state.log.min.isr=$isr
share.coordinator.state.topic.replication.factor=$nodes
share.coordinator.state.topic.min.isr=$isr
P
  } >"$(kafka_mark "$1")"
}

# Formats the data folder. All brokers of a cluster have the same cluster id: 16 bytes in base64url, whose first character
# is not a dash.
kafka_format() {
  local id=$services/kafka/cluster.id log=$services/$1/format.log
  [[ -s $id ]] || head -c 16 /dev/urandom | base64 | tr '+/' '-_' | tr -d = | sed 's/^-/A/' >"$id"
  java -XX:TieredStopAtLevel=1 -cp "$(kafka_libs)/*" kafka.tools.StorageTool \
    format -t "$(<"$id")" -c "$(kafka_mark "$1")" --ignore-formatted >"$log" 2>&1 ||
    die "kafka could not format $(kafka_data "$1"): $(tail -n 15 "$log")"
}

kafka_wipe() {
  local data
  data=$(kafka_data "$1")
  rm -rf "${data:?}"
  rm -f "$services/$1"/{cluster.id,server.properties}
}

//! The one table from librdkafka's errors to [`ErrorKind`].

use rdkafka::{error::KafkaError, types::RDKafkaErrorCode};

use comms_core::{Error, ErrorKind};

/// Gives `error` its kind.
pub(crate) fn classify(error: KafkaError) -> Error {
    let kind = match (&error, code_of(&error)) {
        (KafkaError::MessageConsumptionFatal(_), _) => ErrorKind::Fatal,
        (_, Some(code)) => kind_of(code),
        (error, None) => kind_without_code(error),
    };
    Error::new(kind, error)
}

/// The code of `error`. rdkafka's own accessor leaves out that of an admin operation.
pub(crate) fn code_of(error: &KafkaError) -> Option<RDKafkaErrorCode> {
    match error {
        KafkaError::AdminOp(code) => Some(*code),
        other => other.rdkafka_error_code(),
    }
}

/// Errors that arise on this side, before a request exists.
const fn kind_without_code(error: &KafkaError) -> ErrorKind {
    match error {
        // The client was closed while the operation was on its way.
        KafkaError::Canceled => ErrorKind::Indeterminate,
        KafkaError::NoMessageReceived | KafkaError::PartitionEOF(_) => ErrorKind::NotExecuted,
        // A certificate that cannot be read, a mechanism that this build lacks.
        KafkaError::ClientCreation(_) => ErrorKind::Misconfigured,
        // Arguments: a setting, a name, a null byte.
        KafkaError::ClientConfig(..)
        | KafkaError::AdminOpCreation(_)
        | KafkaError::Nul(_)
        | KafkaError::Subscription(_) => ErrorKind::Invalid,
        _ => ErrorKind::Internal,
    }
}

/// What an error code means for the operation that failed with it.
pub(crate) const fn kind_of(code: RDKafkaErrorCode) -> ErrorKind {
    use RDKafkaErrorCode as Code;
    match code {
        // This producer lost its place in the sequence, or another instance took this member's place.
        Code::Fatal
        | Code::Fenced
        | Code::ProducerFenced
        | Code::OutOfOrderSequenceNumber
        | Code::GaplessGuarantee
        | Code::FencedInstanceId => ErrorKind::Fatal,

        // The message's own fault. The publisher makes sure that it was alone in its batch.
        Code::MessageSizeTooLarge
        | Code::MessageBatchTooLarge
        | Code::InvalidMessageSize
        | Code::InvalidRecord
        | Code::InvalidTimestamp
        | Code::InvalidArgument => ErrorKind::Invalid,

        // A topic that is missing or cannot be made as declared.
        Code::UnknownTopic
        | Code::UnknownTopicOrPartition
        | Code::UnknownPartition
        | Code::UnknownTopicId
        | Code::InvalidTopic
        | Code::InvalidPartitions
        | Code::InvalidReplicationFactor
        | Code::InvalidReplicaAssignment
        | Code::InvalidConfig
        | Code::InvalidRequest
        | Code::InvalidRequiredAcks
        | Code::PolicyViolation
        // Permissions and credentials of this process.
        | Code::TopicAuthorizationFailed
        | Code::GroupAuthorizationFailed
        | Code::ClusterAuthorizationFailed
        | Code::TransactionalIdAuthorizationFailed
        | Code::DelegationTokenAuthorizationFailed
        | Code::DelegationTokenExpired
        | Code::SecurityDisabled
        | Code::Authentication
        | Code::SSL
        | Code::SaslAuthenticationFailed
        | Code::UnsupportedSASLMechanism
        | Code::IllegalSASLState
        // A feature or codec that the broker or this build lacks.
        | Code::UnsupportedVersion
        | Code::UnsupportedFeature
        | Code::UnsupportedForMessageFormat
        | Code::UnsupportedCompressionType
        | Code::NotImplemented
        | Code::BadCompression
        | Code::NotConfigured
        | Code::FileSystem
        // A group that this member's settings do not fit.
        | Code::AutoOffsetReset
        | Code::InvalidGroupId
        | Code::InvalidSessionTimeout
        | Code::InconsistentGroupProtocol
        | Code::UnsupportedAssignor
        | Code::UnknownProtocol
        | Code::GroupMaxSizeReached => ErrorKind::Misconfigured,

        // Nothing was written.
        Code::QueueFull
        | Code::TimedOutQueue
        | Code::InvalidMessage // a checksum that broke on the way
        | Code::InvalidDifferentRecord
        | Code::InvalidProducerEpoch
        | Code::AllBrokersDown
        | Code::Resolve
        | Code::LeaderNotAvailable
        | Code::NotLeaderForPartition
        | Code::BrokerNotAvailable
        | Code::ReplicaNotAvailable
        | Code::NotEnoughReplicas
        | Code::NotController
        | Code::OperationNotAttempted
        | Code::WaitingForCoordinator
        | Code::CoordinatorLoadInProgress
        | Code::CoordinatorNotAvailable
        | Code::NotCoordinator
        | Code::RebalanceInProgress
        | Code::IllegalGeneration
        | Code::UnknownMemberId
        | Code::StaleMemberEpoch
        | Code::FencedMemberEpoch
        | Code::ThrottlingQuotaExceeded => ErrorKind::NotExecuted,

        Code::TopicAlreadyExists | Code::ConcurrentTransactions => ErrorKind::Conflict,
        Code::OffsetMetadataTooLarge | Code::InvalidCommitOffsetSize | Code::BadMessage => ErrorKind::Internal,

        // Time-outs, broken connections and codes of later brokers. A purged message may be one that was sent,
        // got no answer and was queued again.
        _ => ErrorKind::Indeterminate,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rdkafka::types::RDKafkaErrorCode as Code;

    #[test]
    fn each_code_has_the_kind_of_its_meaning() {
        for (code, kind) in [
            (Code::MessageSizeTooLarge, ErrorKind::Invalid),
            (Code::InvalidRecord, ErrorKind::Invalid),
            (Code::InvalidTimestamp, ErrorKind::Invalid),
            (Code::TopicAuthorizationFailed, ErrorKind::Misconfigured),
            (Code::GroupAuthorizationFailed, ErrorKind::Misconfigured),
            (Code::ClusterAuthorizationFailed, ErrorKind::Misconfigured),
            (Code::SaslAuthenticationFailed, ErrorKind::Misconfigured),
            (Code::UnknownTopicOrPartition, ErrorKind::Misconfigured),
            (Code::UnknownTopic, ErrorKind::Misconfigured),
            (Code::UnknownPartition, ErrorKind::Misconfigured),
            (Code::InvalidTopic, ErrorKind::Misconfigured),
            (Code::PolicyViolation, ErrorKind::Misconfigured),
            (Code::UnsupportedVersion, ErrorKind::Misconfigured),
            (Code::UnsupportedCompressionType, ErrorKind::Misconfigured),
            (Code::NotImplemented, ErrorKind::Misconfigured),
            (Code::AutoOffsetReset, ErrorKind::Misconfigured),
            (Code::OutOfOrderSequenceNumber, ErrorKind::Fatal),
            (Code::NotEnoughReplicas, ErrorKind::NotExecuted),
            (Code::PurgeQueue, ErrorKind::Indeterminate),
            (Code::PurgeInflight, ErrorKind::Indeterminate),
            (Code::MessageTimedOut, ErrorKind::Indeterminate),
            (Code::BrokerTransportFailure, ErrorKind::Indeterminate),
            (Code::NotEnoughReplicasAfterAppend, ErrorKind::Indeterminate),
        ] {
            assert_eq!(classify(KafkaError::MessageProduction(code)).kind, kind, "{code:?}");
        }
    }

    #[test]
    fn the_code_of_an_admin_operation_decides_its_kind() {
        for (code, kind) in [
            // The cluster is away or comes up.
            (Code::BrokerTransportFailure, ErrorKind::Indeterminate),
            (Code::OperationTimedOut, ErrorKind::Indeterminate),
            (Code::RequestTimedOut, ErrorKind::Indeterminate),
            (Code::AllBrokersDown, ErrorKind::NotExecuted),
            (Code::Resolve, ErrorKind::NotExecuted),
            (Code::NotController, ErrorKind::NotExecuted),
            (Code::LeaderNotAvailable, ErrorKind::NotExecuted),
            (Code::CoordinatorLoadInProgress, ErrorKind::NotExecuted),
            (Code::CoordinatorNotAvailable, ErrorKind::NotExecuted),
            (Code::ThrottlingQuotaExceeded, ErrorKind::NotExecuted),
            // An operator of the cluster repairs it.
            (Code::ClusterAuthorizationFailed, ErrorKind::Misconfigured),
            (Code::TopicAuthorizationFailed, ErrorKind::Misconfigured),
            (Code::SaslAuthenticationFailed, ErrorKind::Misconfigured),
            (Code::InvalidReplicationFactor, ErrorKind::Misconfigured),
            (Code::InvalidPartitions, ErrorKind::Misconfigured),
            (Code::InvalidTopic, ErrorKind::Misconfigured),
            (Code::InvalidConfig, ErrorKind::Misconfigured),
            (Code::PolicyViolation, ErrorKind::Misconfigured),
            (Code::UnsupportedVersion, ErrorKind::Misconfigured),
            // The client refuses its arguments.
            (Code::InvalidArgument, ErrorKind::Invalid),
        ] {
            assert_eq!(classify(KafkaError::AdminOp(code)).kind, kind, "{code:?}");
        }
    }

    #[test]
    fn an_error_without_a_code_is_told_apart() {
        let fatal = KafkaError::MessageConsumptionFatal(Code::RequestTimedOut);
        assert_eq!(classify(fatal).kind, ErrorKind::Fatal);
        assert_eq!(classify(KafkaError::ClientCreation("no".into())).kind, ErrorKind::Misconfigured);
        assert_eq!(classify(KafkaError::AdminOpCreation("no".into())).kind, ErrorKind::Invalid);
        assert_eq!(classify(KafkaError::Canceled).kind, ErrorKind::Indeterminate);
    }
}

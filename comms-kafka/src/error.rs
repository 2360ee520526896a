//! The mapping of librdkafka's errors to [`ErrorKind`].

use rdkafka::{error::KafkaError, types::RDKafkaErrorCode};

use comms_core::{Error, ErrorKind};

/// Converts `error`, with the kind of its code.
pub(crate) fn classify(error: KafkaError) -> Error {
    let kind = match (&error, code_of(&error)) {
        (KafkaError::MessageConsumptionFatal(_), _) => ErrorKind::Fatal,
        (_, Some(code)) => kind_of(code),
        (error, None) => kind_without_code(error),
    };
    Error::new(kind, error)
}

/// Returns the code of `error`. [`KafkaError::rdkafka_error_code`] does not return the code of an admin operation.
pub(crate) fn code_of(error: &KafkaError) -> Option<RDKafkaErrorCode> {
    match error {
        KafkaError::AdminOp(code) => Some(*code),
        other => other.rdkafka_error_code(),
    }
}

/// Returns the kind of an error that the client raises before it sends a request.
const fn kind_without_code(error: &KafkaError) -> ErrorKind {
    match error {
        // The client was closed while the operation was in flight.
        KafkaError::Canceled => ErrorKind::Indeterminate,
        KafkaError::NoMessageReceived | KafkaError::PartitionEOF(_) => ErrorKind::NotExecuted,
        // For example a certificate that cannot be read, or a SASL mechanism that this build lacks.
        KafkaError::ClientCreation(_) => ErrorKind::Misconfigured,
        // An invalid argument: a setting, a name, a null byte.
        KafkaError::ClientConfig(..)
        | KafkaError::AdminOpCreation(_)
        | KafkaError::Nul(_)
        | KafkaError::Subscription(_) => ErrorKind::Invalid,
        _ => ErrorKind::Internal,
    }
}

/// Returns the kind of an operation that failed with `code`.
pub(crate) const fn kind_of(code: RDKafkaErrorCode) -> ErrorKind {
    use RDKafkaErrorCode as Code;
    match code {
        // The producer lost its sequence, or another instance replaced this producer or group member.
        Code::Fatal
        | Code::Fenced
        | Code::ProducerFenced
        | Code::OutOfOrderSequenceNumber
        | Code::GaplessGuarantee
        | Code::FencedInstanceId => ErrorKind::Fatal,

        // The message can never be written. The publisher returns this only for a message in a batch of its own.
        Code::MessageSizeTooLarge
        | Code::MessageBatchTooLarge
        | Code::InvalidMessageSize
        | Code::InvalidRecord
        | Code::InvalidTimestamp
        | Code::InvalidArgument => ErrorKind::Invalid,

        // A topic is missing, or cannot be created as declared.
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
        // This process lacks a permission, or its credentials are refused.
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
        // The broker or this build lacks a feature or a codec.
        | Code::UnsupportedVersion
        | Code::UnsupportedFeature
        | Code::UnsupportedForMessageFormat
        | Code::UnsupportedCompressionType
        | Code::NotImplemented
        | Code::BadCompression
        | Code::NotConfigured
        | Code::FileSystem
        // The member's settings do not fit the group.
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
        | Code::InvalidMessage // the checksum does not match
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

        // Timeouts, broken connections and codes that this version does not list. A purged message may have been sent
        // before: the client queues a message again if the response is lost.
        _ => ErrorKind::Indeterminate,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rdkafka::types::RDKafkaErrorCode as Code;

    #[test]
    fn the_code_of_a_produce_error_decides_its_kind() {
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
            // The cluster is unreachable or starting.
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
            // An operator must change the cluster or the settings.
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
    fn an_error_without_a_code_is_classified_by_its_variant() {
        let fatal = KafkaError::MessageConsumptionFatal(Code::RequestTimedOut);
        assert_eq!(classify(fatal).kind, ErrorKind::Fatal);
        assert_eq!(classify(KafkaError::ClientCreation("no".into())).kind, ErrorKind::Misconfigured);
        assert_eq!(classify(KafkaError::AdminOpCreation("no".into())).kind, ErrorKind::Invalid);
        assert_eq!(classify(KafkaError::Canceled).kind, ErrorKind::Indeterminate);
    }
}

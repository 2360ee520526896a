//! The one table from librdkafka's errors to [`ErrorKind`].

use rdkafka::{error::KafkaError, types::RDKafkaErrorCode};

use comms_core::{Error, ErrorKind};

/// Gives `error` its kind. An error without a code comes from this side: a setting, a name, a null byte.
pub(crate) fn classify(error: KafkaError) -> Error {
    let kind = match (&error, error.rdkafka_error_code()) {
        (KafkaError::MessageConsumptionFatal(_), _) => ErrorKind::Fatal,
        (KafkaError::Canceled, _) => ErrorKind::Indeterminate,
        (_, Some(code)) => kind_of(code),
        (_, None) => ErrorKind::Invalid,
    };
    Error::new(kind, error)
}

/// What an error code means for the operation that failed with it.
pub(crate) const fn kind_of(code: RDKafkaErrorCode) -> ErrorKind {
    use RDKafkaErrorCode as Code;
    match code {
        // The producer lost its place in the sequence, or another instance took this one's.
        Code::Fatal
        | Code::Fenced
        | Code::ProducerFenced
        | Code::InvalidProducerEpoch
        | Code::OutOfOrderSequenceNumber
        | Code::UnknownProducerId
        | Code::FencedInstanceId => ErrorKind::Fatal,

        // The broker will say the same tomorrow.
        Code::MessageSizeTooLarge
        | Code::MessageBatchTooLarge
        | Code::InvalidMessageSize
        | Code::InvalidRecord
        | Code::InvalidTopic
        | Code::InvalidTimestamp
        | Code::InvalidPartitions
        | Code::InvalidReplicationFactor
        | Code::InvalidConfig
        | Code::InvalidRequest
        | Code::InvalidArgument
        | Code::PolicyViolation
        | Code::TopicAuthorizationFailed
        | Code::GroupAuthorizationFailed
        | Code::ClusterAuthorizationFailed
        | Code::UnsupportedForMessageFormat
        | Code::UnsupportedCompressionType
        | Code::UnsupportedVersion
        | Code::UnsupportedSASLMechanism
        | Code::SaslAuthenticationFailed => ErrorKind::Invalid,

        // Nothing was written.
        Code::QueueFull
        | Code::InvalidMessage // a checksum that broke on the way
        | Code::PurgeQueue
        | Code::BrokerTransportFailure
        | Code::AllBrokersDown
        | Code::Resolve
        | Code::UnknownTopic
        | Code::UnknownTopicOrPartition
        | Code::UnknownPartition
        | Code::LeaderNotAvailable
        | Code::NotLeaderForPartition
        | Code::BrokerNotAvailable
        | Code::ReplicaNotAvailable
        | Code::NotEnoughReplicas
        | Code::NotController
        | Code::CoordinatorLoadInProgress
        | Code::CoordinatorNotAvailable
        | Code::NotCoordinator
        | Code::RebalanceInProgress
        | Code::IllegalGeneration
        | Code::UnknownMemberId
        | Code::StaleMemberEpoch
        | Code::ThrottlingQuotaExceeded => ErrorKind::NotExecuted,

        // Time-outs, purged while on the wire, and whatever a later broker invents.
        _ => ErrorKind::Indeterminate,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_what_may_be_tried_again() {
        use RDKafkaErrorCode as Code;
        for (code, kind) in [
            (Code::MessageSizeTooLarge, ErrorKind::Invalid),
            (Code::TopicAuthorizationFailed, ErrorKind::Invalid),
            (Code::OutOfOrderSequenceNumber, ErrorKind::Fatal),
            (Code::UnknownTopicOrPartition, ErrorKind::NotExecuted),
            (Code::MessageTimedOut, ErrorKind::Indeterminate),
            (Code::PurgeInflight, ErrorKind::Indeterminate),
            (Code::NotEnoughReplicasAfterAppend, ErrorKind::Indeterminate),
        ] {
            assert_eq!(classify(KafkaError::MessageProduction(code)).kind, kind, "{code:?}");
        }
        let fatal = KafkaError::MessageConsumptionFatal(Code::RequestTimedOut);
        assert_eq!(classify(fatal).kind, ErrorKind::Fatal);
        assert_eq!(classify(KafkaError::ClientCreation("no".into())).kind, ErrorKind::Invalid);
    }
}

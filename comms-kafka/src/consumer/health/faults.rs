//! The faults of a client that an operator must repair.

use rdkafka::types::RDKafkaErrorCode;

use crate::error::kind_of;
use comms_core::ErrorKind;

/// A fault that stops a consumer, or some of its partitions, until an operator repairs it.
///
/// While a fault lasts, the consumer is unready with the reason ([`ConsumerBuilder::health`]).
/// [`ConsumerBuilder::fatal_on`] selects the faults that end [`Consumer::run`](crate::Consumer::run).
///
/// [`ConsumerBuilder::health`]: crate::ConsumerBuilder::health
/// [`ConsumerBuilder::fatal_on`]: crate::ConsumerBuilder::fatal_on
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ClientFault {
    /// A record is compressed with a codec that this build lacks, for example zstd without the feature `zstd`.
    Codec,
    /// The committed offset no longer exists, and `auto.offset.reset` is `error`.
    Position,
    /// The settings of this member do not fit those of its group: another assignor, or a session timeout that the
    /// broker refuses.
    Group,
    /// A topic does not exist.
    Topic,
    /// The cluster refuses access to a topic, the group or the cluster.
    Authorization,
    /// The cluster refuses the credentials or the connection.
    Authentication,
    /// Another fault of the deployment, for example a version that the broker does not support.
    Other,
}

impl ClientFault {
    /// Returns the fault of an error with `code`, or `None` if the client recovers from the error by itself.
    pub(super) const fn of(code: RDKafkaErrorCode) -> Option<Self> {
        use RDKafkaErrorCode as Code;
        Some(match code {
            Code::NotImplemented | Code::BadCompression | Code::UnsupportedCompressionType => Self::Codec,
            Code::AutoOffsetReset => Self::Position,
            Code::InconsistentGroupProtocol
            | Code::UnsupportedAssignor
            | Code::UnknownProtocol
            | Code::InvalidGroupId
            | Code::InvalidSessionTimeout
            | Code::GroupMaxSizeReached => Self::Group,
            Code::UnknownTopic
            | Code::UnknownTopicOrPartition
            | Code::UnknownPartition
            | Code::UnknownTopicId
            | Code::InvalidTopic => Self::Topic,
            Code::TopicAuthorizationFailed
            | Code::GroupAuthorizationFailed
            | Code::ClusterAuthorizationFailed => Self::Authorization,
            Code::Authentication
            | Code::SSL
            | Code::SaslAuthenticationFailed
            | Code::UnsupportedSASLMechanism
            | Code::IllegalSASLState
            | Code::DelegationTokenAuthorizationFailed
            | Code::DelegationTokenExpired => Self::Authentication,
            other if matches!(kind_of(other), ErrorKind::Misconfigured) => Self::Other,
            _ => return None,
        })
    }

    /// Returns whether the client stops to read the partition until it is assigned again.
    pub(super) const fn is_final(self) -> bool {
        matches!(self, Self::Codec | Self::Position)
    }
}

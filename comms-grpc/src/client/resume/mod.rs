//! A server stream that is opened again after a break, from the position of its last item.
//!
//! - `config.rs`: the settings.
//! - `run.rs`: the loop that opens the stream, reads it, and waits after a break.

mod config;
mod run;

pub use config::ResumeConfig;

use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context as TaskContext, Poll},
};

use comms_core::{Error, clock::Clock, context::Context};
use futures::{Stream, StreamExt};
use run::Run;
use tonic::{Response, Status, Streaming};

/// Builds a server stream that survives breaks: [`open`](Self::open) returns a [`Resuming`] stream.
///
/// `P` is the position of an item in the stream, for example its sequence number. The server must send the items after
/// the position that the request names.
///
/// ```
/// use comms_core::clock::Clock;
/// use comms_grpc::{Channel, Resume, ResumeConfig, Resuming, tonic};
/// use http::uri::PathAndQuery;
/// use tonic_prost::ProstCodec;
///
/// /// Streams the numbers after `position`. The items are their own positions.
/// fn numbers(channel: Channel, position: u64) -> Result<Resuming<u64>, comms_core::Error> {
///     let resume = Resume::new("numbers", ResumeConfig::default(), Clock::system())?;
///     Ok(resume.after(position).drop_duplicates().open(|number: &u64| Some(*number), move |after| {
///         // With generated code: NumbersClient::new(channel).list(ListRequest { after }).await
///         let mut client = tonic::client::Grpc::new(channel.clone());
///         async move {
///             client.ready().await?;
///             let (request, codec) = (tonic::Request::new(after.unwrap_or(0)), ProstCodec::<u64, u64>::default());
///             client.server_streaming(request, PathAndQuery::from_static("/n.v1.Numbers/List"), codec).await
///         }
///     }))
/// }
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), comms_core::Error> {
/// # let stream = numbers(Channel::builder("http://127.0.0.1:1").build()?, 7)?;
/// # drop(stream);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
#[must_use]
pub struct Resume<P> {
    name: String,
    config: ResumeConfig,
    clock: Clock,
    position: Option<P>,
    /// Returns whether an item at the first position is sent again, after an item at the second one.
    is_duplicate: Option<fn(&P, &P) -> bool>,
}

impl<P> Resume<P> {
    /// Creates a builder. `name` identifies the stream in errors, logs and metrics: use a bounded set of names.
    ///
    /// # Errors
    /// Returns [`ErrorKind::Invalid`](comms_core::ErrorKind::Invalid) if [`ResumeConfig::validate`] fails.
    pub fn new(name: &str, config: ResumeConfig, clock: Clock) -> Result<Self, Error> {
        config.validate()?;
        Ok(Self { name: name.to_owned(), config, clock, position: None, is_duplicate: None })
    }

    /// Starts after `position`, for example the last one that a process before this one has stored. Default none: the
    /// first call of `open` gets `None`.
    pub fn after(self, position: P) -> Self {
        Self { position: Some(position), ..self }
    }

    /// Drops items whose position is not above that of the last item. For a server that sends items again after a
    /// break, and positions that grow. Default: all items are passed on.
    pub fn drop_duplicates(self) -> Self
    where
        P: Ord,
    {
        Self { is_duplicate: Some(|position, last| position <= last), ..self }
    }

    /// Returns the stream. Nothing is opened before the stream is read.
    ///
    /// `position` returns the position of an item, or `None` for an item without one, such as a keep-alive. Such an item
    /// is passed on. It restarts the [`silence`](ResumeConfig::silence), and is no progress; neither is an item at the
    /// position after which the call was opened. `open` makes the call, with
    /// the position of the last item. It is called again after each break, in the
    /// [`Context`] that is current now.
    pub fn open<T, F, Open, Call>(self, position: F, open: Open) -> Resuming<T>
    where
        P: Clone + PartialEq + Send + 'static,
        T: Send + 'static,
        F: Fn(&T) -> Option<P> + Send + 'static,
        Open: FnMut(Option<P>) -> Call + Send + 'static,
        Call: Future<Output = Result<Response<Streaming<T>>, Status>> + Send + 'static,
    {
        let run = Run::new(self, Context::current(), position, open);
        let items = futures::stream::unfold(run, |mut run| async move {
            let item = run.next().await?;
            Some((item, run))
        });
        // An unfolded stream panics if it is polled after its end.
        Resuming(Box::pin(items.fuse()))
    }
}

/// A server stream that is opened again after each break that permits it, created by [`Resume::open`].
///
/// - *Breaks*: a failure of kind `NotExecuted` or `Indeterminate`, a `Rejected` one with a wait, or no item within
///   [`ResumeConfig::silence`]. The stream is opened again after the position of the last item that it returned, after the
///   backoff or the wait that the server requests. A call that ends at another position than it began after is progress,
///   and resets the backoff.
/// - *A quiet stream* is no failure: a call whose response headers have arrived, and that brings no item within the
///   silence, is opened again after the first wait of the backoff, however often. A call that was open for 30 s or more
///   ends a row of failures.
/// - *Items* are returned at least once, in the order of the server. The position counts as reached when the item is
///   returned: a consumer that must not lose an item stores the position of the last one that it has processed, and
///   starts [`after`](Resume::after) it.
/// - *Ends*: the server ends the stream without an error (unless [`ResumeConfig::follow`] is set), any other failure,
///   [`ResumeConfig::max_failures`] failures in a row without progress, a pushback that permits no further attempt or
///   requests more than 5 min, or a wait that would reach the deadline of the [`Context`] in which the stream was created. After an error the stream
///   ends.
/// - *Backpressure*: an item is read when the consumer asks for it. A consumer that stops reading stops the server at the
///   flow-control window of HTTP/2.
///
/// Dropping the stream cancels the call. The limit of a [`Channel`](crate::Channel) for one call
/// ([`ChannelBuilder::timeout`](crate::ChannelBuilder::timeout)) ends each call of the stream, which is a break: set it to
/// the time for which one call may stream.
///
/// # Errors
/// An item is an error only if the stream ends with it. Its kind is that of the last failure, see
/// [`from_status`](crate::from_status).
#[must_use = "a stream does nothing unless it is read"]
pub struct Resuming<T>(Pin<Box<dyn Stream<Item = Result<T, Error>> + Send>>);

impl<T> Stream for Resuming<T> {
    type Item = Result<T, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<Option<Self::Item>> {
        self.0.as_mut().poll_next(cx)
    }
}

impl<T> fmt::Debug for Resuming<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resuming").finish_non_exhaustive()
    }
}

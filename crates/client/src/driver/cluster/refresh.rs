//! Owns: keeping the metadata of a client fresh: when to ask, what for, and starting again from the bootstrap list (KIP-899, KIP-1102).
//! Used by: `Cluster`, which starts it. Kafka: `NetworkClient.DefaultMetadataUpdater`, `Metadata`.

use super::{CONTROLLERS, Cluster, Slot, Topics};
use crate::core::accumulator::meaning::is_metadata_error;
use crate::core::metadata::MetadataCache;
use crate::error::{Error, Result};
use base::{Instant, Uuid};
use std::sync::Arc;
use wire::ErrorCode;
use wire::messages::describe_cluster_response::DescribeClusterBroker;
use wire::messages::metadata_request::MetadataRequestTopic;
use wire::messages::metadata_response::{MetadataResponseBroker, MetadataResponseTopic};
use wire::messages::{DescribeClusterRequest, DescribeClusterResponse, MetadataRequest, MetadataResponse};

impl Cluster {
    pub(super) async fn keep_metadata_fresh(self) {
        let mut attempts = 0;
        let mut failing_since: Option<Instant> = None;
        loop {
            tokio::select! {
                () = self.inner.refresh.notified() => {}
                () = tokio::time::sleep(self.inner.config.metadata_max_age) => {}
            }
            loop {
                let (topics, all) = {
                    let state = self.state();
                    let names = || Topics::Names(state.wanted.iter().cloned().collect());
                    (if state.all_topics { Topics::All } else { names() }, state.all_topics)
                };
                let deadline = self.clock().mono() + self.inner.config.request_timeout;
                let result = self.fetch_metadata(&topics, self.inner.config.allow_auto_topic_creation, deadline).await;
                let failed = result.is_err();
                let mut unsettled = false;
                match result {
                    Ok(response) => {
                        self.state().last_error = None;
                        unsettled = response.topics.iter().any(is_unsettled);
                        self.apply(response, all);
                        self.look_up_names(deadline).await;
                    }
                    Err(error) => {
                        tracing::debug!("metadata could not be fetched: {error}");
                        self.state().last_error = Some(error);
                    }
                }
                attempts = if failed || unsettled { attempts + 1 } else { 0 };
                failing_since = failed.then(|| failing_since.unwrap_or_else(|| self.clock().mono()));
                let failing = failing_since.map(|since| self.clock().mono().saturating_since(since));
                if self.inner.config.rebootstrap_after.zip(failing).is_some_and(|(limit, failing)| failing > limit) {
                    self.rebootstrap();
                    failing_since = None;
                }
                // At most one request per backoff, so that callers who keep asking do not flood the brokers.
                tokio::time::sleep(self.backoff_delay(attempts)).await;
                if !failed && !unsettled {
                    break;
                }
            }
        }
    }

    /// Asks for the topics of which only the id is known; those that are gone stay unknown.
    async fn look_up_names(&self, deadline: Instant) {
        let known = self.metadata();
        let ids: Vec<Uuid> = self.state().wanted_ids.iter().filter(|id| !known.names.contains_key(id)).copied().collect();
        if ids.is_empty() {
            return;
        }
        match self.fetch_metadata(&Topics::Ids(ids), false, deadline).await {
            Ok(response) => self.apply(response, false),
            Err(error) => tracing::debug!("topics could not be looked up by id: {error}"),
        }
    }

    /// One Metadata request to whichever broker is best reachable.
    pub async fn fetch_metadata(&self, topics: &Topics, auto_create: bool, deadline: Instant) -> Result<MetadataResponse> {
        if self.inner.config.of_controllers {
            return self.fetch_controllers(deadline).await;
        }
        let names = match topics {
            Topics::All => None,
            Topics::None => Some(Vec::new()),
            Topics::Names(names) => Some(names.iter().map(|name| topic_by_name(name)).collect()),
            Topics::Ids(ids) => {
                Some(ids.iter().map(|id| MetadataRequestTopic { topic_id: *id, name: None, ..Default::default() }).collect())
            }
        };
        let request = MetadataRequest { topics: names, allow_auto_topic_creation: auto_create, ..Default::default() };
        let connection = self.any_connection(deadline).await?;
        let response: MetadataResponse = self.request_on(&connection, &request, deadline).await?;
        if response.error_code != 0 {
            if response.error_code == ErrorCode::RebootstrapRequired.code() && self.inner.config.rebootstrap_after.is_some() {
                self.rebootstrap();
            }
            return Err(Error::from_code(response.error_code, None));
        }
        Ok(response)
    }

    /// The controllers in the place of brokers; they know no topics.
    async fn fetch_controllers(&self, deadline: Instant) -> Result<MetadataResponse> {
        let connection = self.any_connection(deadline).await?;
        let request = DescribeClusterRequest { endpoint_type: CONTROLLERS, ..Default::default() };
        let response: DescribeClusterResponse = self.request_on(&connection, &request, deadline).await?;
        Error::check(response.error_code, response.error_message)?;
        let controller = |node: DescribeClusterBroker| MetadataResponseBroker {
            node_id: node.broker_id,
            host: node.host,
            port: node.port,
            rack: node.rack,
            ..Default::default()
        };
        Ok(MetadataResponse {
            brokers: response.brokers.into_iter().map(controller).collect(),
            cluster_id: Some(response.cluster_id),
            controller_id: response.controller_id,
            ..Default::default()
        })
    }

    /// Forgets the known brokers, so that the bootstrap list is used again.
    fn rebootstrap(&self) {
        tracing::info!("starting again from the bootstrap list");
        self.state().slots.retain(|_, slot| matches!(slot, Slot::Connecting(_)));
        self.inner.metadata.send_modify(|current| {
            let next = MetadataCache { version: current.version + 1, ..MetadataCache::default() };
            *current = Arc::new(next);
        });
    }
}

/// A topic that may look different in a moment: not known yet, or without a leader somewhere.
fn is_unsettled(topic: &MetadataResponseTopic) -> bool {
    let may_change = |code: i16| is_metadata_error(ErrorCode::from_code(code));
    may_change(topic.error_code) || topic.partitions.iter().any(|partition| may_change(partition.error_code))
}

fn topic_by_name(name: &str) -> MetadataRequestTopic {
    MetadataRequestTopic { name: Some(name.to_owned()), ..Default::default() }
}

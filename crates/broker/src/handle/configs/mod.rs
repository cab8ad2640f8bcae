//! The requests about configs, and how dynamic broker configs take effect. What keys there are and what they may hold is crate `config`'s to know.
//! Kafka: `ConfigHelper`, `ConfigAdminManager`, `DynamicConfigPublisher`.

mod alter;
mod describe;
mod list_resources;
mod loggers;
#[cfg(test)]
mod tests;

pub(super) use alter::{alter, incremental_alter};
pub(super) use describe::describe;
pub(super) use list_resources::list_resources;
pub use loggers::Loggers;

use crate::Broker;
use config::{Layers, Props};
use metadata::{ConfigResource, Image};
use std::sync::Arc;

/// Lays the dynamic configs of `image` over server.properties and hands the result to everything that follows it.
pub(crate) fn apply_dynamic_broker_configs(broker: &Broker, image: &Image) {
    let layers = layers(broker, image);
    let stored = [(ConfigResource::default_broker(), &layers.cluster), (ConfigResource::broker(broker.id()), &layers.broker)];
    for (resource, used) in stored {
        for key in image.configs.get(&resource).keys().filter(|key| !used.contains_key(*key)) {
            tracing::warn!(key, broker = resource.name, "stored dynamic config cannot be used and is ignored");
        }
    }
    if layers.cluster.is_empty() && layers.broker.is_empty() && *broker.config() == **broker.static_config() {
        return;
    }
    match layers.config() {
        Ok(config) => broker.set_config(Arc::new(config)),
        Err(error) => tracing::error!(%error, "dynamic broker configs contradict each other; the ones before stay in effect"),
    }
}

/// server.properties under the dynamic configs, cluster-wide and of this broker.
fn layers(broker: &Broker, image: &Image) -> Layers {
    let cluster = stored(image, &ConfigResource::default_broker());
    let own = stored(image, &ConfigResource::broker(broker.id()));
    Layers::new(broker.static_props().clone()).with_dynamic(&cluster, &own)
}

fn stored(image: &Image, resource: &ConfigResource) -> Props {
    image.configs.get(resource).iter().map(|(key, value)| (key.clone(), value.clone())).collect()
}

//! What the schemas say of an API beyond its messages.

use crate::ApiKey;

pub(crate) struct ApiFacts {
    pub name: &'static str,
    pub min: i16,
    pub max: i16,
    pub flexible: i16,
    pub broker: bool,
    pub controller: bool,
    pub unstable: bool,
}

impl ApiKey {
    pub fn from_code(code: i16) -> Option<ApiKey> {
        // ALL is sorted by code.
        ApiKey::ALL.binary_search_by_key(&code, |k| k.code()).ok().map(|i| ApiKey::ALL[i])
    }

    pub const fn code(self) -> i16 {
        self as i16
    }

    /// Kafka's name, such as `ApiVersions`.
    pub const fn name(self) -> &'static str {
        self.facts().name
    }

    pub const fn min_version(self) -> i16 {
        self.facts().min
    }

    /// The newest version that is advertised; an unstable one is left out, as Kafka does.
    pub const fn max_version(self) -> i16 {
        let facts = self.facts();
        if facts.unstable { facts.max - 1 } else { facts.max }
    }

    pub const fn is_flexible(self, version: i16) -> bool {
        version >= self.facts().flexible
    }

    /// Served on listeners of brokers.
    pub const fn on_broker(self) -> bool {
        self.facts().broker
    }

    /// Served on listeners of controllers.
    pub const fn on_controller(self) -> bool {
        self.facts().controller
    }

    pub const fn request_header_version(self, version: i16) -> i16 {
        if self.is_flexible(version) { 2 } else { 1 }
    }

    /// ApiVersions always answers with header 0, so that a client of any version can read it (KIP-511).
    pub const fn response_header_version(self, version: i16) -> i16 {
        if self.is_flexible(version) && !matches!(self, ApiKey::ApiVersions) { 1 } else { 0 }
    }
}

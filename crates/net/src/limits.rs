//! How many connections may be open, in all and per client address. Kafka's `ConnectionQuotas`, without its rate limits.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::Notify;

/// Limits may be changed while the node runs; they apply to connections accepted from then on.
#[derive(Debug)]
pub struct Limits {
    max: AtomicU32,
    max_per_ip: AtomicU32,
    per_ip_overrides: Mutex<HashMap<IpAddr, u32>>,
    open: AtomicU32,
    per_ip: Mutex<HashMap<IpAddr, u32>>,
    freed: Notify,
}

impl Limits {
    /// `max.connections`, `max.connections.per.ip` and `max.connections.per.ip.overrides` (names already resolved).
    pub fn new(max: u32, max_per_ip: u32, per_ip_overrides: HashMap<IpAddr, u32>) -> Self {
        Self {
            max: max.into(),
            max_per_ip: max_per_ip.into(),
            per_ip_overrides: Mutex::new(per_ip_overrides),
            open: 0.into(),
            per_ip: Mutex::default(),
            freed: Notify::new(),
        }
    }

    pub fn set(&self, max: u32, max_per_ip: u32, per_ip_overrides: HashMap<IpAddr, u32>) {
        self.max.store(max, SeqCst);
        self.max_per_ip.store(max_per_ip, SeqCst);
        *lock(&self.per_ip_overrides) = per_ip_overrides;
        self.freed.notify_waiters();
    }

    /// Waits until one more connection may be accepted. As in Kafka, clients beyond `max.connections` wait in the backlog.
    pub(crate) async fn room(&self) {
        loop {
            let freed = self.freed.notified();
            if self.open.load(SeqCst) < self.max.load(SeqCst) {
                return;
            }
            freed.await;
        }
    }

    /// Counts a connection, or returns the limit of its address that it would exceed.
    pub(crate) fn admit(self: &Arc<Self>, ip: IpAddr) -> Result<Permit, u32> {
        let ip = ip.to_canonical();
        let limit = lock(&self.per_ip_overrides).get(&ip).copied().unwrap_or(self.max_per_ip.load(SeqCst));
        let mut per_ip = lock(&self.per_ip);
        let count = per_ip.get(&ip).copied().unwrap_or(0);
        if count >= limit {
            return Err(limit);
        }
        per_ip.insert(ip, count + 1);
        self.open.fetch_add(1, SeqCst);
        Ok(Permit { limits: self.clone(), ip })
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self::new(u32::MAX, u32::MAX, HashMap::new())
    }
}

/// One open connection; dropping it makes room for another.
#[derive(Debug)]
pub(crate) struct Permit {
    limits: Arc<Limits>,
    ip: IpAddr,
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut per_ip = lock(&self.limits.per_ip);
        if let Some(count) = per_ip.get_mut(&self.ip) {
            *count -= 1;
            if *count == 0 {
                per_ip.remove(&self.ip);
            }
        }
        drop(per_ip);
        self.limits.open.fetch_sub(1, SeqCst);
        self.limits.freed.notify_waiters();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_per_address_and_frees_on_drop() {
        let a: IpAddr = "10.0.0.1".parse().unwrap();
        let mapped: IpAddr = "::ffff:10.0.0.1".parse().unwrap();
        let b: IpAddr = "10.0.0.2".parse().unwrap();
        let limits = Arc::new(Limits::new(10, 2, HashMap::from([(b, 1)])));
        let first = limits.admit(a).unwrap();
        let _second = limits.admit(mapped).unwrap();
        assert_eq!(limits.admit(a).unwrap_err(), 2);
        let _other = limits.admit(b).unwrap();
        assert_eq!(limits.admit(b).unwrap_err(), 1);
        drop(first);
        assert!(limits.admit(a).is_ok());
    }
}

//! What must come of every schedule once it is calm: everybody in, every partition owned once; then everybody out, and nothing left.

use std::collections::BTreeMap;

use super::world::World;
use super::{Ms, Tp, topic_number};
use crate::group::Group;
use crate::shard::Shard;
use crate::timers::Timer;

/// Longer than any session, rebalance and freeze together.
const SETTLE_MS_MAX: Ms = 120_000;
/// Everything that has a timeout has had it.
const QUIET_MS: Ms = 40_000;

impl World {
    pub(super) fn settle(&mut self) -> Result<(), String> {
        self.log(|| "calm".to_owned());
        self.recover_log()?;
        self.plan.delay_max = 20;
        for client in &mut self.clients {
            client.frozen_until = client.frozen_until.min(self.at);
            client.cut_until = client.cut_until.min(self.at);
            // An application that is always slower than its own rebalance timeout never gets anywhere.
            client.common.callback_ms = client.common.callback_ms.min(500);
        }
        let calm = self.at;
        let mut touched = false;
        loop {
            self.run_until(self.at + 500)?;
            let unsettled = self.unsettled();
            if unsettled.is_some() && self.at > calm + QUIET_MS && !touched && self.all_in_unsettled_are_classic() {
                // Java's static leader that comes back takes the topics as they are by then for those it had assigned; what changed while it was
                // away is noticed with the next change only.
                touched = true;
                self.grow_topics()?;
            }
            if unsettled.is_none() {
                // It must also stay so.
                self.stats.settle_ms_max = self.at - calm;
                self.run_until(self.at + 5_000)?;
                if self.unsettled().is_none() {
                    break;
                }
            }
            if self.at > calm + SETTLE_MS_MAX {
                for (name, group) in &self.coordinator.shard.groups {
                    let line = format!("group {name}: {group:?}");
                    self.trace.push(line);
                }
                return Err(format!("does not settle: {}", unsettled.unwrap_or_else(|| "it does not stay settled".to_owned())));
            }
        }
        self.check_offsets()?;
        self.check_replayed()?;
        if self.ledger.acknowledged_count() as u64 > self.stats.commits_acknowledged {
            return Err("the ledger knows more than was answered".to_owned());
        }
        self.leave_nothing()
    }

    fn all_in_unsettled_are_classic(&self) -> bool {
        let mut unsettled = self.plan.groups.iter().filter(|group| self.unsettled_group(&group.name).is_some());
        unsettled.all(|group| matches!(self.coordinator.shard.groups.get(&group.name), Some(Group::Classic(_))))
    }

    /// What keeps a group from being settled.
    fn unsettled(&self) -> Option<String> {
        if !self.coordinator.up {
            return Some("the coordinator is down".to_owned());
        }
        self.plan.groups.iter().find_map(|group| self.unsettled_group(&group.name).map(|why| format!("group {}: {why}", group.name)))
    }

    fn unsettled_group(&self, name: &str) -> Option<String> {
        let living: Vec<usize> =
            (0..self.clients.len()).filter(|at| self.clients[*at].alive && self.clients[*at].common.group == name).collect();
        if living.is_empty() {
            return None;
        }
        let group = self.coordinator.shard.groups.get(name);
        let members = match group {
            None => return Some("it is not there".to_owned()),
            Some(Group::Classic(group)) if group.state().name() != "Stable" => return Some(format!("it is {}", group.state().name())),
            Some(Group::Consumer(group)) if group.state() != "Stable" => return Some(format!("it is {}", group.state())),
            Some(Group::Classic(group)) => group.describe().members.len(),
            Some(Group::Consumer(group)) => group.member_count(),
            Some(Group::Modern(_)) => return Some("it is of another type".to_owned()),
        };
        if members != living.len() {
            return Some(format!("{members} members, {} clients", living.len()));
        }
        let mut owners: BTreeMap<Tp, usize> = BTreeMap::new();
        for at in &living {
            let client = &self.clients[*at];
            if !client.member.is_stable() {
                return Some(format!("client {at} is not stable"));
            }
            let common = &client.common;
            let epochs = [client.member.epoch(); 2];
            if !self.coordinator.counts_as_owner(name, client.member.member_id(), common.instance.as_deref(), epochs) {
                return Some(format!("client {at} is not a member"));
            }
            for tp in &common.owned {
                if !common.subscription.contains(tp.0) || self.topics.get(&tp.0).is_none_or(|count| tp.1 >= *count) {
                    return Some(format!("client {at} owns {tp:?}, which it does not subscribe to, or which is not there"));
                }
                if let Some(other) = owners.insert(*tp, *at) {
                    return Some(format!("clients {at} and {other} both own {tp:?}"));
                }
            }
            if let Some(Group::Consumer(group)) = group
                && let Some(member) = group.member(client.member.member_id())
            {
                let assigned = member.assigned.iter().flat_map(|(id, partitions)| partitions.keys().map(|p| (topic_number(*id), *p)));
                if !assigned.eq(common.owned.iter().copied()) {
                    return Some(format!("client {at} owns {:?}, and is assigned {:?}", common.owned, member.assigned));
                }
            }
        }
        for (number, count) in &self.topics {
            let subscribed = living.iter().any(|at| self.clients[*at].common.subscription.contains(*number));
            if let Some(partition) = (0..*count).find(|partition| subscribed && !owners.contains_key(&(*number, *partition))) {
                return Some(format!("nobody owns {:?}", (number, partition)));
            }
        }
        None
    }

    /// A shard that reads the log knows what the live one does.
    fn check_replayed(&self) -> Result<(), String> {
        let replayed = self.coordinator.replayed();
        let live = &self.coordinator.shard;
        if replayed.offsets != live.offsets {
            return Err("a replayed shard has other offsets".to_owned());
        }
        let names = |shard: &Shard| shard.groups.keys().cloned().collect::<Vec<_>>();
        if names(&replayed) != names(live) {
            return Err(format!("a replayed shard has the groups {:?}, the live one {:?}", names(&replayed), names(live)));
        }
        for (name, group) in &live.groups {
            let lived_in = self.clients.iter().any(|client| client.alive && client.common.group == *name);
            let same = match (group, &replayed.groups[name]) {
                // Those who left a classic group are only in the log after the next rebalance, which may have failed to be written.
                (Group::Classic(live), Group::Classic(replayed)) => !lived_in || live.stored_now() == replayed.stored_now(),
                (Group::Consumer(live), Group::Consumer(replayed)) => {
                    // When it last looked at the topics is not stored.
                    let (mut live, mut replayed) = (live.clone(), replayed.clone());
                    live.request_refresh();
                    replayed.request_refresh();
                    live == replayed
                }
                _ => false,
            };
            if !same {
                return Err(format!("group {name} is {group:?}, but replayed {:?}", replayed.groups[name]));
            }
        }
        Ok(())
    }

    /// Everybody goes, in one way or another; then nothing of them is left, and the groups can be deleted.
    fn leave_nothing(&mut self) -> Result<(), String> {
        for client in 0..self.clients.len() {
            if self.clients[client].alive {
                if self.rng.bool() {
                    let forever = self.rng.bool();
                    self.step(client, |member, common, _, actions| member.close(common, forever, actions))?;
                }
                self.kill(client);
            }
        }
        self.run_until(self.at + 60_000)?;
        if self.coordinator.unanswered() > 0 {
            return Err(format!("{} requests were never answered", self.coordinator.unanswered()));
        }
        let shard = &self.coordinator.shard;
        if let Some((name, group)) = shard.groups.iter().find(|(_, group)| !group.is_empty()) {
            return Err(format!("everybody has left, but group {name} is {group:?}"));
        }
        if let Some(timer) = shard.timers().names().find(|timer| **timer != Timer::Expiration) {
            return Err(format!("everybody has left, but {timer:?} is left"));
        }
        let groups: Vec<String> = shard.groups.keys().cloned().collect();
        let errors = self.coordinator.delete(self.at, &groups)?;
        if let Some(error) = errors.iter().find(|error| **error != wire::ErrorCode::None) {
            return Err(format!("an empty group cannot be deleted: {error:?}"));
        }
        self.ledger.groups_deleted();
        let shard = &self.coordinator.shard;
        if shard.group_count() > 0 || shard.offset_count() > 0 {
            return Err(format!("{} groups and {} offsets are left of the deleted", shard.group_count(), shard.offset_count()));
        }
        Ok(())
    }
}

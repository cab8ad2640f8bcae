//! Owns: the uniform assignor for members with different subscriptions: what is no longer subscribed to is taken away, what is free goes to the
//! least loaded subscribers, and then topic after topic moves partitions from the most to the least loaded of its subscribers. Perfectly
//! balanced where the subscribers of a topic subscribe to the same; nearly so where subscriptions overlap.
//! Kafka: UniformHeterogeneousAssignmentBuilder.

use std::collections::BTreeSet;

use base::Uuid;

use super::owners::Owners;
use super::{AssignorError, GroupSpec, Partitions};

/// Overlapping subscriptions may take long to converge; each round is taken to halve what is left.
const ROUNDS_MAX: usize = 16;

struct State {
    owners: Owners,
    /// By topic, in the order of the members.
    subscribers: Vec<Vec<usize>>,
    /// The number of partitions of each member.
    sizes: Vec<usize>,
    /// Room for the partitions that each subscriber of a topic has of it.
    held: Vec<Vec<usize>>,
}

pub(super) fn assign(spec: &GroupSpec<'_>) -> Result<Vec<Partitions>, AssignorError> {
    let subscribed: BTreeSet<Uuid> = spec.members.iter().flat_map(|member| member.topics).copied().collect();
    let mut owners = Owners::new(spec, &subscribed)?;
    let mut subscribers = vec![Vec::new(); owners.topics.len()];
    let mut sizes = vec![0; spec.members.len()];
    for (member, of) in spec.members.iter().enumerate() {
        sizes[member] = owners.enter(member, of.assigned, of.topics);
        for topic in of.topics.iter().filter_map(|id| owners.topic(*id)) {
            subscribers[topic].push(member);
        }
    }

    let held = vec![Vec::new(); sizes.len()];
    let mut state = State { owners, subscribers, sizes, held };
    let order = state.order();
    state.assign_free(&order);
    state.balance(&order);
    Ok(state.owners.into_assignments(spec.members.len()))
}

impl State {
    /// The topics in the order in which they are dealt with: those with most partitions per subscriber first, as these decide most of the load.
    fn order(&self) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.subscribers.len()).collect();
        order.sort_by(|&a, &b| {
            let (partitions_a, partitions_b) = (self.owners.partitions(a), self.owners.partitions(b));
            let (subscribers_a, subscribers_b) = (self.subscribers[a].len(), self.subscribers[b].len());
            // partitions / subscribers, descending, without dividing.
            (partitions_b as u64 * subscribers_a as u64)
                .cmp(&(partitions_a as u64 * subscribers_b as u64))
                .then(subscribers_a.cmp(&subscribers_b))
                .then_with(|| java_order(self.owners.topics[a].id).cmp(&java_order(self.owners.topics[b].id)))
        });
        order
    }

    fn assign_free(&mut self, order: &[usize]) {
        for &topic in order {
            let free: Vec<usize> = self.owners.unassigned(topic).collect();
            if free.is_empty() {
                continue;
            }
            let Some(mut balancer) = Balancer::new(&self.subscribers[topic], &self.sizes) else { continue };
            for partition in free {
                let member = balancer.next_least_loaded(&self.sizes);
                self.give(topic, partition, member);
            }
        }
    }

    /// Goes through the topics until a whole round has moved nothing.
    fn balance(&mut self, order: &[usize]) {
        let order: Vec<usize> = order.iter().copied().filter(|topic| self.subscribers[*topic].len() >= 2).collect();
        let mut last_moved = None;
        for _ in 0..ROUNDS_MAX {
            for &topic in &order {
                if last_moved == Some(topic) {
                    return;
                }
                if self.balance_topic(topic) || last_moved.is_none() {
                    last_moved = Some(topic);
                }
            }
        }
    }

    /// Moves partitions of a topic from its most to its least loaded subscribers until no move makes it better; whether any was moved.
    fn balance_topic(&mut self, topic: usize) -> bool {
        let Some(mut balancer) = Balancer::new(&self.subscribers[topic], &self.sizes) else { return false };
        if balancer.imbalance(&self.sizes) <= 1 {
            return false;
        }
        // What each subscriber can give, its last partition first.
        for member in &self.subscribers[topic] {
            self.held[*member].clear();
        }
        for partition in 0..self.owners.partitions(topic) {
            if let Some(owner) = self.owners.owner(topic, partition) {
                self.held[owner].push(partition);
            }
        }
        let mut moved = false;
        while let Some(from) = balancer.next_most_loaded(&self.sizes) {
            let Some(partition) = self.held[from].pop() else {
                balancer.exclude_most_loaded();
                continue;
            };
            let to = balancer.next_least_loaded(&self.sizes);
            if balancer.is_balanced() {
                break;
            }
            self.give(topic, partition, to);
            moved = true;
        }
        moved
    }

    fn give(&mut self, topic: usize, partition: usize, member: usize) {
        if let Some(old) = self.owners.owner(topic, partition) {
            self.sizes[old] -= 1;
        }
        self.owners.set(topic, partition, Some(member));
        self.sizes[member] += 1;
    }
}

/// Java compares the halves of a uuid as signed numbers.
fn java_order(id: Uuid) -> (i64, i64) {
    (id.most_significant_bits(), id.least_significant_bits())
}

/// Deals partitions out to the least loaded, and takes them from the most loaded, of some members. It keeps two ranges of the members sorted by
/// load: the lower one is filled to a level that rises by one whenever all in it have got one more, and then takes in those who are at that
/// level; the upper one sinks in the same way. When the two levels differ by no more than one, nothing is left to be gained.
struct Balancer {
    sorted: Vec<usize>,
    /// The range `..least_end`, each of which had `least_level` partitions before this pass over it.
    least_end: usize,
    least_level: i64,
    least_next: usize,
    /// The range `most_start..most_end`. Behind it are the members that have nothing to give.
    most_start: usize,
    most_end: usize,
    most_level: i64,
    /// One behind the next to be taken from.
    most_next: usize,
}

impl Balancer {
    /// None without members.
    fn new(members: &[usize], sizes: &[usize]) -> Option<Self> {
        let mut sorted = members.to_vec();
        sorted.sort_by_key(|member| (sizes[*member], *member));
        let (least, most) = (sizes[*sorted.first()?] as i64, sizes[*sorted.last()?] as i64);
        let end = sorted.len();
        Some(Balancer {
            sorted,
            least_end: 0,
            least_level: least - 1,
            least_next: 0,
            most_start: end,
            most_end: end,
            most_level: most + 1,
            most_next: end,
        })
    }

    /// The difference between the most and the least loaded, before anything was dealt out.
    fn imbalance(&self, sizes: &[usize]) -> usize {
        let size = |member: Option<&usize>| member.map_or(0, |member| sizes[*member]);
        size(self.sorted.last()) - size(self.sorted.first())
    }

    /// Who gets the next partition; the caller gives it one.
    fn next_least_loaded(&mut self, sizes: &[usize]) -> usize {
        if self.least_next >= self.least_end {
            self.least_level += 1;
            while self.sorted.get(self.least_end).is_some_and(|member| sizes[*member] as i64 == self.least_level) {
                self.least_end += 1;
            }
            self.least_next = 0;
        }
        let member = self.sorted[self.least_next];
        self.least_next += 1;
        member
    }

    /// Who gives the next partition; the caller takes one from it, or excludes it.
    fn next_most_loaded(&mut self, sizes: &[usize]) -> Option<usize> {
        if self.most_next <= self.most_start {
            if self.most_end <= self.most_start && self.most_start > 0 {
                // All of the range were excluded: it goes on with the next member, whatever its load.
                self.most_level = sizes[self.sorted[self.most_start - 1]] as i64;
            } else {
                self.most_level -= 1;
            }
            while self.most_start > 0 && sizes[self.sorted[self.most_start - 1]] as i64 == self.most_level {
                self.most_start -= 1;
            }
            self.most_next = self.most_end;
        }
        self.most_next = self.most_next.checked_sub(1)?;
        Some(self.sorted[self.most_next])
    }

    /// Puts the member that `next_most_loaded` gave behind the range.
    fn exclude_most_loaded(&mut self) {
        self.most_end -= 1;
        self.sorted.swap(self.most_next, self.most_end);
    }

    fn is_balanced(&self) -> bool {
        self.most_level - self.least_level <= 1
    }
}

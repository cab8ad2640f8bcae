//! Properties that hold for every input, over random groups from seeds; what Kafka answers exactly is in `recorded_tests`.

use std::collections::{BTreeMap, BTreeSet};

use base::Uuid;

use super::{Assignor, AssignorError, GroupSpec, MemberSpec, Partitions};

#[derive(Clone, Debug, Default)]
pub(super) struct Member {
    pub(super) id: String,
    pub(super) instance: Option<String>,
    pub(super) topics: BTreeSet<Uuid>,
    pub(super) assigned: Partitions,
}

/// A group whose members live in the test.
#[derive(Clone, Debug, Default)]
pub(super) struct Group {
    pub(super) members: Vec<Member>,
    pub(super) counts: BTreeMap<Uuid, i32>,
}

impl Group {
    pub(super) fn spec(&self, homogeneous: bool) -> GroupSpec<'_> {
        let members = self.members.iter().map(|member| MemberSpec {
            member_id: &member.id,
            instance_id: member.instance.as_deref(),
            topics: &member.topics,
            assigned: &member.assigned,
        });
        GroupSpec { members: members.collect(), partition_counts: &self.counts, homogeneous }
    }

    fn is_homogeneous(&self) -> bool {
        self.members.windows(2).all(|pair| pair[0].topics == pair[1].topics)
    }

    /// Assigns, checks what must hold always, and takes the answer over.
    fn step(&mut self, assignor: Assignor, homogeneous: bool) {
        let answer = assignor.assign(&self.spec(homogeneous)).unwrap();
        assert_eq!(answer.len(), self.members.len());
        for (member, assigned) in self.members.iter_mut().zip(answer) {
            member.assigned = assigned;
        }
        self.check_complete();
    }

    fn add(&mut self, id: String, topics: BTreeSet<Uuid>) {
        self.members.push(Member { id, topics, ..Member::default() });
        self.members.sort_by(|a, b| a.id.cmp(&b.id));
    }

    fn owners(&self) -> BTreeMap<(Uuid, i32), String> {
        let mut owners = BTreeMap::new();
        for member in &self.members {
            for (topic, partitions) in &member.assigned {
                assert!(!partitions.is_empty(), "an empty topic is left out");
                for partition in partitions {
                    assert_eq!(owners.insert((*topic, *partition), member.id.clone()), None, "two owners");
                }
            }
        }
        owners
    }

    /// Every partition of a subscribed topic has one owner, who subscribes to it, and no other partition has any.
    fn check_complete(&self) {
        let subscribed: BTreeSet<Uuid> = self.members.iter().flat_map(|member| member.topics.clone()).collect();
        let all: usize = subscribed.iter().map(|topic| self.counts[topic] as usize).sum();
        let owners = self.owners();
        assert_eq!(owners.len(), all);
        for ((topic, partition), owner) in owners {
            assert!((0..self.counts[&topic]).contains(&partition));
            assert!(self.members.iter().any(|member| member.id == owner && member.topics.contains(&topic)));
        }
    }

    fn sizes(&self) -> Vec<usize> {
        self.members.iter().map(|member| member.assigned.values().map(BTreeSet::len).sum()).collect()
    }

    fn spread(&self) -> usize {
        let sizes = self.sizes();
        sizes.iter().max().unwrap_or(&0) - sizes.iter().min().unwrap_or(&0)
    }
}

fn topic(number: u32) -> Uuid {
    Uuid::from_u128(u128::from(number) + 1)
}

fn group(rng: &mut fastrand::Rng, members: usize, topics: u32, homogeneous: bool) -> Group {
    let mut group = Group { counts: (0..topics).map(|at| (topic(at), rng.i32(0..9))).collect(), ..Group::default() };
    for at in 0..members {
        let topics = (0..topics).map(topic).filter(|_| homogeneous || rng.bool()).collect();
        group.add(format!("member-{at:03}"), topics);
    }
    group
}

#[test]
fn uniform_shares_differ_by_one_at_most() {
    for seed in 0..300 {
        let rng = &mut fastrand::Rng::with_seed(seed);
        let (members, topics) = (rng.usize(1..20), rng.u32(1..8));
        for homogeneous in [true, false] {
            let mut group = group(rng, members, topics, true);
            group.step(Assignor::Uniform, homogeneous);
            assert!(group.spread() <= 1, "seed {seed}: {group:?}");
        }
    }
}

#[test]
fn what_is_balanced_is_left_alone() {
    for seed in 0..300 {
        let rng = &mut fastrand::Rng::with_seed(seed);
        let homogeneous = rng.bool();
        let (members, topics) = (rng.usize(1..12), rng.u32(1..6));
        let mut group = group(rng, members, topics, homogeneous);
        group.step(Assignor::Uniform, homogeneous);
        // Overlapping subscriptions may need a few more rounds than one call makes.
        (0..5).for_each(|_| group.step(Assignor::Uniform, homogeneous));
        let before = group.owners();
        group.step(Assignor::Uniform, homogeneous);
        assert_eq!(group.owners(), before, "seed {seed}");
    }
}

/// Members come and go, topics grow and vanish: after each change no more partitions have moved than the balance asks for.
#[test]
fn uniform_moves_no_more_than_it_must() {
    for seed in 0..200 {
        let rng = &mut fastrand::Rng::with_seed(seed);
        let (members, topics) = (rng.usize(2..12), rng.u32(1..6));
        let mut group = group(rng, members, topics, true);
        group.step(Assignor::Uniform, true);
        for round in 0..20 {
            let before = group.owners();
            let sizes_before: BTreeMap<String, usize> = group.members.iter().map(|member| member.id.clone()).zip(group.sizes()).collect();
            match rng.u8(0..4) {
                0 if group.members.len() > 1 => {
                    group.members.remove(rng.usize(0..group.members.len()));
                }
                1 => *group.counts.get_mut(&topic(rng.u32(0..topics))).unwrap() += rng.i32(1..4),
                _ => group.add(format!("joined-{round:03}"), (0..topics).map(topic).collect()),
            }
            group.step(Assignor::Uniform, true);
            assert!(group.spread() <= 1);

            let all: usize = group.sizes().iter().sum();
            let share_max = all.div_ceil(group.members.len());
            let share_min = all / group.members.len();
            let after = group.owners();
            let alive: BTreeSet<&String> = group.members.iter().map(|member| &member.id).collect();
            let moved = before.iter().filter(|(at, owner)| alive.contains(owner) && after.get(at) != Some(owner)).count();
            // Somebody alive loses a partition only to come down to its share, or to bring one up that lacks.
            let excess: usize = alive.iter().map(|id| sizes_before.get(*id).copied().unwrap_or(0).saturating_sub(share_min)).sum();
            assert!(moved <= excess, "seed {seed} round {round}: {moved} moved, {excess} in excess");
            for id in alive {
                let lost = before.iter().filter(|(at, owner)| *owner == id && after.get(at) != Some(owner)).count();
                let had = sizes_before.get(id).copied().unwrap_or(0);
                assert!(lost <= had.saturating_sub(share_min), "seed {seed}: {id} lost {lost} of {had}, share {share_min}..={share_max}");
            }
        }
    }
}

#[test]
fn mixed_subscriptions_follow_every_change() {
    for seed in 0..300 {
        let rng = &mut fastrand::Rng::with_seed(seed);
        let topics = rng.u32(1..8);
        let members = rng.usize(1..10);
        let mut group = group(rng, members, topics, false);
        for round in 0..12 {
            match rng.u8(0..5) {
                0 if group.members.len() > 1 => {
                    group.members.remove(rng.usize(0..group.members.len()));
                }
                1 => *group.counts.get_mut(&topic(rng.u32(0..topics))).unwrap() += rng.i32(1..4),
                2 => group.add(format!("joined-{round:03}"), (0..topics).map(topic).filter(|_| rng.bool()).collect()),
                3 => {
                    let at = rng.usize(0..group.members.len());
                    group.members[at].topics = (0..topics).map(topic).filter(|_| rng.bool()).collect();
                }
                _ => {}
            }
            let homogeneous = group.is_homogeneous();
            group.step(Assignor::Uniform, homogeneous);
            let mut ranges = group.clone();
            ranges.step(Assignor::Range, homogeneous);
        }
    }
}

#[test]
fn range_gives_one_contiguous_range_and_equal_topics_go_together() {
    for seed in 0..300 {
        let rng = &mut fastrand::Rng::with_seed(seed);
        let (members, topics) = (rng.usize(1..12), rng.u32(2..5));
        let mut group = group(rng, members, topics, true);
        let count = rng.i32(1..20);
        group.counts.values_mut().for_each(|partitions| *partitions = count);
        group.step(Assignor::Range, true);
        for member in &group.members {
            let mut ranges = member.assigned.values().map(|set| set.iter().copied().collect::<Vec<i32>>());
            let Some(first) = ranges.next() else { continue };
            assert_eq!(first.last().unwrap() - first[0] + 1, first.len() as i32, "contiguous");
            assert!(ranges.all(|range| range == first), "co-partitioned");
        }
    }
}

#[test]
fn range_serves_static_members_first_by_their_instance_ids() {
    let topics = BTreeSet::from([topic(0)]);
    let mut group = Group { counts: BTreeMap::from([(topic(0), 7)]), ..Group::default() };
    for (id, instance) in [("a", None), ("b", Some("z")), ("c", Some("y")), ("d", None)] {
        group.add(id.into(), topics.clone());
        group.members.last_mut().unwrap().instance = instance.map(str::to_string);
    }
    group.step(Assignor::Range, true);
    let of = |at: usize| group.members[at].assigned[&topic(0)].iter().copied().collect::<Vec<i32>>();
    assert_eq!((of(2), of(1), of(0), of(3)), (vec![0, 1], vec![2, 3], vec![4, 5], vec![6]));
}

#[test]
fn strings_compare_as_in_java() {
    let topics = BTreeSet::from([topic(0)]);
    let mut group = Group { counts: BTreeMap::from([(topic(0), 2)]), ..Group::default() };
    // A surrogate pair sorts before U+FF5E in UTF-16, behind it in UTF-8.
    group.add("\u{ff5e}".into(), topics.clone());
    group.add("\u{1f600}".into(), topics);
    group.step(Assignor::Range, true);
    assert_eq!(group.members[1].assigned[&topic(0)], BTreeSet::from([0]));
}

#[test]
fn partitions_that_two_members_have_or_that_are_gone_go_to_one_or_nobody() {
    for homogeneous in [true, false] {
        let mut group = group(&mut fastrand::Rng::with_seed(1), 3, 2, true);
        group.counts = BTreeMap::from([(topic(0), 3), (topic(1), 2)]);
        for member in &mut group.members {
            member.assigned = BTreeMap::from([(topic(0), BTreeSet::from([-1, 1, 9])), (topic(7), BTreeSet::from([0]))]);
        }
        group.step(Assignor::Uniform, homogeneous);
        assert!(group.spread() <= 1);
    }
}

#[test]
fn a_group_that_is_said_to_be_alike_and_is_not_gets_its_partitions() {
    let mut group = Group { counts: BTreeMap::from([(topic(0), 4)]), ..Group::default() };
    group.add("a".into(), BTreeSet::new());
    group.add("b".into(), BTreeSet::from([topic(0)]));
    group.step(Assignor::Uniform, true);
    assert_eq!(group.sizes(), [0, 4]);
}

#[test]
fn a_topic_without_metadata_is_an_error() {
    let mut group = group(&mut fastrand::Rng::with_seed(1), 2, 2, true);
    group.counts.remove(&topic(1));
    for homogeneous in [true, false] {
        let answer = Assignor::Uniform.assign(&group.spec(homogeneous));
        assert_eq!(answer, Err(AssignorError::UnknownTopic(topic(1))));
        assert_eq!(
            answer.unwrap_err().to_string(),
            "Members are subscribed to topic AAAAAAAAAAAAAAAAAAAAAg which doesn't exist in the topic metadata."
        );
        assert_eq!(Assignor::Range.assign(&group.spec(homogeneous)), Err(AssignorError::NonExistentTopic));
    }
}

#[test]
fn nobody_gets_nothing_and_names_are_known() {
    let group = Group::default();
    for assignor in [Assignor::Uniform, Assignor::Range] {
        assert_eq!(assignor.assign(&group.spec(true)), Ok(Vec::new()));
        assert_eq!(Assignor::from_name(assignor.name()), Some(assignor));
    }
    assert_eq!(Assignor::from_name("Uniform"), None);
}

//! The hash of the topics that a group subscribes to, as it is stored with the group (KIP-1101). When it changes, the group gets a new
//! assignment; so it must come out exactly as in Kafka, or every change of coordinator between the two would cost a rebalance.
//! XXH3 (64 bits) over little-endian integers, and strings as UTF-16 followed by their length. Kafka: `Utils.computeGroupHash`.

use base::Uuid;
use xxhash_rust::xxh3::Xxh3;

/// Names the way the hash is computed.
const TOPIC_HASH_MAGIC: u8 = 0;

/// `racks` holds, for each partition in order, the racks of its replicas in any order. Topics that do not exist have the hash 0.
pub fn topic_hash<'a, R>(topic_id: Uuid, name: &str, racks: impl ExactSizeIterator<Item = R>) -> i64
where
    R: IntoIterator<Item = &'a str>,
{
    let mut hash = Xxh3::new();
    hash.update(&[TOPIC_HASH_MAGIC]);
    hash.update(&topic_id.most_significant_bits().to_le_bytes());
    hash.update(&topic_id.least_significant_bits().to_le_bytes());
    put_string(&mut hash, &utf16(name));
    hash.update(&(racks.len() as i32).to_le_bytes());
    for (partition, racks) in (0i32..).zip(racks) {
        hash.update(&partition.to_le_bytes());
        // Java compares strings by UTF-16 units.
        let mut racks: Vec<Vec<u16>> = racks.into_iter().map(utf16).collect();
        racks.sort();
        for rack in &racks {
            hash.update(&(rack.len() as i32).to_le_bytes());
            put_string(&mut hash, rack);
        }
    }
    hash.digest() as i64
}

/// The hash of a group over the hashes of its topics; 0 without topics.
pub fn group_hash<'a>(topics: impl IntoIterator<Item = (&'a str, i64)>) -> i64 {
    let mut topics: Vec<(&str, i64)> = topics.into_iter().collect();
    if topics.is_empty() {
        return 0;
    }
    // Topic names are ASCII, so byte order is Java's order.
    topics.sort();
    let mut hash = Xxh3::new();
    for (_, topic) in topics {
        hash.update(&topic.to_le_bytes());
    }
    hash.digest() as i64
}

fn utf16(text: &str) -> Vec<u16> {
    text.encode_utf16().collect()
}

fn put_string(hash: &mut Xxh3, units: &[u16]) {
    for unit in units {
        hash.update(&unit.to_le_bytes());
    }
    hash.update(&(units.len() as i32).to_le_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id() -> Uuid {
        "jnogpiI8SjuXFLp4Aq6Png".parse().unwrap()
    }

    #[test]
    fn a_group_stored_by_kafka() {
        // The consumer group of testdata/consumer_offsets-7.log: one topic of one partition on a broker without a rack.
        let topic = topic_hash(id(), "t1", [None::<&str>].into_iter());
        assert_eq!(topic, -429821511332851625);
        assert_eq!(group_hash([("t1", topic)]), -3107016774606067502);
        assert_eq!(group_hash([]), 0);
    }

    #[test]
    fn racks_and_names_beyond_ascii() {
        // From hash4j, which Kafka uses.
        let racks = [vec!["rack-😀", "a"], vec!["b"]];
        let topic = topic_hash(id(), "Übersee", racks.into_iter());
        assert_eq!(topic, -9103706514886513450);
        assert_eq!(group_hash([("c", 0), ("b", topic), ("a", -429821511332851625)]), 1374824032421380711);
    }
}

//! Owns: the order in which Java's HashMap hands out its keys. Kafka's tools print maps in that order, sometimes within one line
//! (the configs of a topic), so equal output needs it. Stable and free of randomness. Also the names of Java's exceptions, which some
//! tools print.

use wire::ErrorCode;

/// `String.hashCode`.
pub fn string_hash(text: &str) -> i32 {
    text.encode_utf16().fold(0i32, |hash, unit| hash.wrapping_mul(31).wrapping_add(i32::from(unit)))
}

/// `TopicPartition.hashCode`.
pub fn partition_hash(topic: &str, partition: i32) -> i32 {
    31i32.wrapping_add(partition).wrapping_mul(31).wrapping_add(string_hash(topic))
}

/// Orders items, given in the order they are put, as a HashMap made with `new HashMap<>(capacity)` iterates; 16 is the default.
pub fn hash_map_order<T>(mut items: Vec<T>, capacity: usize, hash: impl Fn(&T) -> i32) -> Vec<T> {
    let mut size = capacity.max(1).next_power_of_two();
    while items.len() * 4 > size * 3 {
        size *= 2;
    }
    items.sort_by_key(|item| {
        let hash = hash(item) as u32;
        (hash ^ (hash >> 16)) as usize & (size - 1)
    });
    items
}

/// `Uuid.fromString` with its words for what is wrong.
pub fn uuid(text: &str) -> Result<base::Uuid, String> {
    if let Some(start) = text.get(..24).filter(|start| start.len() < text.len()) {
        return Err(format!("Input string with prefix `{start}` is too long to be decoded as a base64 UUID"));
    }
    let unpadded = text.trim_end_matches('=');
    let is_known = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    if let Some(byte) = unpadded.bytes().find(|byte| !is_known(byte)) {
        return Err(format!("Illegal base64 character {byte:x}"));
    }
    let size = unpadded.len() * 6 / 8;
    if unpadded.len() % 4 == 1 {
        return Err(if unpadded.len() == 1 {
            "Input byte[] should at least have 2 bytes for base64 bytes"
        } else {
            "Last unit does not have enough valid bits"
        }
        .to_owned());
    }
    let wrong =
        || format!("Input string `{text}` decoded as {size} bytes, which is not equal to the expected 16 bytes of a base64-encoded UUID");
    if size == 16 { text.parse().map_err(|_| wrong()) } else { Err(wrong()) }
}

/// The class of the exception that Java's clients throw for an error, as `toString` prints it.
pub fn exception_class(error: &client::Error) -> String {
    let name = match error {
        client::Error::Broker { code, .. } => match code {
            ErrorCode::UnknownServerError => "UnknownServerException".to_owned(),
            ErrorCode::CorruptMessage => "CorruptRecordException".to_owned(),
            ErrorCode::RequestTimedOut => "TimeoutException".to_owned(),
            ErrorCode::MessageTooLarge => "RecordTooLargeException".to_owned(),
            ErrorCode::TopicAlreadyExists => "TopicExistsException".to_owned(),
            ErrorCode::InvalidConfig => "InvalidConfigurationException".to_owned(),
            ErrorCode::NonEmptyGroup => "GroupNotEmptyException".to_owned(),
            code => {
                let name = format!("{code:?}");
                let name = name.strip_suffix("Exception").unwrap_or(&name);
                format!("{}Exception", name.strip_suffix("AuthorizationFailed").map_or(name.to_owned(), |n| format!("{n}Authorization")))
            }
        },
        error => error.java_exception().to_owned(),
    };
    format!("org.apache.kafka.common.errors.{name}")
}

/// `Throwable.toString`, which is also the message of the ExecutionException around it.
pub fn exception_text(error: &client::Error) -> String {
    format!("{}: {error}", exception_class(error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_as_java() {
        assert_eq!(string_hash("hello"), 99_162_322);
        assert_eq!(string_hash("retention.ms"), "retention.ms".bytes().fold(0i32, |h, b| h.wrapping_mul(31).wrapping_add(b.into())));
        assert_eq!(partition_hash("t", 2), (31 + 2) * 31 + 116);
    }

    #[test]
    fn order_is_by_bucket() {
        // What Java prints for a HashMap with these keys.
        let names = vec!["retention.ms", "cleanup.policy", "segment.bytes", "min.insync.replicas"];
        let bucket = |name: &&str| {
            let h = string_hash(name) as u32;
            (h ^ (h >> 16)) & 15
        };
        let order = hash_map_order(names.clone(), 16, |name| string_hash(name));
        assert!(order.windows(2).all(|pair| bucket(&pair[0]) <= bucket(&pair[1])));
        assert_eq!(order.len(), names.len());
    }
}

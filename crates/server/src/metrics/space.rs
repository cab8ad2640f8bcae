//! Room in the log directories: what is kept back, how soon it is reached, and what producers have felt of it.

use super::page::{Kind, Label, Page};
use replica::{Level, RoomFacts};
use std::time::Duration;

pub fn write(page: &mut Page, rooms: &[RoomFacts]) {
    let mut each = |kind: Kind, name: &str, help: &str, value: &dyn Fn(&RoomFacts) -> Option<f64>| {
        let mut family = page.family(kind, name, help);
        for room in rooms {
            if let Some(value) = value(room) {
                family.sample(&[("directory", Label::Text(&room.dir.to_string_lossy()))], value);
            }
        }
    };
    let level = |room: &RoomFacts| match room.level {
        Level::Enough => 0.0,
        Level::Short => 1.0,
        Level::Full => 2.0,
    };
    let help = "0 enough, 1 producers are slowed down, 2 records of clients are refused";
    each(Kind::Gauge, "gregor_log_directory_space_state", help, &|room| Some(level(room)));
    let help = "Free space that clients do not get";
    each(Kind::Gauge, "gregor_log_directory_reserve_bytes", help, &|room| Some(room.reserve as f64));
    let help = "By how much a second free space becomes less; negative while it becomes more";
    each(Kind::Gauge, "gregor_log_directory_growth_bytes_per_second", help, &|room| Some(room.growth));
    let help = "Until only the reserve is left, if it goes on like this; absent while the disk does not fill up";
    each(Kind::Gauge, "gregor_log_directory_seconds_to_reserve", help, &|room| room.time_to_reserve.map(|time| time.as_secs_f64()));
    let help = "Batches refused for lack of space";
    each(Kind::Counter, "gregor_log_directory_refused_batches", help, &|room| Some(room.refused as f64));
    let help = "By how long answers to producers were held back, all together";
    each(Kind::Counter, "gregor_log_directory_slowed_seconds", help, &|room| Some(Duration::as_secs_f64(&room.slowed)));
}

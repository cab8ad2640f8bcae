//! Owns: reading dates and durations as Kafka's tools take them, and printing times (`yyyy-MM-dd HH:mm:ss:SSS`, UTC).

/// Milliseconds since the epoch, now.
pub fn wall_ms() -> i64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_millis() as i64)
}

/// Days since 1970-01-01 of a date of the Gregorian calendar.
fn days_from_date(year: i64, month: i64, day: i64) -> i64 {
    let shifted = if month <= 2 { year - 1 } else { year };
    let era = shifted.div_euclid(400);
    let year_of_era = shifted.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

fn date_from_days(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_index = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_index + 2) / 5 + 1;
    let month = if month_index < 10 { month_index + 3 } else { month_index - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

/// The first letter that SimpleDateFormat does not know.
pub fn unknown_letter(pattern: &str) -> Option<char> {
    let mut quoted = false;
    pattern.chars().find(|letter| {
        quoted ^= *letter == '\'';
        !quoted && letter.is_ascii_alphabetic() && !"GyYMLwWDdFEuaHkKhmsSzZX".contains(*letter)
    })
}

/// The numeric letters of Java's SimpleDateFormat; anything else stays as it is, text in quotes loses them.
pub fn format_pattern(ms: i64, pattern: &str) -> String {
    let (days, of_day) = (ms.div_euclid(86_400_000), ms.rem_euclid(86_400_000));
    let (year, month, day) = date_from_days(days);
    let hour = of_day / 3_600_000;
    let mut text = String::new();
    let mut rest = pattern.chars().peekable();
    while let Some(letter) = rest.next() {
        if letter == '\'' {
            text.extend(rest.by_ref().take_while(|c| *c != '\''));
            continue;
        }
        let mut width = 1;
        while rest.next_if_eq(&letter).is_some() {
            width += 1;
        }
        let number = match letter {
            'y' if width == 2 => year % 100,
            'y' => year,
            'M' => month,
            'd' => day,
            'H' => hour,
            'h' => (hour + 11) % 12 + 1,
            'm' => of_day / 60_000 % 60,
            's' => of_day / 1000 % 60,
            'S' => of_day % 1000,
            'a' => {
                text.push_str(if hour < 12 { "AM" } else { "PM" });
                continue;
            }
            other => {
                text.extend(std::iter::repeat_n(other, width));
                continue;
            }
        };
        text.push_str(&format!("{number:0width$}"));
    }
    text
}

/// `2026-11-21T02:10:00.123`, with `Z` or an offset behind it if it is not UTC; milliseconds since the epoch.
pub fn parse_datetime(text: &str) -> Result<i64, String> {
    let Some((date, time)) = text.split_once('T') else {
        return Err("Error parsing timestamp. It does not contain a 'T' according to ISO8601 format".to_owned());
    };
    let bad = || format!("Unparseable date: \"{text}\"");
    let (time, offset_minutes) = match time.find(['+', '-', 'Z']) {
        None => (time, 0),
        Some(at) => (&time[..at], parse_offset(&time[at..]).ok_or_else(bad)?),
    };
    let numbers = |text: &str, separator: char| -> Option<Vec<i64>> { text.split(separator).map(|part| part.parse().ok()).collect() };
    let date = numbers(date, '-').ok_or_else(bad)?;
    let (clock, millis) = match time.split_once('.') {
        Some((clock, millis)) if millis.len() <= 3 => (clock, millis.parse().map_err(|_| bad())?),
        Some(_) => return Err(bad()),
        None => (time, 0),
    };
    let clock = numbers(clock, ':').ok_or_else(bad)?;
    let ([year, month, day], [hour, minute, rest @ ..]) = (&date[..], &clock[..]) else { return Err(bad()) };
    let second = match rest {
        [] => 0,
        [second] => *second,
        _ => return Err(bad()),
    };
    let valid = (1..=12).contains(month)
        && date_from_days(days_from_date(*year, *month, *day)) == (*year, *month, *day)
        && (0..24).contains(hour)
        && (0..60).contains(minute)
        && (0..60).contains(&second);
    if !valid {
        return Err(bad());
    }
    let minutes = (days_from_date(*year, *month, *day) * 24 + hour) * 60 + minute - offset_minutes;
    Ok((minutes * 60 + second) * 1000 + millis)
}

/// `Z`, `+01`, `+0100` or `+01:00` in minutes.
fn parse_offset(text: &str) -> Option<i64> {
    if text == "Z" {
        return Some(0);
    }
    let sign = if text.starts_with('-') { -1 } else { 1 };
    let digits = text.get(1..)?.replace(':', "");
    let hours: i64 = digits.get(..2)?.parse().ok()?;
    let minutes: i64 = match digits.get(2..)? {
        "" => 0,
        rest => rest.parse().ok()?,
    };
    Some(sign * (hours * 60 + minutes))
}

/// ISO 8601 as `java.time.Duration` takes it: `P2DT3H4M5.006S`, each number may be negative. In milliseconds.
pub fn parse_duration(text: &str) -> Result<i64, String> {
    let bad = || "Text cannot be parsed to a Duration".to_owned();
    let upper = text.to_uppercase();
    let (sign, body) = match upper.strip_prefix('-') {
        Some(rest) => (-1.0, rest),
        None => (1.0, upper.strip_prefix('+').unwrap_or(&upper)),
    };
    let body = body.strip_prefix('P').ok_or_else(bad)?;
    let (days, time) = match body.split_once('T') {
        Some((_, "")) => return Err(bad()),
        Some((days, time)) => (days, time),
        None => (body, ""),
    };
    let mut seconds = 0.0;
    let mut found = false;
    let mut number = String::new();
    for (part, units) in [(days, &[('D', 86_400.0)][..]), (time, &[('H', 3600.0), ('M', 60.0), ('S', 1.0)][..])] {
        let mut units = units.iter();
        for letter in part.chars() {
            if letter.is_ascii_digit() || matches!(letter, '.' | '-' | '+') {
                number.push(letter);
                continue;
            }
            let (_, factor) = units.find(|(unit, _)| *unit == letter).ok_or_else(bad)?;
            if letter != 'S' && number.contains('.') {
                return Err(bad());
            }
            seconds += number.parse::<f64>().map_err(|_| bad())? * factor;
            number.clear();
            found = true;
        }
        if !number.is_empty() {
            return Err(bad());
        }
    }
    if found { Ok((sign * seconds * 1000.0).round() as i64) } else { Err(bad()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates() {
        assert_eq!(parse_datetime("1970-01-01T00:00:00.000"), Ok(0));
        assert_eq!(parse_datetime("2026-11-21T02:10:05.123"), Ok(1_795_227_005_123));
        assert_eq!(parse_datetime("2026-11-21T02:10:05.123+01:00"), Ok(1_795_227_005_123 - 3_600_000));
        assert_eq!(parse_datetime("2026-11-21T02:10"), Ok(1_795_227_000_000));
        assert!(parse_datetime("2026-02-30T00:00:00.000").is_err());
        assert!(parse_datetime("2026-02-20").unwrap_err().contains("'T'"));
        assert_eq!(format_pattern(1_795_227_005_123, "yyyy-MM-dd HH:mm:ss:SSS"), "2026-11-21 02:10:05:123");
        assert_eq!(format_pattern(0, "dd/MM/yy 'at' HH"), "01/01/70 at 00");
        assert_eq!((unknown_letter("dd/MM 'bc' HH"), unknown_letter("dd b")), (None, Some('b')));
    }

    #[test]
    fn durations() {
        assert_eq!(parse_duration("P1D"), Ok(86_400_000));
        assert_eq!(parse_duration("PT1H30M"), Ok(5_400_000));
        assert_eq!(parse_duration("P2DT3H4M5.006S"), Ok(183_845_006));
        assert_eq!(parse_duration("-PT1S"), Ok(-1000));
        for text in ["", "P", "PT", "1D", "PT5", "P1H", "PT1S2M"] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }
}

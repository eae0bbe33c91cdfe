//! Invitations (RFC 5545, RFC 5546): when, where, who, and the link to join.

use app::model::{EventTime, Invitation, InvitationKind, Timestamp};
use calcard::common::PartialDateTime;
use calcard::common::timezone::Tz;
use calcard::icalendar::timezone::TzResolver;
use calcard::icalendar::{
    ICalendar, ICalendarComponent, ICalendarComponentType, ICalendarMethod, ICalendarParameterName, ICalendarProperty,
    ICalendarValue,
};
use calcard::{Entry, Parser};

use super::direction;

/// Largest calendar that is parsed, in bytes.
const CALENDAR: usize = 500_000;
/// Longest shown value, in characters.
const VALUE: usize = 500;
/// Longest shown description, in characters.
const DESCRIPTION: usize = 20_000;
/// Attendees that are shown.
const GUESTS: usize = 100;
/// Links that are shown.
const LINKS: usize = 5;

/// Reads the first event of a calendar.
pub fn invitation(text: &str) -> Option<Invitation> {
    let mut end = text.len().min(CALENDAR);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let Entry::ICalendar(calendar) = Parser::new(&text[..end]).entry() else { return None };
    let is = |kind: ICalendarComponentType| calendar.components.iter().find(|one| one.component_type == kind);
    let event = is(ICalendarComponentType::VEvent).or_else(|| is(ICalendarComponentType::VTodo))?;
    let zones = calendar.build_tz_resolver();
    let start = time(event, &ICalendarProperty::Dtstart, &zones, 0);
    // DTEND is exclusive (RFC 5545, 3.6.1).
    let end = time(event, &ICalendarProperty::Dtend, &zones, 1)
        .or_else(|| time(event, &ICalendarProperty::Due, &zones, 0))
        .or_else(|| after(start.as_ref()?, event))
        .filter(|end| start.as_ref() != Some(end));
    let location = line(&text_of(event, &ICalendarProperty::Location));
    let description: String = text_of(event, &ICalendarProperty::Description).chars().take(DESCRIPTION).collect();
    let described = [
        text_of(event, &ICalendarProperty::Url),
        property_named(event, &["X-MICROSOFT-SKYPETEAMSMEETINGURL", "X-GOOGLE-CONFERENCE"]),
        text_of(event, &ICalendarProperty::Conference),
        location.clone(),
        description.clone(),
    ];
    Some(Invitation {
        kind: kind(&calendar),
        summary: line(&text_of(event, &ICalendarProperty::Summary)),
        start,
        end,
        location,
        organizer: people(event, &ICalendarProperty::Organizer).into_iter().next().unwrap_or_default(),
        guests: people(event, &ICalendarProperty::Attendee),
        repeats: event.has_property(&ICalendarProperty::Rrule),
        links: links(&described.join("\n")),
        description,
    })
}

fn kind(calendar: &ICalendar) -> InvitationKind {
    let method = calendar
        .components
        .iter()
        .filter(|one| one.component_type == ICalendarComponentType::VCalendar)
        .find_map(|one| one.property(&ICalendarProperty::Method)?.values.first());
    match method {
        Some(ICalendarValue::Method(ICalendarMethod::Request)) => InvitationKind::Request,
        Some(ICalendarValue::Method(ICalendarMethod::Cancel)) => InvitationKind::Cancelled,
        Some(ICalendarValue::Method(ICalendarMethod::Reply)) => InvitationKind::Reply,
        _ => InvitationKind::Event,
    }
}

fn text_of(event: &ICalendarComponent, name: &ICalendarProperty) -> String {
    let values = event.property(name).map(|entry| entry.values.as_slice()).unwrap_or_default();
    values.iter().filter_map(ICalendarValue::as_text).collect::<Vec<_>>().join(", ")
}

fn property_named(event: &ICalendarComponent, names: &[&str]) -> String {
    let found = event.entries.iter().find(|entry| {
        matches!(&entry.name, ICalendarProperty::Other(name) if names.iter().any(|known| name.eq_ignore_ascii_case(known)))
    });
    found.and_then(|entry| entry.values.first()?.as_text()).unwrap_or_default().to_owned()
}

fn line(text: &str) -> String {
    let clean: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(VALUE).collect();
    direction::shown(&clean.split_whitespace().collect::<Vec<_>>().join(" "))
}

fn people(event: &ICalendarComponent, role: &ICalendarProperty) -> Vec<String> {
    let entries = event.properties(role).take(GUESTS);
    let each = entries.map(|entry| {
        let named = entry.parameter(&ICalendarParameterName::Cn).and_then(|value| value.as_text()).unwrap_or_default();
        let address = entry.calendar_address().unwrap_or_default();
        let address =
            address.get(..7).filter(|scheme| scheme.eq_ignore_ascii_case("mailto:")).map_or(address, |_| &address[7..]);
        match (line(named), line(address)) {
            (name, address) if name.is_empty() || name == address => address,
            (name, address) if address.is_empty() => name,
            (name, address) => format!("{name} <{address}>"),
        }
    });
    each.filter(|one| !one.is_empty()).collect()
}

fn links(text: &str) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    for link in linkify::LinkFinder::new().kinds(&[linkify::LinkKind::Url]).links(text) {
        let link = link.as_str();
        if (link.starts_with("https://") || link.starts_with("http://")) && !found.iter().any(|known| known == link) {
            found.push(link.to_owned());
        }
        if found.len() == LINKS {
            break;
        }
    }
    found
}

/// The end from DURATION (RFC 5545, 3.8.2.5). `None` for a start in an unknown zone, where it is a local time.
fn after(start: &EventTime, event: &ICalendarComponent) -> Option<EventTime> {
    let Some(ICalendarValue::Duration(takes)) = event.property(&ICalendarProperty::Duration)?.values.first() else {
        return None;
    };
    let days = i64::from(takes.weeks) * 7 + i64::from(takes.days);
    let seconds =
        ((days * 24 + i64::from(takes.hours)) * 60 + i64::from(takes.minutes)) * 60 + i64::from(takes.seconds);
    if takes.neg || seconds == 0 {
        return None;
    }
    match start {
        EventTime::Instant(start) => Some(EventTime::Instant(start.plus_ms(seconds.saturating_mul(1000)))),
        // The last day is one of the event's.
        EventTime::Day(_) => {
            let first = date(event.property(&ICalendarProperty::Dtstart)?.values.first()?.as_partial_date_time()?)?;
            day(first.checked_add(time::Duration::days(days.max(1) - 1))?)
        }
        EventTime::Local(_) => None,
    }
}

const DAY: &[time::format_description::BorrowedFormatItem<'static>] =
    time::macros::format_description!("[day padding:none] [month repr:long] [year]");

fn date(at: &PartialDateTime) -> Option<time::Date> {
    time::Date::from_calendar_date(i32::from(at.year?), time::Month::try_from(at.month?).ok()?, at.day?).ok()
}

fn day(date: time::Date) -> Option<EventTime> {
    Some(EventTime::Day(date.format(DAY).ok()?))
}

/// A time: an instant if its zone is known. Exchange uses Windows names for zones and defines them in the calendar.
fn time(
    event: &ICalendarComponent,
    name: &ICalendarProperty,
    zones: &TzResolver<&str>,
    days_less: u8,
) -> Option<EventTime> {
    let entry = event.property(name)?;
    let at = entry.values.first()?.as_partial_date_time()?;
    let date = date(at)?;
    let (Some(hour), Some(minute)) = (at.hour, at.minute) else {
        return day(date.checked_sub(time::Duration::days(days_less.into()))?);
    };
    let in_words = date.format(DAY).ok()?;
    let zone = entry.parameter(&ICalendarParameterName::Tzid).and_then(|value| value.as_text());
    let tz = zone.and_then(|zone| zones.resolve(zone));
    let instant = at.to_date_time_with_tz(tz.unwrap_or(Tz::Floating)).map(|at| at.timestamp());
    match instant.filter(|_| tz.is_some() || at.tz_hour.is_some()) {
        Some(seconds) => Some(EventTime::Instant(Timestamp(seconds.saturating_mul(1000)))),
        None => {
            let zone = zone.map(|zone| format!(" ({})", line(zone))).unwrap_or_default();
            Some(EventTime::Local(format!("{in_words}, {hour:02}:{minute:02}{zone}")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(lines: &str) -> String {
        format!(
            "BEGIN:VCALENDAR\r\nMETHOD:REQUEST\r\nVERSION:2.0\r\nBEGIN:VEVENT\r\nUID:1\r\n{}\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n",
            lines.replace('\n', "\r\n")
        )
    }

    #[test]
    fn an_invitation_says_when_where_who_and_how_to_join() {
        let found = invitation(&event(
            "DTSTART:20261201T140000Z\nDTEND:20261201T150000Z\nSUMMARY:Budget\\, talk\nLOCATION:Room 12\n\
             DESCRIPTION:Join: https://meet.example.org/budget?a=1\\nBring the plan.\nORGANIZER;CN=\"Brook, Ada\":mailto:ada@x.example\n\
             ATTENDEE;RSVP=TRUE:mailto:user@demo.example\nATTENDEE;CN=Kai:MAILTO:kai@x.example",
        ))
        .unwrap();
        assert_eq!(found.kind, InvitationKind::Request);
        assert_eq!(found.summary, "Budget, talk");
        assert_eq!(found.start, Some(EventTime::Instant(Timestamp(1_796_133_600_000))));
        assert_eq!(found.location, "Room 12");
        assert_eq!(found.organizer, "Brook, Ada <ada@x.example>");
        assert_eq!(found.guests, ["user@demo.example", "Kai <kai@x.example>"]);
        assert_eq!(found.links, ["https://meet.example.org/budget?a=1"]);
        assert!(found.description.contains("Bring the plan."));
    }

    #[test]
    fn ends_are_those_that_people_mean() {
        let end = |lines: &str| invitation(&event(&format!("SUMMARY:S\n{lines}"))).unwrap().end;
        assert_eq!(end("DTSTART;VALUE=DATE:20260501\nDTEND;VALUE=DATE:20260502"), None, "one day");
        assert_eq!(
            end("DTSTART;VALUE=DATE:20260501\nDTEND;VALUE=DATE:20260503"),
            Some(EventTime::Day("2 May 2026".into()))
        );
        let third = Some(EventTime::Day("3 May 2026".into()));
        assert_eq!(end("DTSTART;VALUE=DATE:20260501\nDURATION:P3D"), third);
        assert_eq!(end("DTSTART;VALUE=DATE:20260501\nDURATION:P1D"), None, "one day");
        let three = Some(EventTime::Instant(Timestamp(1_796_133_600_000 + 90 * 60_000)));
        assert_eq!(end("DTSTART:20261201T140000Z\nDURATION:PT1H30M"), three);
        assert_eq!(end("DTSTART:20261201T140000Z\nDTEND:20261201T153000Z"), three);
        assert_eq!(end("DTSTART:20261201T140000Z"), None);
    }

    #[test]
    fn zones_are_those_of_the_calendar_of_windows_or_none() {
        let at = |line: &str| invitation(&event(&format!("SUMMARY:S\n{line}"))).unwrap().start.unwrap();
        let winter = EventTime::Instant(Timestamp(1_796_133_600_000));
        assert_eq!(at("DTSTART;TZID=Europe/Berlin:20261201T150000"), winter);
        assert_eq!(at("DTSTART;TZID=W. Europe Standard Time:20261201T150000"), winter);
        assert_eq!(at("DTSTART;VALUE=DATE:20261201"), EventTime::Day("1 December 2026".into()));
        assert_eq!(at("DTSTART:20261201T150000"), EventTime::Local("1 December 2026, 15:00".into()));
        assert_eq!(
            at("DTSTART;TZID=Nowhere:20261201T150000"),
            EventTime::Local("1 December 2026, 15:00 (Nowhere)".into())
        );
    }

    #[test]
    fn what_is_no_calendar_is_none_and_takes_no_long_time() {
        let started = std::time::Instant::now();
        for text in [
            String::new(),
            "no calendar".into(),
            "BEGIN:VCALENDAR\r\n".into(),
            "BEGIN:VCALENDAR\r\nBEGIN:VEVENT\r\n".repeat(10_000),
            event("DTSTART:99999999T999999\nDTEND;TZID=:x"),
            event(&"ATTENDEE:mailto:a@x.example\n".repeat(10_000)),
            event(&format!("DESCRIPTION:{}", "http://x.example/ ".repeat(20_000))),
        ] {
            let _ = invitation(&text);
        }
        assert!(started.elapsed() < std::time::Duration::from_secs(10), "{:?}", started.elapsed());
        assert!(invitation("no calendar").is_none());
    }
}

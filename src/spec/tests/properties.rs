//! No input makes a parser panic, and what it accepts is what was meant.

use super::*;
use crate::spec::*;
use proptest::prelude::*;
use std::time::Duration;

/// Pieces of specs, in any order.
fn yaml_soup() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "version: v1\n",
        "deployment: x\n",
        "services:\n",
        "  a:\n",
        "    rtype: job\n",
        "    image: {name: x}\n",
        "    env:\n",
        "      A: $E:REGION\n",
        "    <<: *a\n",
        "&a ",
        "*a",
        "- ",
        "  ",
        "\n",
        "{",
        "}",
        "[",
        "]",
        ": ",
        "\"",
        "'",
        "|\n",
        ">\n",
        "!!int ",
        "!!binary ",
        "0755",
        "1e999",
        ".inf",
        "~",
        "null",
        "---\n",
        "\t",
        "# c\n",
        "é",
        "\0",
        "? ",
        "rtype: cron",
        "init:",
        "    init: {steps: [{uses: init.run, with: {command: x}}]}\n",
    ]);
    prop::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn any_text_is_parsed_or_refused_with_a_reason(text in prop_oneof![".{0,200}", yaml_soup()]) {
        if let Err(errors) = parse(&text) {
            prop_assert!(errors.iter().count() > 0);
            prop_assert!(errors.to_string().starts_with("job.yaml:"));
        }
    }

    #[test]
    fn any_value_in_any_field_is_parsed_or_refused(
        field in prop::sample::select(vec![
            "command", "env", "resources", "storage", "user", "init", "job", "logs", "devices", "ulimits", "sysctls",
            "stop_signal", "stop_grace_period", "platform", "network_mode", "dns", "extra_hosts", "labels", "errors",
        ]),
        value in prop_oneof!["\\PC{0,30}", "[\\[\\]{}:, a-z0-9*&!|>'\"-]{0,30}"],
    ) {
        // Whether it is valid is beside the point here.
        drop(parse(&with_fields(&format!("{field}: {value}"))));
    }

    #[test]
    fn value_parsers_take_anything(text in prop_oneof!["\\PC{0,40}", "[0-9.]{0,60}[a-zA-Z]{0,3}", "[-+0-9.:=,/a-zA-Z]{0,30}"]) {
        if let Ok(bytes) = parse_bytes(&text) {
            prop_assert!(i64::try_from(bytes).is_ok());
        }
        if let Ok(millis) = parse_cpu_millis(&text) {
            prop_assert!((10..=8_192_000).contains(&millis));
        }
        if let Ok(signal) = parse_signal(&text) {
            prop_assert!((1..=64).contains(&signal));
        }
        if let Ok(storage) = parse_mount(&text) {
            prop_assert!(storage.target().starts_with('/'));
        }
        if let Ok(job) = ServiceSpec::from_image(&text) {
            prop_assert!(!job.name.is_empty());
        }
        drop((parse_duration(&text), parse_network(&text), parse_env(&text, &env)));
    }

    #[test]
    fn whole_amounts_are_exact(number in 0..=(1u64 << 33)) {
        prop_assert_eq!(parse_bytes(&number.to_string()), Ok(number));
        prop_assert_eq!(parse_bytes(&format!("{number}Ki")), Ok(number << 10));
        prop_assert_eq!(parse_bytes(&format!("{number}.5Ki")), Ok((number << 10) + 512));
        prop_assert_eq!(parse_bytes(&format!("{number}M")), Ok(number * 1_000_000));
    }

    #[test]
    fn durations_are_exact(hours in 0..10_000u64, minutes in 0..10_000u64, millis in 0..10_000_000u64) {
        let expected = Duration::from_secs(hours * 3600 + minutes * 60) + Duration::from_millis(millis);
        prop_assert_eq!(parse_duration(&format!("{hours}h{minutes}m{millis}ms")), Ok(expected));
    }
}

//! No input makes a parser panic, and what it accepts is what was meant.

use super::*;
use crate::naming::ImageName;
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
            "lifecycle",
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
            prop_assert!(ImageName::parse(&job.image.name).is_ok());
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

    #[test]
    fn any_value_in_a_field_of_a_step_is_parsed_or_refused(
        kind in prop::sample::select(vec!["run", "wait_tcp", "wait_http", "s3_pull", "s3_push"]),
        field in prop::sample::select(vec![
            "command", "env", "image", "host", "port", "interval", "url", "expect_status", "method", "headers", "bucket",
            "key", "destination", "source", "endpoint", "region", "credentials_file",
        ]),
        value in prop_oneof!["\\PC{0,30}", "https?://\\PC{0,30}", "[\\[\\]{}:, a-z0-9*&!|>'\"-]{0,30}"],
    ) {
        let with = format!("          {field}: {value}");
        drop(parse(&with_fields(&format!("init:\n  steps:\n    - uses: init.{kind}\n      with:\n{with}"))));
    }

    #[test]
    fn any_policy_is_parsed_or_refused(
        field in prop::sample::select(vec![
            "queue_deadline", "max_concurrent", "on_conflict", "retry", "retention", "on_failure", "on_success",
        ]),
        value in prop_oneof!["\\PC{0,30}", "\\{post: \"?https?://\\PC{0,20}\"?\\}", "[\\[\\]{}:, a-z0-9*&!|>'\"-]{0,30}"],
    ) {
        drop(parse(&with_fields(&format!("job:\n  {field}: {value}"))));
    }

    #[test]
    fn waits_grow_to_their_cap_and_chance_only_shortens_them(
        initial in any_length(), max in any_length(), multiplier in prop_oneof![Just(1.0), 1.01..100.0f64], jitter in 0.0..=1.0f64,
        retries in 0..5_000u32, random in 0.0..1.0f64,
    ) {
        let plain = Backoff { initial, max, multiplier, jitter: 0.0 };
        let delay = plain.delay(retries, random);
        prop_assert!(delay <= max);
        prop_assert!(delay >= initial.min(max), "{delay:?}");
        prop_assert!(plain.delay(retries + 1, random) >= delay);
        prop_assert_eq!(plain.delay(u32::MAX, random), if initial.is_zero() || multiplier == 1.0 { delay } else { max });
        let shortened = Backoff { jitter, ..plain }.delay(retries, random);
        prop_assert!(shortened <= delay);
        let least = delay.as_secs_f64() * (1.0 - jitter);
        prop_assert!(shortened.as_secs_f64() >= least * (1.0 - 1e-9) - 1e-9, "{shortened:?} {least}");
    }

    #[test]
    fn no_backoff_panics(
        initial in any::<Duration>(), max in any::<Duration>(), multiplier in any::<f64>(), jitter in any::<f64>(),
        retries in any::<u32>(), random in any::<f64>(),
    ) {
        let backoff = Backoff { initial, max, multiplier, jitter };
        prop_assert!(backoff.delay(retries, random) <= max);
    }
}

/// None, and up to what a spec may say.
fn any_length() -> impl Strategy<Value = Duration> {
    prop_oneof![
        Just(Duration::ZERO),
        (0..10_000_000_000u64).prop_map(Duration::from_nanos),
        (0..10 * 366 * 86_400u64).prop_map(Duration::from_secs),
    ]
}

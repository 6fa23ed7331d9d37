use super::*;
use crate::spec::Variable;
use clap::CommandFactory;
use std::time::Duration;

fn run(arguments: &[&str]) -> Box<RunArgs> {
    let arguments = ["coracle", "run"].iter().chain(arguments);
    match Cli::try_parse_from(arguments).expect("valid arguments").command {
        Command::Run(args) => args,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_definition_is_consistent() {
    Cli::command().debug_assert();
}

#[test]
fn a_spec_is_followed_by_its_services() {
    let args = run(&["a.yaml", "one", "two", "-d", "-e", "A=b=c"]);
    assert_eq!((args.spec.as_deref(), &*args.services), (Some("a.yaml"), &["one".into(), "two".into()][..]));
    assert!(args.detach && args.command.is_empty());
    assert_eq!(args.job.env, [Variable { name: "A".into(), value: "b=c".into(), is_hidden: false }]);
}

#[test]
fn everything_behind_two_hyphens_is_the_command() {
    let args = run(&["--image", "oci:x", "--init=false", "--read-only", "--", "sh", "-c", "--", "-d"]);
    assert_eq!(args.command, ["sh", "-c", "--", "-d"]);
    assert_eq!((args.spec.as_deref(), args.job.init, args.job.read_only), (None, Some(false), Some(true)));
    assert!(!args.detach);
}

#[test]
fn values_are_parsed_as_in_a_spec() {
    let args = run(&["x", "-m", "64Mi", "--cpu", "0.5", "--deadline", "1m30s", "--pids-limit", "-1"]);
    assert_eq!((args.job.memory, args.job.cpu, args.job.pids_limit), (Some(64 << 20), Some(500), Some(0)));
    assert_eq!(args.job.deadline, Some(Duration::from_secs(90)));
    let error = Cli::try_parse_from(["coracle", "run", "x", "-m", "64Mx"]).expect_err("a bad size").to_string();
    assert!(error.contains("64Mx") && error.contains("--memory"), "{error}");
}

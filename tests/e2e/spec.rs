//! `coracle run SPEC` and `coracle validate SPEC`, as far as a user sees them.

use crate::common::cli::Coracle;
use crate::common::fixture;

fn deployment(services: &[(&str, &str)]) -> String {
    let mut text = String::from("version: v1\ndeployment: test\nservices:\n");
    for (name, rtype) in services {
        text += &format!(
            "  {name}:\n    rtype: {rtype}\n    image: {{ name: {:?} }}\n    command: [echo, {name}]\n",
            fixture::toolbox()
        );
    }
    text
}

#[test]
fn a_deployment_with_several_jobs_asks_which() {
    let coracle = Coracle::new();
    let file = coracle.file("two.yaml", deployment(&[("first", "job"), ("second", "job")]));
    coracle.run(["run".as_ref(), file.as_os_str()]).expect_error(125, &["first", "second"]);
    coracle.run(["run".as_ref(), file.as_os_str(), "second".as_ref()]).expect_code(0).expect_stdout("second\n");
    coracle.run(["run".as_ref(), file.as_os_str(), "third".as_ref()]).expect_error(125, &["third", "first", "second"]);
    let both = coracle.run(["run".as_ref(), file.as_os_str(), "first".as_ref(), "second".as_ref()]).expect_code(0);
    let mut lines = both.lines();
    lines.sort();
    assert_eq!(lines, ["first", "second"], "{both}");
}

#[test]
fn a_service_is_refused_by_name_and_the_job_beside_it_runs() {
    let coracle = Coracle::new();
    let file = coracle.file("mixed.yaml", deployment(&[("web", "service"), ("batch", "job")]));
    let finished = coracle.run(["run".as_ref(), file.as_os_str(), "batch".as_ref()]).expect_code(0);
    assert_eq!(finished.stdout(), "batch\n", "{finished}");
    coracle.run(["run".as_ref(), file.as_os_str(), "web".as_ref()]).expect_error(125, &["web"]);
}

#[test]
fn a_misspelt_field_is_named_with_its_place_and_its_neighbour() {
    let coracle = Coracle::new();
    let file = coracle.job("comand: [echo, x]");
    let text = std::fs::read_to_string(&file).expect("it was just written");
    let line = text.lines().position(|line| line.contains("comand")).expect("it is there") + 1;
    for command in ["run", "validate"] {
        let place = format!("{line}:");
        coracle
            .run([command.as_ref(), file.as_os_str()])
            .expect_error(125, &["services.job.comand", "command", &place]);
    }
    assert!(coracle.root().join("executions").read_dir().map_or(0, Iterator::count) == 0, "nothing was started");
}

#[test]
fn a_field_without_meaning_here_gives_one_warning_and_the_job_runs() {
    let coracle = Coracle::new();
    let file = coracle.job("scale: { mode: fixed, replicas: 1 }\ncommand: [echo, ran]");
    let finished = coracle.run(["run".as_ref(), file.as_os_str()]).expect_code(0);
    assert_eq!(finished.stdout(), "ran\n", "{finished}");
    assert_eq!(finished.stderr().matches("services.job.scale").count(), 1, "{finished}");
}

#[test]
fn validate_accepts_the_example_jobs() {
    let coracle = Coracle::new();
    let mut seen = 0;
    for entry in std::fs::read_dir(fixture::source().join("fixtures/jobs")).expect("fixtures/jobs") {
        let path = entry.expect("an entry").path();
        if path.extension().is_some_and(|extension| extension == "yaml") {
            let mut command = coracle.command(["validate"]);
            command.arg(&path).current_dir(fixture::source()).env("USER", "jo");
            coracle.finish(command).expect_code(0);
            seen += 1;
        }
    }
    assert!(seen > 0, "fixtures/jobs holds jobs");
}

#[test]
fn completions_are_printed_for_each_shell() {
    let coracle = Coracle::new();
    for shell in ["bash", "zsh", "fish"] {
        let finished = coracle.run(["completions", shell]).expect_code(0);
        assert!(finished.stdout().contains("coracle"), "{finished}");
    }
}

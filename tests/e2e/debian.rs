//! A real root file system: Debian with Python, in a real registry, pulled and run.

use crate::common::cli::Coracle;
use crate::common::fixture;
use crate::common::host::{Feature, needs};
use crate::common::registry::Registry;

#[test]
fn python_jobs_run_from_a_debian_image_in_a_registry() {
    if !(needs(Feature::ManyIds) && needs(Feature::Registry) && needs(Feature::Debian)) {
        return;
    }
    let registry = Registry::start();
    let image = registry.push(&fixture::debian(), "debian:python");
    let coracle = Coracle::new();
    let python =
        |flags: &[&str], code: &str| coracle.finish(coracle.image_command(&image, flags, &["python3", "-c", code]));
    python(&[], "print(6 * 7)").expect_code(0).expect_stdout("42\n");
    for code in [0, 7, 255] {
        python(&[], &format!("raise SystemExit({code})")).expect_code(code);
    }
    for (name, number) in [("TERM", 15), ("KILL", 9), ("SEGV", 11)] {
        let script = format!(
            "import os, signal; signal.signal({number}, 0) if {number} != 9 else 0; os.kill(os.getpid(), {number})"
        );
        python(&[], &script).expect_code(128 + number);
        let record = &coracle.executions()[0];
        assert!(record["reason"].as_str().unwrap_or_default().contains(&format!("SIG{name}")), "{record:#}");
    }
    let user = python(&["--user", "www-data"], "import os; print(os.getuid(), os.getgid(), os.getcwd())");
    user.expect_code(0).expect_stdout("33 33 /\n");
    let threads = "import threading; t = [threading.Thread(target=lambda: None) for _ in range(50)]\n\
                   for x in t: x.start()\nfor x in t: x.join()\nprint('joined')";
    python(&[], threads).expect_code(0).expect_stdout("joined\n");
    let children = "import subprocess; print(subprocess.run(['sh', '-c', 'exit 3']).returncode)";
    python(&[], children).expect_code(0).expect_stdout("3\n");
}

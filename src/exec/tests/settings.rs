use super::*;
use serde_json::json;

/// A runtime in a process that has been told this, on the same root.
fn told(directory: &std::path::Path, settings: Option<serde_json::Value>) -> Arc<TestRuntime> {
    let mut runtime = TestRuntime::on(directory);
    runtime.settings = settings;
    Arc::new(runtime)
}

#[tokio::test]
async fn whoever_prepares_an_execution_has_the_settings_of_its_trigger() {
    let directory = tempfile::tempdir().unwrap();
    let (strict, lax) = (json!({"policy": "strict"}), json!({"policy": "lax"}));
    let one = JobExecutorConfig { max_concurrent: 1, ..JobExecutorConfig::default() };
    let starter = told(directory.path(), Some(lax.clone()));
    let other = JobExecutor::with_config(starter.clone(), one.clone()).await.unwrap();
    let first = trigger(&other, &job("holds", "{}")).await;
    let elsewhere = JobExecutorConfig { queue: QueueCare::Elsewhere(Arc::new(|| ())), ..one };
    let here = told(directory.path(), Some(strict.clone()));
    let here = JobExecutor::with_config(here, elsewhere.clone()).await.unwrap();
    let registered = job("follower", "{}");
    here.register_job("follower", registered).await.unwrap();
    let second = trigger(&here, &job("second", "{on_success: [{job: follower}]}")).await;
    let silent = JobExecutor::with_config(told(directory.path(), None), elsewhere).await.unwrap();
    let third = trigger(&silent, &job("third", "{}")).await;
    until(&other, async || other.execution(&first).await.unwrap().status == JobStatus::Running).await;
    starter.exit(&first, 1, 0);
    // What runs for the end of another one was triggered where that one was.
    until(&other, async || starter.pulled_with().len() == 4).await;
    other.wait(&second).await.unwrap();
    other.wait(&third).await.unwrap();
    let mut pulled = starter.pulled_with();
    assert_eq!((pulled.remove(0), pulled.remove(0)), (Some(lax), Some(strict.clone())));
    pulled.sort_by_key(Option::is_some);
    assert_eq!(pulled, [None, Some(strict)]);
}

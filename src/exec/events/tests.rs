use super::path::{Known, Seen, advance};
use crate::engine::{Activity, StepProgress};
use crate::exec::{Attempt, JobStatus, JobTrigger, StatusChange};
use crate::outcome::{End, Usage};
use crate::record::{News, Status};
use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;
use std::time::Duration;

/// How far one attempt comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Comes {
    /// It is never active.
    Nowhere,
    ToInitializing,
    /// Through two init steps, the first of which takes two tries.
    ToSteps,
    ToRunning,
}

#[derive(Debug, Clone)]
struct Life {
    attempts: Vec<Comes>,
    end: Status,
}

/// One moment of a life, as a subscriber may find it.
#[derive(Debug, Clone)]
struct Moment {
    news: News,
    ended: Vec<Attempt>,
    activity: Option<Activity>,
}

fn time(second: i64) -> Timestamp {
    Timestamp::UNIX_EPOCH + SignedDuration::from_secs(second)
}

fn moments(life: &Life) -> Vec<Moment> {
    let mut moments = Vec::new();
    let mut ended: Vec<Attempt> = Vec::new();
    let mut news = News {
        id: "x".into(),
        job_name: "job".into(),
        trigger: JobTrigger::Cli,
        status: Status::Pending,
        attempt: 1,
        created_at: time(1),
        started_at: None,
        completed_at: None,
        elapsed: None,
        exit_code: None,
        reason: None,
        container_id: None,
        revision: 0,
    };
    let mut clock = 1;
    for (number, comes) in (1..).zip(&life.attempts) {
        news = News { status: Status::Pending, attempt: number, container_id: None, ..news };
        let mut push = |news: &News, ended: &[Attempt], activity| {
            clock += 10;
            moments.push(Moment { news: news.clone(), ended: ended.to_vec(), activity });
            time(clock)
        };
        push(&news, &ended, None);
        let mut started_at = None;
        if *comes > Comes::Nowhere {
            news = News { status: Status::Active, container_id: Some("c".into()), ..news };
            let mut since = push(&news, &ended, None);
            if *comes >= Comes::ToSteps {
                for (id, attempt) in [("one", 1), ("one", 2), ("two", 1)] {
                    let elapsed = Duration::from_secs(10) * (attempt - 1);
                    let step = Some(StepProgress { id: id.into(), attempt, max_attempts: Some(2), elapsed });
                    since = push(&news, &ended, Some(Activity::Initializing { step, since, keeper: None }));
                }
            }
            if *comes == Comes::ToRunning {
                started_at = Some(since);
                push(&news, &ended, Some(Activity::Main { started_at, keeper: None }));
                // Its output is being collected.
                push(&news, &ended, Some(Activity::Main { started_at: None, keeper: None }));
            }
        }
        clock += 10;
        ended.push(Attempt {
            number,
            started_at,
            completed_at: time(clock),
            elapsed: Duration::from_secs(5),
            exit_code: None,
            end: End::OomKilled,
            reason: None,
            usage: Usage::default(),
            notes: Vec::new(),
            container_id: None,
        });
        if number as usize == life.attempts.len() {
            let elapsed = Some(Duration::from_secs(5));
            news = News { status: life.end, started_at, completed_at: Some(time(clock)), elapsed, ..news };
            moments.push(Moment { news: news.clone(), ended: ended.clone(), activity: None });
        }
    }
    moments
}

fn is_legal(before: Option<&StatusChange>, change: &StatusChange) -> bool {
    use JobStatus::{Initializing, Pending, Running};
    let Some(before) = before else { return change.attempt == 1 && change.status == Pending };
    if change.attempt != before.attempt {
        let is_next = change.attempt == before.attempt + 1 && change.status == Pending;
        return is_next && matches!(before.status, Initializing | Running);
    }
    match (&before.status, &change.status) {
        (Pending, Initializing) | (Initializing, Running) => true,
        (Initializing, Initializing) => change.step.is_some() && change.step != before.step,
        (before, after) => !before.is_terminal() && after.is_terminal(),
    }
}

fn lives() -> impl Strategy<Value = Life> {
    let comes =
        prop_oneof![Just(Comes::Nowhere), Just(Comes::ToInitializing), Just(Comes::ToSteps), Just(Comes::ToRunning)];
    let end = prop_oneof![Just(Status::Completed), Just(Status::Failed), Just(Status::Cancelled)];
    (proptest::collection::vec(comes, 1..5), end).prop_map(|(attempts, end)| Life { attempts, end })
}

proptest! {
    /// Whichever moments are seen, a legal path is told, with everything in it that is on record at the end.
    #[test]
    fn whatever_is_seen_the_path_is_whole(life in lives(), seen in proptest::collection::vec(any::<bool>(), 40)) {
        let moments = moments(&life);
        let mut told: Vec<StatusChange> = Vec::new();
        let mut last: Option<Seen> = None;
        for (index, moment) in moments.iter().enumerate() {
            let is_last = index + 1 == moments.len();
            if !seen[index] && !is_last {
                continue;
            }
            let known = Known {
                news: &moment.news, ended: &moment.ended, activity: moment.activity.as_ref(), now: time(1000),
            };
            let (changes, then) = advance(last, known);
            prop_assert_eq!(then.is_none(), is_last);
            // Seen again, it is nothing new.
            if !is_last {
                prop_assert_eq!(advance(then.clone(), known), (Vec::new(), then.clone()));
            }
            told.extend(changes);
            last = then;
        }
        for (index, change) in told.iter().enumerate() {
            let before = index.checked_sub(1).map(|before| &told[before]);
            prop_assert!(is_legal(before, change), "{:?} before {:?}", before, change);
        }
        prop_assert_eq!(told.iter().filter(|change| change.status.is_terminal()).count(), 1);
        for (number, comes) in (1..).zip(&life.attempts) {
            let has = |status: JobStatus| told.iter().filter(|it| it.attempt == number && it.status == status).count();
            prop_assert_eq!(has(JobStatus::Pending), 1);
            prop_assert_eq!(has(JobStatus::Running), usize::from(*comes == Comes::ToRunning));
            prop_assert!(has(JobStatus::Initializing) >= usize::from(*comes > Comes::Nowhere));
        }
    }
}

#[test]
fn each_try_of_a_step_is_told_once() {
    let life = Life { attempts: vec![Comes::ToSteps], end: Status::Completed };
    let mut told = Vec::new();
    let mut seen = None;
    for moment in moments(&life) {
        let known =
            Known { news: &moment.news, ended: &moment.ended, activity: moment.activity.as_ref(), now: time(1000) };
        let (changes, then) = advance(seen, known);
        told.extend(changes);
        seen = then;
    }
    let steps: Vec<_> = told.into_iter().filter_map(|change| change.step.zip(Some(change.status))).collect();
    let step = |id: &str, attempt, seconds| {
        let elapsed = Duration::from_secs(seconds);
        let step = StepProgress { id: id.into(), attempt, max_attempts: Some(2), elapsed };
        (step, JobStatus::Initializing)
    };
    assert_eq!(steps, [step("one", 1, 0), step("one", 2, 10), step("two", 1, 0)]);
}

#[test]
fn times_are_those_on_record() {
    let life = Life { attempts: vec![Comes::ToRunning, Comes::ToRunning], end: Status::Completed };
    let moments = moments(&life);
    let end = moments.last().unwrap();
    let known = Known { news: &end.news, ended: &end.ended, activity: None, now: time(1000) };
    let (changes, _) = advance(None, known);
    let told: Vec<_> = changes.iter().map(|change| change.at).collect();
    let (first, second) = (&end.ended[0], &end.ended[1]);
    let began = |attempt: &Attempt| attempt.completed_at - SignedDuration::from_secs(5);
    let expected = [
        end.news.created_at,
        began(first),
        first.started_at.unwrap(),
        first.completed_at,
        began(second),
        second.started_at.unwrap(),
        second.completed_at,
    ];
    assert_eq!(told, expected);
}

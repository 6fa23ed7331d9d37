//! What the supervisor waits for at one time: a process of the job, a step role, both (a transfer), or
//! nothing but the clock.

use super::output::{JobPipe, Output};
use super::process::{Child, News, ProcessEnd, Running};
use super::role::Role;
use crate::plan::Program;
use crate::runtime::report::Verdict;
use crate::runtime::transfer;
use crate::sys::process::{Reaped, end_children};
use std::os::fd::BorrowedFd;
use std::time::Duration;

/// How long a transfer that is to stop has for removing what it has moved: a request or two to a store that
/// answers.
const UNDO_TIME: Duration = Duration::from_secs(2);

/// What is left to say of a push that was ended while the store had all of it.
const DOUBT: &str = "the whole object had been sent and the store had not answered: it may have been stored";

/// Which way a transfer goes; its two sides are connected by a pipe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Direction {
    /// From the role to the file.
    Pull,
    /// From the file to the role.
    Push,
}

/// The parts of one try.
#[derive(Default)]
pub struct Activity {
    container: Option<Running>,
    role: Option<Role>,
    /// With both parts.
    direction: Option<Direction>,
    /// The side that needs to know has been told whether the data is whole.
    is_decided: bool,
    /// A push: the role has been told that the data is whole.
    is_committed: bool,
    /// Why there is nothing to wait for.
    impossible: Option<String>,
    /// The side that failed first; the other one fails because of it.
    failed: Option<Side>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Container,
    Role,
}

impl Activity {
    pub fn process(container: Running) -> Activity {
        Activity { container: Some(container), ..Activity::default() }
    }

    pub fn check(role: Role) -> Activity {
        Activity { role: Some(role), ..Activity::default() }
    }

    pub fn transfer(program: &Program, container: Running, role: Role) -> Activity {
        let direction = if matches!(program, Program::Send { .. }) { Direction::Push } else { Direction::Pull };
        Activity { container: Some(container), role: Some(role), direction: Some(direction), ..Activity::default() }
    }

    /// Something that cannot be done, for this reason.
    pub fn impossible(reason: String) -> Activity {
        Activity { impossible: Some(reason), ..Activity::default() }
    }

    /// Nothing but a wait.
    pub fn pause() -> Activity {
        Activity::default()
    }

    /// Lets what was made do its work; true when the container's process was started by this call.
    pub fn release(&mut self) -> bool {
        let started = self.container.as_mut().is_some_and(Running::open_gate);
        // A role with nobody at the other end of its pipe would fail for that reason.
        if let Some(role) = &mut self.role
            && self.container.as_ref().is_none_or(Running::has_started)
        {
            role.release(self.direction == Some(Direction::Push));
        }
        started
    }

    /// The stop signal for the job's process. A role and the file's side of a transfer are ours and have no
    /// use for it: the file's side removes what it has written, the role what it has uploaded. The time that
    /// this may take, where that is not the job's to say.
    pub fn signal(&mut self, signal: i32) -> Option<Duration> {
        match (&mut self.container, &mut self.role) {
            (Some(container), None) => {
                container.signal(signal);
                return None;
            }
            (Some(container), Some(_)) if !container.has_started() => self.kill(),
            // There is nothing to undo any more: the store alone knows whether it has the object.
            (_, Some(role)) if self.is_committed => role.kill(),
            (container, Some(role)) => {
                match self.direction {
                    Some(Direction::Push) => {
                        // The role sees the end of the data, and that it was not all.
                        role.decide(false);
                        container.iter_mut().for_each(Running::kill);
                    }
                    Some(Direction::Pull) | None => role.kill(),
                }
            }
            (None, None) => {}
        }
        Some(UNDO_TIME)
    }

    /// Ends everything at once.
    pub fn kill(&mut self) {
        self.container.iter_mut().for_each(Running::kill);
        self.role.iter_mut().for_each(Role::kill);
    }

    /// Takes the next step of a transfer: one side has ended, and the other one is to know how.
    pub fn advance(&mut self) {
        let (Some(container), Some(role), Some(direction)) = (&mut self.container, &mut self.role, self.direction)
        else {
            return;
        };
        if self.failed.is_none() {
            let of_container = container.is_over() && !container.succeeded();
            if of_container && container.exited() != Some(transfer::OTHER_SIDE) {
                self.failed = Some(Side::Container);
            } else if role.is_over() && !role.succeeded() {
                self.failed = Some(Side::Role);
            }
        }
        match direction {
            Direction::Pull if role.is_over() && !self.is_decided => {
                self.is_decided = true;
                container.decide(if role.succeeded() { Verdict::Complete } else { Verdict::Broken });
                if !container.has_started() {
                    container.kill();
                }
            }
            // Nobody is left to take the data.
            Direction::Pull if container.is_over() => role.kill(),
            Direction::Push if role.is_over() && !container.is_over() => container.kill(),
            Direction::Push if container.is_over() && !self.is_decided => {
                self.is_decided = true;
                if container.has_started() {
                    self.is_committed = container.succeeded();
                    role.decide(self.is_committed);
                } else {
                    role.kill();
                }
            }
            _ => {}
        }
    }

    /// True when no process of it is left.
    pub fn is_over(&self) -> bool {
        self.container.as_ref().is_none_or(Running::is_over) && self.role.as_ref().is_none_or(Role::is_over)
    }

    /// True when all output has been taken.
    pub fn is_drained(&self) -> bool {
        !self.pipes().any(JobPipe::is_open)
    }

    pub fn pipes(&self) -> impl Iterator<Item = &JobPipe> {
        let of_container = self.container.iter().flat_map(|container| &container.pipes);
        of_container.chain(self.role.iter().map(|role| &role.pipe))
    }

    /// Moves what is there from all pipes; true when there was anything.
    pub fn pump(&mut self, output: &mut Output) -> bool {
        output.callers.iter_mut().for_each(super::Caller::flush);
        let of_container = self.container.iter_mut().flat_map(|container| &mut container.pipes);
        let mut moved = false;
        for pipe in of_container.chain(self.role.iter_mut().map(|role| &mut role.pipe)) {
            moved |= pipe.pump(output);
        }
        moved
    }

    pub fn report_fds(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let of_container = self.container.iter().filter_map(Running::report_fd);
        of_container.chain(self.role.iter().filter_map(Role::report_fd))
    }

    /// Takes every report that has arrived.
    pub fn read_reports(&mut self) -> News {
        let mut news = News::default();
        if let Some(container) = &mut self.container {
            container.read_reports(&mut news);
        }
        if let Some(role) = &mut self.role {
            role.read_reports(&mut news);
        }
        news
    }

    /// Notes the end of a child; true when it was a container's init.
    pub fn reaped(&mut self, child: &Reaped) -> bool {
        self.role.iter_mut().for_each(|role| role.reaped(child));
        let child = self.container.as_mut().map_or(Child::Other, |container| container.reaped(child));
        if child == Child::SilentLauncher {
            let mut ended = Vec::new();
            // What cannot be ended now is tried once more at the end.
            let _ = end_children(|child| ended.push(child));
            // The role of a transfer may be among them, which nobody needs any more.
            self.role.iter_mut().for_each(|role| ended.iter().for_each(|child| role.reaped(child)));
        }
        child == Child::Init
    }

    /// What neither side can say; call when it is over.
    pub fn doubt(&self) -> Option<&'static str> {
        let was_ended = self.role.as_ref().is_some_and(Role::was_killed);
        (self.is_committed && was_ended).then_some(DOUBT)
    }

    /// The end; call when it is over. `last_line` is of its output.
    pub fn end(&self, last_line: Option<&str>) -> ProcessEnd {
        let last_line = last_line.map(str::to_owned);
        match (&self.container, &self.role) {
            (Some(container), None) => container.end(),
            (None, Some(role)) => role.end(last_line),
            (Some(container), Some(role)) => match container.end() {
                // A reason of its own.
                own @ (ProcessEnd::Unsuccessful { .. } | ProcessEnd::Failed { .. }) => own,
                _ if self.failed == Some(Side::Role) => role.end(last_line),
                end => end,
            },
            (None, None) => match &self.impossible {
                Some(reason) => ProcessEnd::Unsuccessful { message: reason.clone() },
                None => ProcessEnd::NeverStarted,
            },
        }
    }
}

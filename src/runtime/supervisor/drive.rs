//! The loop: one activity from its start to its end, with everything that may happen meanwhile.

use super::activity::Activity;
use super::stop::{Action, Cause};
use super::{Supervisor, control};
use crate::runtime::cancel;
use crate::runtime::state::Stage;
use crate::sys::process::{ChildUsage, reap_any};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::io;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

/// How long an empty pipe that something outside the container still holds open is listened to
/// after the last process of the job ended.
const DRAIN_GRACE: Duration = Duration::from_millis(500);

/// What an activity is.
#[derive(Debug, Clone, Copy)]
pub enum Kind {
    /// The main process.
    Main,
    /// A try of a step, with the time it has from when it may begin.
    Try { timeout: Duration },
    /// A wait for this moment; `None` is beyond what the clock can express.
    Pause { until: Option<Instant> },
}

impl Kind {
    /// When the try has taken too long.
    fn limit(self, began: Option<Instant>) -> Option<(Instant, Duration)> {
        match self {
            Kind::Try { timeout } => Some((began?.checked_add(timeout)?, timeout)),
            Kind::Main | Kind::Pause { .. } => None,
        }
    }
}

impl Supervisor {
    /// Returns when the activity is over and its output taken. A pause is over at its time, or when the job
    /// is to stop.
    pub(super) fn drive(&mut self, activity: &mut Activity, kind: Kind) -> io::Result<()> {
        let mut idle_since: Option<Instant> = None;
        // `None` until it may begin: how long a front takes for its record is no time of a step's.
        let mut began: Option<Instant> = None;
        loop {
            let now = Instant::now();
            if self.released {
                began.get_or_insert(now);
            }
            let limit = kind.limit(began);
            self.request_due_stops(limit, now);
            match self.stop.due(now) {
                Some(Action::Signal) => {
                    if let (Some(enough), Some(cause)) = (activity.signal(self.plan.stop_signal), self.stop.cause()) {
                        self.stop.request(cause, now, enough);
                    }
                }
                Some(Action::Kill) => activity.kill(),
                Some(Action::Abandon) => self.output.abandon_callers(),
                None => {}
            }
            if self.released && self.stop.cause().is_none() && activity.release() && matches!(kind, Kind::Main) {
                self.main_started_at = Some(jiff::Timestamp::now());
                self.set_stage(Stage::Running);
            }
            activity.advance();
            let moved = activity.pump(&mut self.output);
            let over = activity.is_over() && self.pause_is_over(kind, now);
            let drained = activity.is_drained() && !self.output.is_blocked();
            if over && drained {
                return Ok(());
            }
            if !over || moved || self.output.is_blocked() {
                idle_since = None;
            } else if *idle_since.get_or_insert(now) + DRAIN_GRACE <= now {
                self.notes.push(
                    "something outside the container kept its output open; what it wrote later is not in the log"
                        .into(),
                );
                return Ok(());
            }
            if !moved {
                self.wait(activity, kind, limit, idle_since)?;
            }
            self.handle_events(activity)?;
        }
    }

    fn pause_is_over(&self, kind: Kind, now: Instant) -> bool {
        match kind {
            Kind::Pause { until } => self.stop.cause().is_some() || until.is_some_and(|until| until <= now),
            Kind::Main | Kind::Try { .. } => true,
        }
    }

    fn request_due_stops(&mut self, limit: Option<(Instant, Duration)>, now: Instant) {
        let grace = self.plan.stop_grace_period;
        if let Some(after) = self.plan.deadline
            && !self.stop.ends_execution()
            && now.duration_since(self.started) >= after
        {
            self.stop.request(Cause::Deadline { after }, now, grace);
        }
        if let Some((at, after)) = limit
            && self.stop.cause().is_none()
            && at <= now
        {
            self.stop.request(Cause::StepTimeout { after }, now, grace);
        }
    }

    /// Sleeps until something happens or is due.
    fn wait(
        &self,
        activity: &Activity,
        kind: Kind,
        limit: Option<(Instant, Duration)>,
        idle_since: Option<Instant>,
    ) -> io::Result<()> {
        let going_on = self.stop.cause().is_none();
        let pause = match kind {
            Kind::Pause { until } => until,
            Kind::Main | Kind::Try { .. } => None,
        };
        let due = [
            self.plan
                .deadline
                .filter(|_| !self.stop.ends_execution())
                .and_then(|after| self.started.checked_add(after)),
            limit.filter(|_| going_on).map(|(at, _)| at),
            pause.filter(|_| going_on),
            self.stop.next_wake(),
            idle_since.map(|since| since + DRAIN_GRACE),
        ];
        let timeout = due.into_iter().flatten().min().map_or(PollTimeout::NONE, |at| {
            // Rounded up: waking early would only mean to sleep again.
            let millis = at.saturating_duration_since(Instant::now()).as_millis() + 1;
            PollTimeout::try_from(millis).unwrap_or(PollTimeout::MAX)
        });
        let mut fds = vec![PollFd::new(self.signals.as_fd(), PollFlags::POLLIN)];
        let reading = self.front.iter().map(AsFd::as_fd).chain(activity.report_fds());
        let reading = reading.chain(activity.pipes().filter_map(|pipe| pipe.wait_fd(&self.output)));
        fds.extend(reading.map(|fd| PollFd::new(fd, PollFlags::POLLIN)));
        let writing = self.output.callers.iter().filter_map(super::Caller::wait_fd);
        fds.extend(writing.map(|fd| PollFd::new(fd, PollFlags::POLLOUT)));
        match poll(&mut fds, timeout) {
            Ok(_) | Err(Errno::EINTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Everything but the pipes. Children before reports: what a child reported, it sent before it ended.
    fn handle_events(&mut self, activity: &mut Activity) -> io::Result<()> {
        self.read_front()?;
        self.read_signals();
        while let Some(child) = reap_any()? {
            // A container that ends before its creation is reported is not ours to miss: read first.
            self.read_reports(activity);
            if activity.reaped(&child) {
                self.add_usage(child.usage);
            }
        }
        self.read_reports(activity);
        Ok(())
    }

    fn read_reports(&mut self, activity: &mut Activity) {
        let news = activity.read_reports();
        if !news.namespaces.is_empty() {
            self.namespaces = news.namespaces;
        }
        if let Some(pid) = news.created {
            self.state.init_pid = Some(pid);
        }
    }

    fn add_usage(&mut self, used: ChildUsage) {
        use crate::outcome::PeakMemorySource;
        let add = |sum: &mut Option<Duration>, more| *sum = Some(sum.unwrap_or_default() + more);
        add(&mut self.usage.cpu_user, used.user);
        add(&mut self.usage.cpu_system, used.system);
        self.usage.peak_memory = self.usage.peak_memory.max(Some(used.max_rss));
        self.usage.peak_memory_source = Some(PeakMemorySource::LargestProcess);
    }

    fn read_front(&mut self) -> io::Result<()> {
        let Some(front) = &self.front else { return Ok(()) };
        let mut fds = [PollFd::new(front.as_fd(), PollFlags::POLLIN)];
        if poll(&mut fds, PollTimeout::ZERO)? == 0 {
            return Ok(());
        }
        match control::receive(front.as_fd()) {
            Ok(Some((control::GO, _))) => self.released = true,
            Ok(Some((control::CANCEL, _))) => self.cancel(self.plan.stop_grace_period),
            Ok(Some((control::KILL, _))) => self.kill(),
            Ok(Some(_)) => {}
            Ok(None) | Err(_) => {
                self.front = None;
                if !self.released {
                    self.stop.request(Cause::Cancelled, Instant::now(), Duration::ZERO);
                }
            }
        }
        Ok(())
    }

    fn cancel(&mut self, grace: Duration) {
        self.stop.request(Cause::Cancelled, Instant::now(), grace);
    }

    fn kill(&mut self) {
        self.cancel(Duration::ZERO);
        self.output.abandon_callers();
    }

    fn read_signals(&mut self) {
        while let Ok(Some(signal)) = self.signals.read_signal() {
            match signal.ssi_signo.cast_signed() {
                libc::SIGTERM | libc::SIGINT => {
                    self.cancel(cancel::requested_grace(&self.directory).unwrap_or(self.plan.stop_grace_period));
                }
                libc::SIGQUIT => self.kill(),
                // SIGCHLD only wakes; SIGHUP, when a terminal closes, must not end a job.
                _ => {}
            }
        }
    }
}

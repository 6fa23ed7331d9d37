//! The binary on a terminal, and what is to be seen there.

use super::host::{HANGS_AFTER, Process, readable_within};
use nix::pty::{Winsize, openpty};
use std::fs::File;
use std::io::Read;
use std::num::NonZero;
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Child, Command};

/// Lines above the screen that are kept.
const SCROLLBACK: usize = 1000;

/// A command under way whose stdout and stderr are one terminal.
pub struct OnTerminal {
    argv: String,
    child: Child,
    pub process: Process,
    terminal: File,
    screen: vt100::Parser,
    raw: Vec<u8>,
}

/// How it ended and what it left.
pub struct Left {
    pub code: Option<i32>,
    /// The screen's rows, without what is empty at their ends and at its end.
    pub screen: String,
    /// Everything that was written, with what moves the cursor.
    pub raw: String,
    /// Where the cursor is, from 0.
    pub column: u16,
}

impl OnTerminal {
    /// Starts it on a terminal of this size.
    pub fn start(mut command: Command, rows: u16, columns: u16) -> OnTerminal {
        let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        let pair = openpty(Some(&size), None).expect("a pseudo terminal");
        let side = || OwnedFd::try_clone(&pair.slave).expect("a descriptor");
        command.stdout(side()).stderr(side());
        let argv = format!("{command:?}");
        let child = command.spawn().unwrap_or_else(|error| panic!("{argv}: {error}"));
        let process = Process::open(child.id() as i32).expect("a child that was not waited for");
        let of = |count| NonZero::new(count).expect("a terminal with some room");
        let screen = vt100::Parser::new(of(rows), of(columns), SCROLLBACK);
        OnTerminal { argv, child, process, terminal: pair.master.into(), screen, raw: Vec::new() }
    }

    /// Waits until the screen looks as `is_wanted` says.
    pub fn until(&mut self, is_wanted: impl Fn(&str) -> bool) {
        while !is_wanted(&shown(&self.screen)) {
            assert!(self.read(), "{} ended before; it wrote {}", self.argv, String::from_utf8_lossy(&self.raw));
        }
    }

    /// Waits for the end.
    pub fn finish(mut self) -> Left {
        while self.read() {}
        let status = self.child.wait().expect("a child that was not waited for");
        Left {
            code: status.code(),
            screen: shown(&self.screen),
            raw: String::from_utf8_lossy(&self.raw).into_owned(),
            column: self.screen.screen().cursor_position().1,
        }
    }

    /// Reads what there is; false when nobody has the terminal open any more.
    fn read(&mut self) -> bool {
        let mut buffer = [0; 4096];
        assert!(readable_within(self.terminal.as_fd(), HANGS_AFTER), "{} writes nothing more", self.argv);
        // The master's read fails with EIO once the other side is closed everywhere (pty(7)).
        let count = self.terminal.read(&mut buffer).unwrap_or_default();
        self.raw.extend_from_slice(&buffer[..count]);
        self.screen.process(&buffer[..count]);
        count > 0
    }
}

fn shown(screen: &vt100::Parser) -> String {
    let (_, columns) = screen.screen().size();
    let rows: Vec<String> = screen.screen().rows(0, columns.get()).map(|row| row.trim_end().to_owned()).collect();
    rows.join("\n").trim_end().to_owned()
}

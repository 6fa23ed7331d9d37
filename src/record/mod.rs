//! The durable record of executions, in SQLite.

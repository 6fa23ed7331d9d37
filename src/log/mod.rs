//! The log ring: a job's stdio in a file of bounded size.

//! Executions: start, wait, cancel, settle, reconcile.

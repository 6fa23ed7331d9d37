//! From job, image config and host facts to a runtime-spec: pure functions.

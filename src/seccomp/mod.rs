//! The default seccomp profile as data, and its compilation to BPF.
